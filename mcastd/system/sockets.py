"""Raw and packet sockets, with filters in the kernel (``mcastd.net.bpf``) that keep the feed out of Python."""

import array
import select
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Protocol

from mcastd.net.bpf import INSTRUCTION, Program

SO_ATTACH_FILTER = 26
SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55
_MEMORY = struct.Struct("=9I")  # SK_MEMINFO_*: the first one is what waits, the last one what was dropped
ETH_P_IP = 0x0800
_ETH_P_ALL = 0x0003

_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_STATISTICS = struct.Struct("II")


class HasFileno(Protocol):
    """What has a descriptor."""

    def fileno(self) -> int:
        """The descriptor."""


def readable(files: Iterable[HasFileno], seconds: float | None) -> bool:
    """Whether one of the files can be read within so many seconds; None: without a limit.

    Unlike select(), it takes descriptors above 1,023.
    """
    waiting = select.poll()
    for file in files:
        waiting.register(file, select.POLLIN)
    return bool(waiting.poll(None if seconds is None else max(0.0, seconds * 1000)))


def attach_filter(sock: socket.socket, program: Program) -> None:
    """Make the kernel drop packets that the program does not accept, before they are copied to this process."""
    # The kernel takes a pointer (struct sock_fprog), and an array has an address.
    held = array.array("B", program)
    address, length = held.buffer_info()
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", length // INSTRUCTION.size, address))


@contextmanager
def configuring(family: int, kind: int, protocol: int) -> Iterator[socket.socket]:
    """A non-blocking socket, closed if what is done to it in the block raises OSError."""
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
    try:
        yield sock
    except OSError:
        sock.close()
        raise


def dropped(sock: socket.socket) -> int:
    """The packets for which a socket had no room since it was opened, also by a previous process."""
    count: int = _MEMORY.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMORY.size))[-1]
    return count


def queued(sock: socket.socket) -> int:
    """The bytes of packets that wait in a socket's receive buffer, as the kernel accounts for them."""
    count: int = _MEMORY.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMORY.size))[0]
    return count


def drain(sock: socket.socket) -> None:
    """Discard what arrived before the socket had its filter."""
    while True:
        try:
            sock.recv(1)
        except BlockingIOError:
            return
        except OSError:
            continue


def raw_gre(local: IPv4Address, remote: IPv4Address, ttl: int, program: Program | None) -> socket.socket:
    """A non-blocking raw GRE socket between two endpoints; the kernel writes the outer IP header.

    Not IP_HDRINCL: an IPsec policy for GRE does not match such packets, and they leave in the clear.
    ``program`` None receives all GRE of the remote endpoint; else what the program accepts.
    """
    with configuring(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_GRE) as sock:
        if program is not None:
            attach_filter(sock, program)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        sock.bind((str(local), 0))
        sock.connect((str(remote), 0))
        if program is not None:
            drain(sock)
    return sock


def send_as(sock: socket.socket, payload: bytes, *, tos: int, ttl: int) -> None:
    """Send one packet with its own type of service and TTL (ip(7); ``ttl`` is 1 to 255)."""
    values = ((socket.IP_TOS, tos), (socket.IP_TTL, ttl))
    sock.sendmsg([payload], [(socket.IPPROTO_IP, kind, struct.pack("i", value)) for kind, value in values])


def packets_on(ifname: str, program: Program) -> socket.socket:
    """A non-blocking packet socket on one interface for what ``program`` accepts, from the IP header on."""
    with configuring(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as sock:
        attach_filter(sock, program)
        sock.bind((ifname, ETH_P_IP))
    return sock


def packets_leaving(ifname: str, program: Program) -> socket.socket:
    """A non-blocking packet socket on one interface for what ``program`` accepts, of both directions.

    The kernel copies packets that leave only to sockets for all protocols.
    """
    with configuring(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as sock:
        attach_filter(sock, program)
        sock.bind((ifname, _ETH_P_ALL))
    return sock


def packets_coming(program: Program) -> socket.socket:
    """A non-blocking packet socket for IPv4 that arrives on any interface, present or future, and ``program`` accepts.

    The kernel does not copy outgoing packets to it.
    """
    return _on_every_interface(ETH_P_IP, program)


def packets_anywhere(program: Program) -> socket.socket:
    """A non-blocking packet socket for what ``program`` accepts of all protocols, both directions, any interface."""
    return _on_every_interface(_ETH_P_ALL, program)


def _on_every_interface(ethertype: int, program: Program) -> socket.socket:
    with configuring(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ethertype)) as sock:
        attach_filter(sock, program)
        drain(sock)
    return sock


def delivered(protocol: int, program: Program, ifname: str = "") -> socket.socket:
    """A non-blocking raw socket for packets of an IP protocol that are delivered locally and ``program`` accepts.

    With ``ifname``, only for those that arrived on that interface.
    """
    with configuring(socket.AF_INET, socket.SOCK_RAW, protocol) as sock:
        attach_filter(sock, program)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, ifname.encode())
        drain(sock)
    return sock


def to_this_host() -> socket.socket:
    """A raw socket that sends whole IPv4 packets to this host, through the loopback interface, and to no other."""
    with configuring(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    return sock


def statistics(sock: socket.socket) -> tuple[int, int]:
    """How many packets the filter of a packet socket accepted since the last call, and how many of them were lost."""
    passed, lost = _STATISTICS.unpack(sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size))
    return passed, lost


def enlarge_receive_buffer(sock: socket.socket, size: int) -> None:
    """Set a receive buffer of ``size`` bytes, beyond net.core.rmem_max if the process has CAP_NET_ADMIN."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
