"""Raw and packet sockets, with the classic BPF filters that keep the feed out of Python."""

import array
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

SO_ATTACH_FILTER = 26
SO_RCVBUFFORCE = 33
ETH_P_IP = 0x0800
INTERNETWORK_CONTROL = 0xC0

_LD_B_ABS, _LD_H_ABS, _LD_W_ABS, _LDX_MSH, _LD_H_IND = 0x30, 0x28, 0x20, 0xB1, 0x48
_AND, _JEQ, _JSET, _RET = 0x54, 0x15, 0x45, 0x06
_FRAGMENT_OFFSET = 0x1FFF
_UDP = 17


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


def accept_gre_protocol(gre_protocol: int) -> tuple[Instruction, ...]:
    """Accept GRE packets whose GRE protocol field has this value; the packet starts with its outer IP header."""
    return (
        Instruction(_LDX_MSH, 0, 0, 0),
        Instruction(_LD_H_IND, 0, 0, 2),
        Instruction(_JEQ, 0, 1, gre_protocol),
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


def packets_anywhere(program: tuple[Instruction, ...]) -> socket.socket:
    """The same on all interfaces."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(ETH_P_IP))
    try:
        attach_filter(sock, program)
        drain(sock)
    except OSError:
        sock.close()
        raise
    return sock


def raw_udp_on(ifname: str, program: tuple[Instruction, ...]) -> socket.socket:
    """A non-blocking raw UDP socket on one interface: what this host delivers to anybody and ``program`` accepts."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_UDP)
    try:
        attach_filter(sock, program)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, ifname.encode())
        drain(sock)
    except OSError:
        sock.close()
        raise
    return sock


def enlarge_receive_buffer(sock: socket.socket, size: int) -> None:
    """Ask for a receive buffer of ``size`` bytes, past the system's limit where we may."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
