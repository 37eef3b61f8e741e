"""Which groups the sockets of this host have joined, and word of changes: netlink, ``/proc``, and IGMP on its way out.

::

    struct nlmsghdr      length 32, type 16 (RTM_NEWMULTICAST, RTM_DELMULTICAST), flags 16, sequence 32, port 32
    struct ifaddrmsg     family 8, prefix length 8, flags 8, scope 8, index 32
    attributes           length 16, type 16, value: IFA_MULTICAST (7), the group
"""

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from mcastd.errors import HostError
from mcastd.net import bpf, igmp, ipv4, memberships, nflog
from mcastd.net.memberships import GroupChange, GroupOn, SourceLine
from mcastd.system import sockets
from mcastd.system.netfilter import NETLINK

# Not /proc/net, which is the network namespace of the first thread.
_IGMP, _MCFILTER = Path("/proc/thread-self/net/igmp"), Path("/proc/thread-self/net/mcfilter")
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1  # linux/netlink.h
_GROUP: Final = 37  # RTNLGRP_IPV4_MCADDR, Linux 6.14
_NEW, _DELETE, _IFA_MULTICAST = 56, 57, 7
_HEADER: Final = struct.Struct("=IHHII")
_ADDRESS: Final = struct.Struct("=4BI")
_ATTRIBUTE: Final = struct.Struct("=HH")
_RECEIVE_BUFFER: Final = 4 << 20  # some 5,000 changes
_BATCH: Final = 256  # messages that are read at once
_PACKETS: Final = 4  # that are read at once; each has up to 180 records
_SLICE: Final = 1 << 14  # bytes of a file that are read and parsed at a time
_SHORT: Final = 2048  # bytes; a slice that is no longer is the last one
_LOST: Final = (errno.ENOBUFS, errno.ENOMEM)


