"""Raw and packet sockets, with the classic BPF filters that keep the feed out of Python."""

import array
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

SO_ATTACH_FILTER = 26
SO_RCVBUFFORCE = 33
ETH_P_IP = 0x0800
_ETH_P_ALL = 0x0003
INTERNETWORK_CONTROL = 0xC0

_LD_B_ABS, _LD_H_ABS, _LD_W_ABS = 0x30, 0x28, 0x20
_LD_B_IND, _LD_H_IND, _LD_W_IND, _LDX_MSH = 0x50, 0x48, 0x40, 0xB1
_LD_MEM, _ST = 0x60, 0x02
_ADD, _AND, _TAX, _TXA = 0x04, 0x54, 0x07, 0x87
_JA, _JEQ, _JSET, _RET = 0x05, 0x15, 0x45, 0x06
_PACKET_TYPE = 0xFFFFF004  # SKF_AD_OFF + SKF_AD_PKTTYPE
_FRAGMENT_OFFSET, _MORE_FRAGMENTS = 0x1FFF, 0x2000
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_STATISTICS = struct.Struct("II")
_GRE, _ESP, _UDP, _PIM, _IGMP = 47, 50, 17, 103, 2
_IKE, _NAT_T = 500, 4500


@dataclass(frozen=True, slots=True)
class Instruction:
    """One classic BPF instruction (``struct sock_filter``)."""

    code: int
    jump_true: int
    jump_false: int
    operand: int


ACCEPT_NOTHING = (Instruction(_RET, 0, 0, 0),)


def accept_protocol(protocol: int) -> tuple[Instruction, ...]:
    """Accept IPv4 packets of one protocol; the packet starts with its IP header."""
    return (
        Instruction(_LD_B_ABS, 0, 0, 9),
        Instruction(_JEQ, 0, 1, protocol),
        Instruction(_RET, 0, 0, 0xFFFF),
        Instruction(_RET, 0, 0, 0),
    )


def accept_multicast(most: int) -> tuple[Instruction, ...]:
    """Accept IPv4 packets to multicast groups, cut off after ``most`` bytes; the packet starts with its IP header."""
    return (
        Instruction(_LD_B_ABS, 0, 0, 16),
        Instruction(_AND, 0, 0, 0xF0),
        Instruction(_JEQ, 0, 1, 0xE0),
        Instruction(_RET, 0, 0, most),
        Instruction(_RET, 0, 0, 0),
    )


def accept_udp(port: int, destinations: tuple[IPv4Address, ...]) -> tuple[Instruction, ...]:
    """Accept UDP to one port of these addresses, later fragments aside; the packet starts with its IP header."""
    count = len(destinations)
    addressed = [Instruction(_JEQ, count - 1 - n, 0, int(address)) for n, address in enumerate(destinations)]
    addressed[-1] = Instruction(_JEQ, 0, 6, int(destinations[-1]))
    return (
        Instruction(_LD_B_ABS, 0, 0, 9),
        Instruction(_JEQ, 0, 7 + count, _UDP),
        Instruction(_LD_W_ABS, 0, 0, 16),
        *addressed,
        Instruction(_LD_H_ABS, 0, 0, 6),
        Instruction(_JSET, 4, 0, _FRAGMENT_OFFSET),
        Instruction(_LDX_MSH, 0, 0, 0),
        Instruction(_LD_H_IND, 0, 0, 2),
        Instruction(_JEQ, 0, 1, port),
        Instruction(_RET, 0, 0, 0xFFFF),
        Instruction(_RET, 0, 0, 0),
    )


def accept_gre_keepalives() -> tuple[Instruction, ...]:
    """Accept what GRE keepalives are made of; the packet starts with its outer IP header.

    Answers, of GRE protocol 0; requests, IPv4 in GRE whose own protocol is GRE, also behind Cisco's CMD header.
    """
    return _resolved(*_gre_carrying(_GRE))


def accept_control() -> tuple[Instruction, ...]:
    """Accept IKE (also on the port of NAT traversal), PIM, IGMP and keepalives, also where GRE carries them.

    The packet starts with its IP header, or is none of IPv4; of fragments only the first counts.
    """
    return _resolved(
        *_IPV4,
        (_LD_B_ABS, 9),
        (_JEQ, _PIM, "accept", ""),
        (_JEQ, _IGMP, "accept", ""),
        (_JEQ, _GRE, "gre", ""),
        (_JEQ, _UDP, "", "reject"),
        (_LDX_MSH, 0),
        (_LD_H_IND, 0),
        (_JEQ, _IKE, "accept", ""),
        (_JEQ, _NAT_T, "nat_t", ""),
        (_LD_H_IND, 2),
        (_JEQ, _IKE, "accept", ""),
        (_JEQ, _NAT_T, "", "reject"),
        "nat_t",
        (_LD_W_IND, 8),  # the non-ESP marker (RFC 3948, section 2.2)
        (_JEQ, 0, "accept", "reject"),
        "gre",
        *_gre_carrying(_GRE, _PIM, _IGMP),
    )


