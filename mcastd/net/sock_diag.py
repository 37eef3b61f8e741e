"""The question for UDP sockets to sock_diag over netlink, and the answers, as bytes (linux/inet_diag.h). Pure.

::

    inet_diag_req_v2         family 8, protocol 8, extensions 8, padding 8, states 32, then inet_diag_sockid
    inet_diag_msg            family 8, state 8, timer 8, retransmits 8, inet_diag_sockid, expires 32,
                             receive queue 32, send queue 32, uid 32, inode 32, then attributes
    inet_diag_sockid         source port 16, destination port 16, source 128, destination 128, interface 32, cookie 64

Ports and addresses are in network order, all else in that of the host.
"""

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from mcastd.errors import DecodeError
from mcastd.net import netlink

_REQUEST: Final = struct.Struct("=4BI")
_MESSAGE: Final = struct.Struct("=4B")
_ID: Final = struct.Struct("!HH16s16s")
_ID_REST: Final = struct.Struct("=I8s")
_REST: Final = struct.Struct("=5I")
_MEMORY: Final = struct.Struct("=9I")  # INET_DIAG_SKMEMINFO: SK_MEMINFO_*
_CGROUP: Final = struct.Struct("=Q")

_SOCK_DIAG_BY_FAMILY: Final = 20
_AF_INET, _AF_INET6, _UDP = 2, 10, 17
_SKMEMINFO, _CGROUP_ID = 7, 21  # INET_DIAG_*
_FIXED: Final = _MESSAGE.size + _ID.size + _ID_REST.size + _REST.size


class UdpSocket(NamedTuple):
    """A socket. ``queued`` and ``receive_buffer`` are bytes as the kernel accounts for them, ``dropped`` packets."""

    port: int
    address: IPv4Address | IPv6Address
    uid: int
    inode: int
    queued: int = 0
    receive_buffer: int = 0
    dropped: int = 0
    cgroup: int | None = None


def ask(family: int, port: int) -> bytes:
    """Ask for the UDP sockets of a family that are bound to a port."""
    extensions = 1 << (_SKMEMINFO - 1)
    body = _REQUEST.pack(family, _UDP, extensions, 0, 0xFFFFFFFF)
    body += _ID.pack(port, 0, bytes(16), bytes(16)) + _ID_REST.pack(0, b"\xff" * 8)
    return netlink.request(_SOCK_DIAG_BY_FAMILY, netlink.DUMP, body)


def part(datagram: bytes) -> tuple[list[UdpSocket], bool]:
    """The sockets in one datagram of an answer, and whether it is the last one.

    Raises DecodeError, also where the kernel has refused to answer.
    """
    found = list[UdpSocket]()
    for kind, _, body in netlink.messages(datagram):
        if kind in (netlink.ERROR, netlink.DONE):
            if number := netlink.error(body):
                raise DecodeError(f"it is the error {number}")
            return found, True
        if kind == _SOCK_DIAG_BY_FAMILY:
            found.append(_socket(body))
    return found, False


def _socket(message: bytes) -> UdpSocket:
    if len(message) < _FIXED:
        raise DecodeError("truncated")
    family = message[0]
    port, _, source, _ = _ID.unpack_from(message, _MESSAGE.size)
    *_, uid, inode = _REST.unpack_from(message, _FIXED - _REST.size)
    address = IPv4Address(source[:4]) if family == _AF_INET else IPv6Address(source)
    sock = UdpSocket(port, address, uid, inode)
    for kind, value in netlink.values(message, _FIXED).items():
        if kind == _SKMEMINFO and len(value) >= _MEMORY.size:
            queued, receive_buffer, *_, dropped = _MEMORY.unpack_from(value)
            sock = sock._replace(queued=queued, receive_buffer=receive_buffer, dropped=dropped)
        elif kind == _CGROUP_ID and len(value) == _CGROUP.size:
            sock = sock._replace(cgroup=_CGROUP.unpack(value)[0])
    return sock
