"""BPF_PROG_TEST_RUN: a program on a packet (linux/bpf.h)."""

import ctypes
import struct
from typing import Final, NamedTuple

from mcastd.system import bpf

_TEST_RUN: Final = 10
_CONTEXT: Final = 192  # bytes of struct __sk_buff
_TSTAMP, _GSO_SEGS = 152, 164  # where it has the time of the packet, and how many were merged to it


class Ran(NamedTuple):
    """What a program returned for a packet, and the nanoseconds that it took, on average of all repetitions."""

    result: int
    nanoseconds: int


def run(program: int, packet: bytes, *, at: int = 0, repeat: int = 1, merged: int = 0) -> Ran:
    """Run a program on a packet with its Ethernet header; ``at`` is its time. Raises HostError.

    ``merged`` is how many packets it was merged of.
    """
    data = ctypes.create_string_buffer(packet, len(packet))
    context = ctypes.create_string_buffer(_CONTEXT)
    struct.pack_into("=Q", context, _TSTAMP, at)
    struct.pack_into("=I", context, _GSO_SEGS, merged)
    body = struct.pack(
        "=IIIIQQIIIIQQ", program, 0, len(packet), 0, ctypes.addressof(data), 0, repeat, 0, len(context), 0,
        ctypes.addressof(context), 0,
    )  # fmt: skip
    _, answer = bpf._bpf(_TEST_RUN, body, "run of a program")
    return Ran(struct.unpack_from("=I", answer, 4)[0], struct.unpack_from("=I", answer, 36)[0])
