"""A socket that joins multicast groups on one interface and receives nothing, and a query that only this host hears."""

import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Final

from mcastd.net.checksum import internet_checksum
from mcastd.system import sockets

_IP_MULTICAST_ALL: Final = 49
_JOIN_GROUP, _LEAVE_GROUP, _JOIN_SOURCE_GROUP, _MSFILTER = 42, 45, 46, 48  # MCAST_*, by the interface's index
_EXCLUDE, _INCLUDE = 0, 1
_ALL_SYSTEMS: Final = "224.0.0.1"


class MembershipSocket:
    """Not bound to a port, so that the kernel has nothing to queue for it. Opening it raises OSError."""

    def __init__(self, ifindex: int) -> None:
        self._ifindex = ifindex
        with sockets.configuring(socket.AF_INET, socket.SOCK_DGRAM, 0) as self._sock:
            self._sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)

    def fileno(self) -> int:
        """Its descriptor."""
        return self._sock.fileno()

    def join(self, group: IPv4Address, exclude: bool, sources: Iterable[IPv4Address]) -> None:
        """Join a group, without these sources or with these alone. Raises OSError; then it is not joined."""
        found = list(sources)
        if exclude:
            self._set(_JOIN_GROUP, self._request(group))
        else:
            self._set(_JOIN_SOURCE_GROUP, self._request(group, found[0]))
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
        self._set(_MSFILTER, self._request(group) + mode + found)  # struct group_filter

    def leave(self, group: IPv4Address) -> None:
        """Leave a group. Raises OSError."""
        self._set(_LEAVE_GROUP, self._request(group))

    def close(self) -> None:
        """Close it."""
        self._sock.close()

    def _request(self, *addresses: IPv4Address) -> bytes:
        """Struct group_req or, with a source, group_source_req."""
        return struct.pack("@I4x", self._ifindex) + b"".join(map(_address, addresses))

    def _set(self, option: int, value: bytes) -> None:
        self._sock.setsockopt(socket.IPPROTO_IP, option, value)


def _address(address: IPv4Address) -> bytes:
    """A struct sockaddr_storage."""
    return struct.pack("@HH4s120x", socket.AF_INET, 0, address.packed)


def make_kernel_report(ifindex: int) -> None:
    """Make the kernel report all memberships of an interface at once: by a general query that only this host hears.

    With an IP TTL of 0 it is looped back and does not leave (``IP_MULTICAST_LOOP``). It asks for an answer within 0 s,
    which the kernel takes as one tick, and has the robustness and the interval that are the defaults (RFC 3376, 4.1).
    Raises OSError.
    """
    with sockets.configuring(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("@4s4si", bytes(4), bytes(4), ifindex))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
        message = struct.pack("!BBH4sBBH", 0x11, 0, 0, bytes(4), 2, 125, 0)
        checksum = internet_checksum(message).to_bytes(2)
        sock.sendto(message[:2] + checksum + message[4:], (_ALL_SYSTEMS, 0))
        sock.close()