class NetlinkChanges:
    """The changes that netlink reports; ``on_arrival`` is called when there are some."""

    def __init__(self, on_arrival: Callable[[], None]) -> None:
        """Raise HostError, also where the kernel does not report them."""
        try:
            with sockets.configuring(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as self._sock:
                self._sock.bind((0, 0))
                sockets.enlarge_receive_buffer(self._sock, _RECEIVE_BUFFER)
                self._sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP)
        except OSError as error:
            raise HostError(f"no notifications of joined groups: {error.strerror}") from error
        asyncio.get_running_loop().add_reader(self._sock, on_arrival)

    def receive(self) -> list[GroupChange] | None:
        """Changes that have come, a bounded number; None if some are lost."""
        found: list[GroupChange] = []
        for _ in range(_BATCH):
            try:
                datagram = self._sock.recv(_SLICE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in _LOST:
                    return None
                raise HostError(f"no notifications of joined groups: {error.strerror}") from error
            found += _changes(datagram)
        return found

    def close(self) -> None:
        """Close the socket."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()


class OutgoingReports:
    """The IGMP messages that this host sends on an interface; ``on_arrival`` is called when there are some."""

    def __init__(self, ifname: str, on_arrival: Callable[[], None]) -> None:
        """Raise HostError."""
        try:
            self._sock = sockets.packets_leaving(ifname, bpf.accept_outgoing(ipv4.IGMP))
        except OSError as error:
            raise HostError(f"IGMP on {ifname} cannot be seen: {error.strerror}") from error
        asyncio.get_running_loop().add_reader(self._sock, on_arrival)

    def receive(self) -> list[bytes]:
        """IPv4 packets, a bounded number."""
        found: list[bytes] = []
        with contextlib.suppress(OSError):  # none are left, or the interface went down
            while len(found) < _PACKETS:
                found.append(self._sock.recv(65535))
        return found

    def close(self) -> None:
        """Close the socket."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()


class LoggedReports:
    """The IGMP messages that the firewall drops on a tunnel's interface, and logs; ``on_arrival`` as above."""

    def __init__(self, tunnel: str, on_arrival: Callable[[], None]) -> None:
        """Raise HostError."""
        try:
            with sockets.configuring(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK) as self._sock:
                self._sock.send(nflog.bind(nflog.group_of(tunnel)))
                code = -struct.unpack_from("=i", self._sock.recv(_SLICE), _HEADER.size)[0]
                if code:
                    self._sock.close()
                    raise HostError(f"IGMP on {tunnel} cannot be seen (nfnetlink_log): {os.strerror(code)}")
        except OSError as error:
            raise HostError(f"IGMP on {tunnel} cannot be seen (nfnetlink_log): {error.strerror}") from error
        asyncio.get_running_loop().add_reader(self._sock, on_arrival)

    def receive(self) -> list[bytes]:
        """IPv4 packets, a bounded number."""
        found: list[bytes] = []
        with contextlib.suppress(OSError):  # none are left, or some were lost
            while len(found) < _PACKETS:
                found += nflog.packets(self._sock.recv(65535))
        return found

    def close(self) -> None:
        """Close the socket."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()


changes = NetlinkChanges
reports = OutgoingReports
logged_reports = LoggedReports


def settle() -> None:
    """Return when every change that was reported is wholly in the files.

    A socket joins a group, which is reported, and then adds its source. The kernel does both under one lock (RTNL),
    which it also takes to refuse this.
    """
    with sockets.configuring(socket.AF_INET, socket.SOCK_DGRAM, 0) as sock, sock, contextlib.suppress(OSError):
        request = igmp.ALL_SYSTEMS.packed + bytes(8)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, request)


async def users(indexes: Collection[int]) -> dict[GroupOn, int]:
    """How many sockets have joined each group on these interfaces. Raises HostError."""
    found: dict[GroupOn, int] = {}
    parser = memberships.Users(indexes)
    async for lines in _lines(_IGMP):
        found.update(parser.parse(lines))
    return found


async def sources(indexes: Collection[int]) -> dict[GroupOn, list[SourceLine]]:
    """The sources that sockets include or exclude on these interfaces, by group. Raises HostError."""
    found: dict[GroupOn, list[SourceLine]] = {}
    async for lines in _lines(_MCFILTER):
        for line in memberships.sources(lines, indexes):
            found.setdefault((line.ifindex, line.group), []).append(line)
    return found


def query(index: int, source: IPv4Address, group: IPv4Address | None) -> None:
    """Make this host report what its sockets want of a group, or of all, on an interface, at once. Raises HostError.

    With TTL 0 the query is looped back and not sent. It states no timers, so the kernel takes its own defaults.
    """
    payload = igmp.encode_query(igmp.Query(version=3, max_response=0.0, group=group))
    try:
        with sockets.configuring(socket.AF_INET, socket.SOCK_RAW, ipv4.IGMP) as sock, sock:
            sockets.attach_filter(sock, bpf.ACCEPT_NOTHING)
            interface = struct.pack("@4s4si", bytes(4), source.packed, index)  # struct ip_mreqn
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            sock.sendto(payload, (str(igmp.ALL_SYSTEMS), 0))
    except OSError as error:
        raise HostError(f"this host cannot be asked for its groups: {error.strerror}") from error


def _changes(datagram: bytes) -> Iterator[GroupChange]:
    position = 0
    while position + _HEADER.size + _ADDRESS.size <= len(datagram):
        length, kind, *_ = _HEADER.unpack_from(datagram, position)
        end, at = position + length, position + _HEADER.size
        family, _, _, _, index = _ADDRESS.unpack_from(datagram, at)
        at += _ADDRESS.size
        while kind in (_NEW, _DELETE) and family == socket.AF_INET and at + _ATTRIBUTE.size <= end:
            size, attribute = _ATTRIBUTE.unpack_from(datagram, at)
            if attribute == _IFA_MULTICAST:
                yield GroupChange(index, IPv4Address(datagram[at + 4 : at + 8]), kind == _NEW)
            at += max((size + 3) & ~3, _ATTRIBUTE.size)
        position += max((length + 3) & ~3, _HEADER.size)


async def _lines(path: Path) -> AsyncIterator[list[str]]:
    """The lines of a file below /proc in slices, between which other work has a turn."""
    rest = ""
    try:
        with path.open("rb", buffering=0) as file:
            while data := file.read(_SLICE):
                *lines, rest = (rest + data.decode()).split("\n")
                yield lines
                if len(data) > _SHORT:
                    await asyncio.sleep(0)
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}") from error
