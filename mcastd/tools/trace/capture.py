"""The sockets of a trace: one that hears what makes a path on every interface, and two on which ESP is counted."""

import errno
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from mcastd.errors import HostError
from mcastd.net import bpf
from mcastd.system import sockets

_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("qq")
_RECEIVE_BUFFER = 4 << 20
_LARGEST = 65535


@dataclass(frozen=True, slots=True)
class Captured:
    """An IPv4 packet as it passed, by the kernel's stamp in nanoseconds since 1970.

    The interface is ``gone`` where it was taken away before the packet was read.
    """

    time_ns: int
    interface: str
    outgoing: bool
    data: bytes


class Capture:
    """The sockets, from when it is entered. Raises HostError without the privilege (CAP_NET_RAW)."""

    def __enter__(self) -> Self:
        opened: list[socket.socket] = []
        try:
            opened.append(_everywhere(bpf.accept_control()))
            opened += [_everywhere(bpf.accept_esp(outgoing=outgoing)) for outgoing in (False, True)]
        except OSError as error:
            for sock in opened:
                sock.close()
            raise HostError(f"packets cannot be captured: {error.strerror}; it takes root, or CAP_NET_RAW") from error
        self._control, *self._esp = opened
        sockets.enlarge_receive_buffer(self._control, _RECEIVE_BUFFER)
        self._control.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in (self._control, *self._esp):
            sock.close()

    def packets(self, seconds: float | None) -> Iterator[Captured]:
        """What passes, for so many seconds (None: for ever)."""
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return
            if select.select([self._control], [], [], left)[0]:
                with suppress(BlockingIOError):
                    yield self._receive()

    def esp(self) -> tuple[int, int]:
        """How many ESP packets came in and went out since the last time it was asked for."""
        received, sent = (sockets.statistics(sock)[0] for sock in self._esp)
        return received, sent

    def lost(self) -> int:
        """How many packets came faster than they were taken, since the last time it was asked for."""
        return sockets.statistics(self._control)[1]

    def _receive(self) -> Captured:
        try:
            data, ancillary, _, address = self._control.recvmsg(_LARGEST, socket.CMSG_SPACE(_TIMESPEC.size))
        except OSError as error:
            if error.errno == errno.ENETDOWN:
                raise BlockingIOError from error  # an interface went down, and says so once
            raise
        seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2]) if ancillary else (int(time.time()), 0)
        return Captured(
            seconds * 1_000_000_000 + nanoseconds, address[0] or "gone", address[2] == socket.PACKET_OUTGOING, data
        )


def _everywhere(program: bpf.Program) -> socket.socket:
    """A packet socket on every interface, for both directions, that has counted nothing yet."""
    sock = sockets.packets_anywhere(program)
    sockets.statistics(sock)
    return sock
