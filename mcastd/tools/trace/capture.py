"""The sockets of a trace: one that receives from every interface, and two on which the kernel counts ESP."""

import errno
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import NamedTuple

from mcastd.errors import HostError
from mcastd.net import bpf
from mcastd.system import sockets

_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("qq")
_RECEIVE_BUFFER = 4 << 20
_LARGEST = 65535


class Captured(NamedTuple):
    """An IPv4 packet as it passed, with the kernel's timestamp in nanoseconds since 1970.

    The interface is ``gone`` if it was removed before the packet was read.
    """

    time_ns: int
    interface: str
    outgoing: bool
    data: bytes


class Capture:
    """Opens the sockets. Raises HostError without the privilege (CAP_NET_RAW)."""

    def __init__(self) -> None:
        programs = [bpf.accept_control(), *(bpf.accept_esp(outgoing=outgoing) for outgoing in (False, True))]
        with ExitStack() as stack:
            try:
                self._control, *self._esp = [stack.enter_context(_everywhere(program)) for program in programs]
            except OSError as error:
                raise HostError(f"cannot capture packets: {error.strerror}; it needs root or CAP_NET_RAW") from error
            sockets.enlarge_receive_buffer(self._control, _RECEIVE_BUFFER)
            self._control.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._opened = stack.pop_all()

    def close(self) -> None:
        """Close the sockets."""
        self._opened.close()

    def packets(self, seconds: float | None) -> Iterator[Captured]:
        """The packets that pass during so many seconds; None: without a limit."""
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return
            if sockets.readable((self._control,), left):
                with suppress(BlockingIOError):
                    yield self._receive()

    def esp(self) -> tuple[int, int]:
        """The number of ESP packets in each direction, in and out, since the last call."""
        received, sent = (sockets.statistics(sock)[0] for sock in self._esp)
        return received, sent

    def lost(self) -> int:
        """The number of packets that were lost because they came faster than they were read, since the last call."""
        return sockets.statistics(self._control)[1]

    def _receive(self) -> Captured:
        try:
            data, ancillary, _, address = self._control.recvmsg(_LARGEST, socket.CMSG_SPACE(_TIMESPEC.size))
        except OSError as error:
            if error.errno == errno.ENETDOWN:
                raise BlockingIOError from error  # an interface went down, which is reported once
            raise
        seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2]) if ancillary else (int(time.time()), 0)
        time_ns = seconds * 1_000_000_000 + nanoseconds
        return Captured(time_ns, address[0] or "gone", address[2] == socket.PACKET_OUTGOING, data)


def _everywhere(program: bpf.Program) -> socket.socket:
    """A packet socket on every interface, for both directions, with its counters at 0."""
    sock = sockets.packets_anywhere(program)
    sockets.statistics(sock)
    return sock
