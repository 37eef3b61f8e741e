"""The socket of the kernel's IPv4 multicast routing: VIFs and entries (``mcastd.net.mroute``), and what it reports.

One socket in a network namespace has it. When its last descriptor is closed, VIFs and entries are gone.
"""

import contextlib
import errno
import fcntl
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Final

from mcastd.errors import HostError
from mcastd.net import bpf
from mcastd.net.mroute import Entry, encode_entry, encode_vif
from mcastd.system import sockets

# linux/mroute.h
_INIT, _DONE, _ADD_VIF, _DEL_VIF, _ADD_MFC, _DEL_MFC = range(200, 206)
_PIM, _TABLE, _ADD_MFC_PROXY, _DEL_MFC_PROXY = 208, 209, 210, 211
_DEFAULT_TABLE: Final = 253  # RT_TABLE_DEFAULT
_RECEIVE_BUFFER: Final = 1 << 18  # bytes: some hundred upcalls; what does not fit is reported again
_UPCALLS: Final = 64  # that are read before other work has a turn
_LARGEST: Final = 64  # bytes that are read of an upcall; a whole packet may follow
_SIOCGETSGCNT: Final = 0x89E1
# struct sioc_sg_req: source, group, packets, bytes, packets from another VIF
_COUNTS: Final = struct.Struct("@4s4sLLL")


class RoutingTaken(HostError):
    """Another program has the kernel's multicast routing."""


class Mroute:
    """The socket, which holds VIFs and entries while a descriptor of it is open. The methods raise HostError."""

    def __init__(self, inherited: int | None = None) -> None:
        """Take over the socket of the previous process, or open one. Raises RoutingTaken."""
        try:
            self._sock = _open(inherited)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise RoutingTaken("another program has the kernel's multicast routing") from error
            if error.errno in (errno.ENOPROTOOPT, errno.EOPNOTSUPP):
                raise HostError("this kernel has no multicast routing (CONFIG_IP_MROUTE)") from error
            raise HostError(f"multicast routing: {error.strerror}") from error

    def fileno(self) -> int:
        """Its descriptor, which is readable when there are upcalls."""
        return self._sock.fileno()

    def add_vif(self, number: int, index: int) -> None:
        """Make the interface of that index a VIF."""
        self._set(f"VIF {number}", _ADD_VIF, encode_vif(number, index))

    def delete_vif(self, number: int) -> None:
        """Remove a VIF; a no-op if there is none. Entries that name it stay."""
        self._set(f"VIF {number}", _DEL_VIF, encode_vif(number, 0), errno.EADDRNOTAVAIL)

    def add(self, entry: Entry) -> None:
        """Add an entry or change the one of its key; outgoing VIFs that do not exist are left out."""
        self._set(str(entry), _ADD_MFC if entry.key.parent is None else _ADD_MFC_PROXY, encode_entry(entry))

    def delete(self, entry: Entry) -> None:
        """Delete the entry of that key; a no-op if there is none."""
        option = _DEL_MFC if entry.key.parent is None else _DEL_MFC_PROXY
        self._set(str(entry), option, encode_entry(entry), errno.ENOENT)

    def packets(self, source: IPv4Address, group: IPv4Address) -> int:
        """How many packets of an (S,G) entry came from its parent."""
        asked = _COUNTS.pack(source.packed, group.packed, 0, 0, 0)
        try:
            answer = fcntl.ioctl(self._sock, _SIOCGETSGCNT, asked)
        except OSError as error:
            raise HostError(f"multicast routing: ({source},{group}): {error.strerror}") from error
        packets, _, wrong = _COUNTS.unpack(answer)[2:]
        return int(packets - wrong)

    def upcalls(self) -> Iterator[bytes]:
        """What has been reported since the last time, or a part of it."""
        for _ in range(_UPCALLS):
            try:
                yield self._sock.recv(_LARGEST)
            except OSError:
                return

    def close(self) -> None:
        """Close this descriptor; the kernel goes on while there is another."""
        self._sock.close()

    def end(self) -> None:
        """Remove all VIFs and entries, whatever other descriptors there are."""
        self._set("end", _DONE, bytes(4), errno.EACCES)
        self.close()

    def _set(self, what: str, option: int, value: bytes, *ignored: int) -> None:
        try:
            self._sock.setsockopt(socket.IPPROTO_IP, option, value)
        except OSError as error:
            if error.errno not in ignored:
                raise HostError(f"multicast routing: {what}: {error.strerror}") from error


def _is_holder(sock: socket.socket) -> bool:
    """Whether a socket has multicast routing: the kernel lets it choose no other table then, not even its own."""
    try:
        sock.setsockopt(socket.IPPROTO_IP, _TABLE, _DEFAULT_TABLE)
    except OSError:  # also of a kernel with one table only, where this cannot be known
        return True
    return False


def _init(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_IP, _INIT, 1)
    # Reports packets of an entry that come from another VIF than its parent, from any: at most one in 3 s.
    with contextlib.suppress(OSError):  # of a kernel without PIM
        sock.setsockopt(socket.IPPROTO_IP, _PIM, 1)


def _open(inherited: int | None) -> socket.socket:
    if inherited is not None:
        sock = socket.socket(fileno=inherited)
        try:
            sock.setblocking(False)
            _init(sock)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and _is_holder(sock):
                return sock
            sock.close()
            raise
        return sock
    with sockets.configuring(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP) as sock:
        # An upcall has a zero where an IP header has its protocol: IGMP itself is not for this socket.
        sockets.attach_filter(sock, bpf.accept_protocol(0))
        sockets.enlarge_receive_buffer(sock, _RECEIVE_BUFFER)
        _init(sock)
        sockets.drain(sock)
    return sock
