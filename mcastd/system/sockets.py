"""Raw and packet sockets, with filters in the kernel (``mcastd.net.bpf``) that keep the feed out of Python."""

import array
import socket
import struct
from ipaddress import IPv4Address

from mcastd.net.bpf import Program

SO_ATTACH_FILTER = 26
SO_RCVBUFFORCE = 33
ETH_P_IP = 0x0800
_ETH_P_ALL = 0x0003

_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_STATISTICS = struct.Struct("II")


def attach_filter(sock: socket.socket, program: Program) -> None:
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


def raw_gre(local: IPv4Address, remote: IPv4Address, ttl: int, program: Program | None) -> socket.socket:
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


def packets_on(ifname: str, program: Program) -> socket.socket:
    """A non-blocking packet socket on one interface: what ``program`` accepts, from the IP header on."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
    try:
        attach_filter(sock, program)
        sock.bind((ifname, ETH_P_IP))
    except OSError:
        sock.close()
        raise
    return sock


def packets_coming(program: Program) -> socket.socket:
    """A non-blocking packet socket: IPv4 that comes in anywhere, by interfaces to come too, and ``program`` accepts.

    Of what goes out the kernel makes no copies for it.
    """
    return _unbound(ETH_P_IP, program)


def packets_anywhere(program: Program) -> socket.socket:
    """The same, and also what goes out, and what is not IPv4."""
    return _unbound(_ETH_P_ALL, program)


def _unbound(ethertype: int, program: Program) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(ethertype))
    try:
        attach_filter(sock, program)
        drain(sock)
    except OSError:
        sock.close()
        raise
    return sock


def delivered(protocol: int, program: Program, ifname: str = "") -> socket.socket:
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
