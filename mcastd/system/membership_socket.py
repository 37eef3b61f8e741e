"""Memberships of sockets, and a socket that joins multicast groups on one interface and receives nothing."""

import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Final

from mcastd.system import sockets

_IP_MULTICAST_ALL: Final = 49
_JOIN_GROUP, _LEAVE_GROUP, _JOIN_SOURCE_GROUP, _MSFILTER = 42, 45, 46, 48  # MCAST_*, by the interface's index
_EXCLUDE, _INCLUDE = 0, 1


def only_joined(sock: socket.socket) -> None:
    """Let a socket receive of what it has joined itself, and not of what other sockets have. Raises OSError."""
    sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)


def join(sock: socket.socket, ifindex: int, group: IPv4Address, source: IPv4Address | None = None) -> None:
    """Let a socket join a group, of one source or of all; on the interface 0 where the routes lead. Raises OSError."""
    option, addresses = (_JOIN_GROUP, (group,)) if source is None else (_JOIN_SOURCE_GROUP, (group, source))
    sock.setsockopt(socket.IPPROTO_IP, option, _request(ifindex, *addresses))


class MembershipSocket:
    """Not bound to a port, so that the kernel has nothing to queue for it. Opening it raises OSError."""

    def __init__(self, ifindex: int) -> None:
        self._ifindex = ifindex
        with sockets.configuring(socket.AF_INET, socket.SOCK_DGRAM, 0) as self._sock:
            only_joined(self._sock)

    def fileno(self) -> int:
        """Its descriptor."""
        return self._sock.fileno()

    def join(self, group: IPv4Address, exclude: bool, sources: Iterable[IPv4Address]) -> None:
        """Join a group, without these sources or with these alone. Raises OSError; then it is not joined."""
        found = list(sources)
        join(self._sock, self._ifindex, group, None if exclude else found[0])
        if len(found) > (0 if exclude else 1):
            try:
                self.change(group, exclude, found)
            except OSError:
                self.leave(group)
                raise

    def change(self, group: IPv4Address, exclude: bool, sources: Iterable[IPv4Address]) -> None:
        """Replace the filter of a group that is joined; the kernel adds before it removes. Raises OSError."""
        found = b"".join(map(_address, sources))
        mode = struct.pack("@II", _EXCLUDE if exclude else _INCLUDE, len(found) // len(_address(group)))
        self._set(_MSFILTER, _request(self._ifindex, group) + mode + found)  # struct group_filter

    def leave(self, group: IPv4Address) -> None:
        """Leave a group. Raises OSError."""
        self._set(_LEAVE_GROUP, _request(self._ifindex, group))

    def close(self) -> None:
        """Close it."""
        self._sock.close()

    def _set(self, option: int, value: bytes) -> None:
        self._sock.setsockopt(socket.IPPROTO_IP, option, value)


def _request(ifindex: int, *addresses: IPv4Address) -> bytes:
    """Struct group_req or, with a source, group_source_req."""
    return struct.pack("@I4x", ifindex) + b"".join(map(_address, addresses))


def _address(address: IPv4Address) -> bytes:
    """A struct sockaddr_storage."""
    return struct.pack("@HH4s120x", socket.AF_INET, 0, address.packed)
