"""The raw GRE socket of the keepalive agent, in memory."""

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address

from mcastd.keepalive.packet import Endpoints
from mcastd.net import ipv4


class FakeGreSocket:
    """``sent`` has what left, without the outer header."""

    def __init__(self, ends: Endpoints) -> None:
        self.ends = ends
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ours.setblocking(False)
        self.sent: list[bytes] = []
        self.error: int | None = None  # what sending fails with
        self.pending: int | None = None  # an ICMP error that the next sending returns, once
        self.unreadable: list[int] = []  # errors that the next reads end with
        self.closed = False

    def fileno(self) -> int:
        return self._ours.fileno()

    def recv(self, size: int) -> bytes:
        if self.unreadable:
            raise OSError(self.unreadable.pop(), "refused")
        return self._ours.recv(size)

    def send(self, data: bytes) -> int:
        if self.pending is not None:
            pending, self.pending = self.pending, None
            raise OSError(pending, "refused")
        if self.error is not None:
            raise OSError(self.error, "refused")
        self.sent.append(bytes(data))
        return len(data)

    def sendmsg(self, buffers: Iterable[bytes], _ancillary: object) -> int:
        return self.send(b"".join(buffers))

    def close(self) -> None:
        self.closed = True
        self._ours.close()
        self._theirs.close()

    def arrives(self, gre: bytes, source: IPv4Address | None = None) -> None:
        """A GRE packet of the far end, or of ``source``, which the kernel hands over with its outer header."""
        self._theirs.send(
            ipv4.encode(gre, source or self.ends.remote, self.ends.local, protocol=ipv4.GRE, tos=0xC0, ttl=255)
        )
