"""The sender's process: bursts of GRE packets by sendmmsg(2), since a call for each packet would take too long."""

import ctypes
import os
import socket
import sys
import time
from contextlib import suppress
from typing import Final

import msgspec

from mcastd.system import sockets
from mcastd.tools.bench.child import answer, begin, question
from mcastd.tools.bench.plan import FAR, NEAR, Burst, Sent

_BATCH: Final = 64  # packets of a call
_TTL: Final = 255
_NAP: Final = 0.0001  # seconds: a sender that never sleeps is made to, at a moment of the scheduler's choice
_SO_SNDBUFFORCE: Final = 32
_SEND_BUFFER: Final = 64 << 20
_PR_SET_TIMERSLACK: Final = 29


class _Vector(ctypes.Structure):  # struct iovec
    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):  # struct msghdr
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vector", ctypes.POINTER(_Vector)),
        ("vectors", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):  # struct mmsghdr
    _fields_ = (("header", _Header), ("sent", ctypes.c_uint))


_libc = ctypes.CDLL(None, use_errno=True)


def send(sock: socket.socket, burst: Burst) -> Sent:
    """Send all bursts; each begins when the pause after the last one is over."""
    sent = refused = 0
    took = late = 0.0
    for number in range(burst.bursts):
        if number:
            time.sleep(burst.pause)
        one = _send(sock, burst, burst.packet(number))
        sent, refused = sent + one.packets, refused + one.refused
        took, late = max(took, one.took), max(late, one.late)
    return Sent(packets=sent, refused=refused, took=took, late=late)


def _send(sock: socket.socket, burst: Burst, packet: bytes) -> Sent:
    vector = _Vector(packet, len(packet))
    message = _Message(_Header(vector=ctypes.pointer(vector), vectors=1))
    messages = (_Message * _BATCH)(*[message] * _BATCH)
    descriptor, count, within = sock.fileno(), burst.packets, burst.within
    done = refused = 0
    late = now = 0.0
    began = time.perf_counter()
    while done < count:
        now = time.perf_counter() - began
        due = min(count, int(now * count / within) + 1)
        if due == done:
            time.sleep(_NAP)
            continue
        late = max(late, now - done * within / count)
        while done < due:
            passed = _libc.sendmmsg(descriptor, messages, min(due - done, _BATCH), 0)
            if passed <= 0:
                refused += 1  # this one packet; those behind it are tried
            done += max(1, passed)
    return Sent(packets=done - refused, refused=refused, took=time.perf_counter() - began, late=late)


def main() -> None:
    """Answer each burst when it has been sent."""
    begin(sys.argv[1])
    with suppress(PermissionError):
        # It takes the place of a network card, which does not wait for what this host runs.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    _libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    answer(os.getpid())
    burst = msgspec.json.decode(question(), type=Burst)
    with sockets.raw_gre(FAR, NEAR, _TTL, None) as sock:
        sock.setblocking(True)
        # What waits in the other CPU's backlog counts here, too: a raw socket that is full refuses a packet.
        sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)
        while True:
            answer(send(sock, burst))
            burst = msgspec.json.decode(question(), type=Burst)


if __name__ == "__main__":
    main()
