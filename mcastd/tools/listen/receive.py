"""Sockets as an application has them: UDP, bound to a group and a port, with the kernel's timestamps of packets."""

import errno
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address
from typing import Final

from mcastd.errors import HostError
from mcastd.system import membership_socket, sockets
from mcastd.tools.listen.listener import Buffer, Packet, Side

_SO_TIMESTAMPNS: Final = 64  # SO_TIMESTAMPNS_NEW: of 64 bits on every machine
_TIME: Final = struct.Struct("@qq")  # seconds and nanoseconds
_ANCILLARY: Final = socket.CMSG_SPACE(_TIME.size)
_LARGEST: Final = 65535
_BUFFER: Final = 64 << 20  # bytes that are asked for; the kernel gives at most net.core.rmem_max
_BATCH: Final = 64  # packets that are read of one socket before the other one


class Receiver:
    """One socket for each side. Making it raises HostError."""

    def __init__(self, sides: Iterable[Side]) -> None:
        with ExitStack() as stack:
            self._sockets = [stack.enter_context(_open(side)) for side in sides]
            self._stack = stack.pop_all()
        self._waiting: list[deque[Packet]] = [deque() for _ in self._sockets]  # packets that were read

    def close(self) -> None:
        """Leave the groups."""
        self._stack.close()

    def buffers(self) -> tuple[Buffer, ...]:
        """What the kernel says of each socket."""
        return tuple(
            Buffer(one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), sockets.dropped(one)) for one in self._sockets
        )

    def packets(self, until: float) -> Iterator[tuple[int, Packet]]:
        """What arrives until a time of the monotonic clock: the socket's number and the packet, the oldest first."""
        while (left := until - time.monotonic()) > 0:
            for sock, waiting in zip(self._sockets, self._waiting, strict=True):
                if not waiting:
                    waiting.extend(_read(sock))
            if not any(self._waiting):
                sockets.readable(self._sockets, left)
            # While one has none, whatever the other one has is older than what comes to it.
            yield from self._merged() if all(self._waiting) else self._all()

    def _merged(self) -> Iterator[tuple[int, Packet]]:
        while all(self._waiting):
            side = min(range(len(self._waiting)), key=lambda one: self._waiting[one][0].at)
            yield side, self._waiting[side].popleft()

    def _all(self) -> Iterator[tuple[int, Packet]]:
        for side, waiting in enumerate(self._waiting):
            while waiting:
                yield side, waiting.popleft()


def _open(side: Side) -> socket.socket:
    group = IPv4Address(side.group)
    try:
        ifindex = 0 if side.interface is None else socket.if_nametoindex(side.interface)
        with sockets.configuring(socket.AF_INET, socket.SOCK_DGRAM, 0) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            membership_socket.only_joined(sock)
            sock.bind((side.group, side.port))
            membership_socket.join(sock, ifindex, group, None if side.source is None else IPv4Address(side.source))
            return sock
    except OSError as error:
        raise HostError(f"cannot listen to {side.group}:{side.port}: {_why(error, side)}") from error


def _why(error: OSError, side: Side) -> str:
    text = os.strerror(error.errno) if error.errno else str(error)
    if error.errno == errno.EADDRINUSE:
        return f"{text}: a program has the port that does not share it (SO_REUSEADDR)"
    if error.errno == errno.ENODEV and side.interface is None:
        return f"{text}: no route leads to the group; give --interface"
    return text if side.interface is None else f"{text} (interface {side.interface})"


def _read(sock: socket.socket) -> Iterator[Packet]:
    for _ in range(_BATCH):
        try:
            payload, ancillary, _, (source, port) = sock.recvmsg(_LARGEST, _ANCILLARY)
        except BlockingIOError:
            return
        except OSError:
            continue  # an interface went down, which is reported once
        at = time.time_ns()
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(data) == _TIME.size:
                seconds, nanoseconds = _TIME.unpack(data)
                at = seconds * 1_000_000_000 + nanoseconds
        yield Packet(at, source, port, payload)