def accept_esp(*, outgoing: bool, most: int = 1) -> tuple[Instruction, ...]:
    """Accept the first ``most`` bytes of ESP, also in UDP, of one direction.

    The packet starts with its IP header, or is none of IPv4.
    """
    return _resolved(
        (_LD_W_ABS, _PACKET_TYPE),
        (_JEQ, socket.PACKET_OUTGOING, *(("", "reject") if outgoing else ("reject", ""))),
        *_IPV4,
        (_LD_B_ABS, 9),
        (_JEQ, _ESP, "accept", ""),
        (_JEQ, _UDP, "", "reject"),
        (_LDX_MSH, 0),
        (_LD_H_IND, 0),
        (_JEQ, _NAT_T, "nat_t", ""),
        (_LD_H_IND, 2),
        (_JEQ, _NAT_T, "", "reject"),
        "nat_t",
        (_LD_W_IND, 8),
        (_JEQ, 0, "reject", "accept"),
        "accept",
        (_RET, most),
        "reject",
        (_RET, 0),
    )


def accept_esp_between(
    remotes: Iterable[IPv4Address], locals_: Iterable[IPv4Address], known: Iterable[int]
) -> tuple[Instruction, ...]:
    """Accept whole ESP, also in UDP to the port of NAT traversal, from ``remotes`` to ``locals_``, but ``known`` SPIs.

    The packet starts with its IP header. The kernel takes a program (``attach_filter``) of some 800 addresses and SPIs
    by its usual limit (net.core.optmem_max), and says ENOMEM to a longer one, or EINVAL past 4,096 instructions.
    """
    return _resolved(
        (_LD_W_ABS, _PACKET_TYPE),
        (_JEQ, socket.PACKET_HOST, "", "reject"),
        *_IPV4,  # ends with the fragment's offset and flags loaded
        (_JSET, _MORE_FRAGMENTS, "", "source"),
        "reject",
        (_RET, 0),
        "source",
        (_LD_W_ABS, 12),
        *_any_of(map(int, remotes), "local"),
        (_RET, 0),
        "local",
        (_LD_W_ABS, 16),
        *_any_of(map(int, locals_), "wanted"),
        (_RET, 0),
        "wanted",
        (_LDX_MSH, 0),
        (_LD_B_ABS, 9),
        (_JEQ, _ESP, "esp", ""),
        (_JEQ, _UDP, "", "refuse"),
        (_LD_H_IND, 2),
        (_JEQ, _NAT_T, "", "refuse"),
        (_LD_W_IND, 8),
        (_JEQ, 0, "refuse", "spi"),
        "refuse",
        (_RET, 0),
        "esp",
        (_LD_W_IND, 0),
        "spi",
        *_any_of(known, "known"),
        (_RET, 0xFFFF),
        "known",
        (_RET, 0),
    )


def _any_of(values: Iterable[int], label: str) -> Iterator["_Line"]:
    """Go on at a label, however far that is, if what is loaded is one of these."""
    for n, value in enumerate(values):
        yield from ((_JEQ, value, "", f"not {label} {n}"), (_JA, 0, label, ""), f"not {label} {n}")


# A line of a program: an instruction with its operand, a jump with the labels to go to if true and if not ("": the next
# line), or a label.
_Line = tuple[int, int] | tuple[int, int, str, str] | str

_IPV4: tuple[_Line, ...] = (
    (_LD_B_ABS, 0),
    (_AND, 0xF0),
    (_JEQ, 0x40, "", "reject"),
    (_LD_H_ABS, 6),
    (_JSET, _FRAGMENT_OFFSET, "reject", ""),
)


def _gre_carrying(*protocols: int) -> tuple[_Line, ...]:
    """GRE of protocol 0, or that carries IPv4 of these protocols; "accept" and "reject" are at the end."""
    # Checksum, key and sequence number, where their flags are set, are 4 bytes each before what follows.
    options: list[_Line] = []
    for flag in (0x80, 0x20, 0x10):
        skip = f"without {flag:#x}"
        options += [(_LD_MEM, 0), (_JSET, flag, "", skip), (_TXA, 0), (_ADD, 4), (_TAX, 0), skip]
    return (
        (_LDX_MSH, 0),
        (_LD_B_IND, 0),
        (_ST, 0),
        (_LD_H_IND, 2),
        (_JEQ, 0x0000, "accept", ""),
        (_JEQ, 0x0800, "options", ""),
        (_JEQ, 0x8909, "", "reject"),
        (_TXA, 0),
        (_ADD, 8),
        (_TAX, 0),
        "options",
        *options,
        (_LD_B_IND, 4 + 9),
        *((_JEQ, protocol, "accept", "") for protocol in protocols),
        "reject",
        (_RET, 0),
        "accept",
        (_RET, 0xFFFF),
    )


def _resolved(*lines: _Line) -> tuple[Instruction, ...]:
    """The program with its labels as distances."""
    steps: list[tuple[int, int, str, str]] = []
    labels: dict[str, int] = {}
    for line in lines:
        if isinstance(line, str):
            labels[line] = len(steps)
        else:
            steps.append(line if len(line) == 4 else (*line, "", ""))

    def distance(label: str, at: int) -> int:
        return labels[label] - at - 1 if label else 0

    return tuple(
        Instruction(code, 0, 0, distance(true, at))
        if code == _JA
        else Instruction(code, distance(true, at), distance(false, at), operand)
        for at, (code, operand, true, false) in enumerate(steps)
    )


def attach_filter(sock: socket.socket, program: tuple[Instruction, ...]) -> None:
    """Let the kernel drop what the program does not accept, before it is copied to us."""
    code = b"".join(struct.pack("HBBI", i.code, i.jump_true, i.jump_false, i.operand) for i in program)
    # The kernel wants a pointer (struct sock_fprog); an array has an address without ctypes, whose import needs memory
    # that is both writable and executable.
    buffer = array.array("B", code)
    address, _length = buffer.buffer_info()
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(program), address))


def drain(sock: socket.socket) -> None:
    """Throw away what arrived between the making of a socket and its filter."""
    while True:
        try:
            sock.recv(1)
        except BlockingIOError:
            return
        except OSError:
            continue


def raw_gre(
    local: IPv4Address, remote: IPv4Address, ttl: int, program: tuple[Instruction, ...] | None
) -> socket.socket:
    """A non-blocking raw GRE socket between two endpoints; the kernel writes the outer IP header.

    Not IP_HDRINCL: an IPsec policy for GRE does not match such packets and they leave in the clear.
    ``program`` None receives all of the peer's GRE; else what the program accepts.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_GRE)
    try:
        if program is not None:
            attach_filter(sock, program)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        sock.bind((str(local), 0))
        sock.connect((str(remote), 0))
        if program is not None:
            drain(sock)
    except OSError:
        sock.close()
        raise
    return sock


def send_as(sock: socket.socket, payload: bytes, *, tos: int, ttl: int) -> None:
    """Send one packet with type of service and TTL of its own (ip(7); ``ttl`` is 1 to 255)."""
    values = ((socket.IP_TOS, tos), (socket.IP_TTL, ttl))
    sock.sendmsg([payload], [(socket.IPPROTO_IP, kind, struct.pack("i", value)) for kind, value in values])


def packets_on(ifname: str, program: tuple[Instruction, ...]) -> socket.socket:
    """A non-blocking packet socket on one interface: what ``program`` accepts, from the IP header on."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
    try:
        attach_filter(sock, program)
        sock.bind((ifname, ETH_P_IP))
    except OSError:
        sock.close()
        raise
    return sock


def packets_coming(program: tuple[Instruction, ...]) -> socket.socket:
    """A non-blocking packet socket: IPv4 that comes in anywhere, by interfaces to come too, and ``program`` accepts.

    Of what goes out the kernel makes no copies for it.
    """
    return _unbound(ETH_P_IP, program)


def packets_anywhere(program: tuple[Instruction, ...]) -> socket.socket:
    """The same, and also what goes out, and what is not IPv4."""
    return _unbound(_ETH_P_ALL, program)


def _unbound(ethertype: int, program: tuple[Instruction, ...]) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(ethertype))
    try:
        attach_filter(sock, program)
        drain(sock)
    except OSError:
        sock.close()
        raise
    return sock


def delivered(protocol: int, program: tuple[Instruction, ...], ifname: str = "") -> socket.socket:
    """A non-blocking raw socket: what this host delivers to anybody of an IP protocol, and ``program`` accepts.

    With ``ifname``, what came in on that interface.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
    try:
        attach_filter(sock, program)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, ifname.encode())
        drain(sock)
    except OSError:
        sock.close()
        raise
    return sock


def to_this_host() -> socket.socket:
    """A raw socket for whole IPv4 packets that this host is to receive; to another host none of them gets."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    except OSError:
        sock.close()
        raise
    return sock


def statistics(sock: socket.socket) -> tuple[int, int]:
    """Packets that a packet socket's filter let pass, and how many of them found it full; asking starts both anew."""
    passed, lost = _STATISTICS.unpack(sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size))
    return passed, lost


def enlarge_receive_buffer(sock: socket.socket, size: int) -> None:
    """Ask for a receive buffer of ``size`` bytes, past the system's limit where we may."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
