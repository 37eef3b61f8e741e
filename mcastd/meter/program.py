"""The program that looks at each packet of a tunnel, as a listing for ``mcastd.net.ebpf``. Pure.

It is a classifier on the tunnel's ingress, and changes and drops nothing. Its maps are::

    streams   packet.KEY -> packet.At           what is known of each stream
    feeds     packet.FEED_KEY -> packet.FeedAt  where a feed has its sequence number
    totals    0 -> packets of streams that the full map has no room for
    zero      0 -> an empty value of streams, which is too large for the stack; also the feed of a stream without one
    programs  0 -> the program that compares the two sides of a pair (pair_program.py)

Headers are copied to the stack, and by an offset from the network header: it works on any interface, and user-mode
Linux wants aligned accesses. Without CAP_PERFMON the verifier allows an index into a value only if it is unknown and
bounded by arithmetic, not by comparisons; so logarithms and limits are made without jumps. And it has the CPU wait at
each write to a part of the stack that was not written before, twice as long as all the rest takes: one call writes it.
"""

from collections.abc import Iterator
from typing import Final, Literal

from mcastd.meter import sequence
from mcastd.meter.listing import (
    FIELD,
    NAUGHT,
    PAYLOAD,
    STACK,
    add,
    add_register,
    bucket,
    copy,
    entry,
    load_bytes,
    lookup,
)
from mcastd.meter.packet import FEED_KEY, NO_UNIT, At, FeedAt
from mcastd.net.ebpf import (
    KTIME_GET_NS,
    R0,
    R1,
    R2,
    R3,
    R4,
    R6,
    R7,
    R8,
    R9,
    R10,
    SKB_PULL_DATA,
    TAIL_CALL,
    Line,
    alu,
    big_endian,
    call,
    end,
    goto,
    jump,
    label,
    load,
    map_of,
    move,
    negate,
    store,
)

STREAMS, FEEDS, TOTALS, ZERO, PROGRAMS = "streams", "feeds", "totals", "zero", "programs"
"""The names of the maps."""

PASS: Final = -1  # TC_ACT_UNSPEC: other programs and filters go on
_LENGTH_ALL, _PROTOCOL, _IFINDEX, _TSTAMP, _GSO_SEGS = 0, 16, 40, 152, 164  # struct __sk_buff
_NOWHERE: Final = 0x10000  # behind every packet: reading from there fills with zeros
_READ: Final = 14 + 60 + 8 + 1024 + 16  # bytes of a packet that may be looked at, with an Ethernet header and options
_IPV4: Final = 0x0008  # ETH_P_IP as it is in the packet
_UDP: Final = 17
_FEED_BITS: Final = 8 * (FEED_KEY.size - 4)
_LINK_LOCAL: Final = 0x0000E0  # 224.0.0.0/24 as it is in the packet

# The stack, downwards from R10; listing.py has what all parts use.
KEY, _IP, _HEADER, _FEED_KEY, MERGED = -16, -40, -48, -64, -112

_MILLISECOND: Final = 1_000_000
Clock = Literal["kernel", "packet"]
"""Which time it is."""


def program(which: Clock = "kernel") -> Iterator[Line]:
    """The listing. With ``packet`` the time is the packet's own timestamp, for tests."""
    yield move(R6, R1)
    yield from headers()
    yield from feed()
    yield label("count")
    yield from _stream()
    yield from _totals(which)
    yield from _gaps()
    yield from _burst("1ms", At.BURST_1MS, _MILLISECOND)
    yield from _burst("10ms", At.BURST_10MS, 10 * _MILLISECOND)
    yield load("h", R1, R9, FeedAt.SIZE)
    yield jump("==", R1, 0, "out")
    yield load("h", R1, R9, FeedAt.SIDE)
    yield store("dw", R7, At.SIDE, R1)
    yield load("dw", R1, R10, MERGED)
    yield jump("!=", R1, 1, "unjudged")
    yield from sequence.session()
    yield from sequence.first_number()
    yield from sequence.place()
    yield from sequence.below()
    yield from sequence.left_out()
    yield from sequence.above()
    yield label("paired")
    yield load("dw", R1, R7, At.SIDE)
    yield jump("==", R1, 0, "out")
    yield move(R1, R6)
    yield map_of(R2, PROGRAMS)
    yield move(R3, 0)
    yield call(TAIL_CALL)  # does not return, where that program is loaded
    yield label("out")
    yield move(R0, PASS)
    yield end()
    yield label("unjudged")
    yield from add_register(At.UNNUMBERED, R1)
    yield from sequence.interrupt()
    yield goto("paired")
    yield label("unnumbered")
    yield from add(At.UNNUMBERED, 1)
    yield goto("paired")
    yield label("full")
    yield from lookup(TOTALS, NAUGHT)
    yield jump("==", R0, 0, "out")
    yield move(R1, 1)
    yield load("dw", R2, R0, 0)
    yield alu("+", R2, R1)
    yield store("dw", R0, 0, R2)
    yield goto("out")


def headers() -> Iterator[Line]:
    """The key, but for the unit, and where the payload begins; only UDP to multicast groups goes on."""
    yield load("w", R1, R6, _PROTOCOL)
    yield jump("!=", R1, _IPV4, "out")
    # The kernel may have merged datagrams of one stream (GRO): how many, at least 1.
    yield load("w", R8, R6, _GSO_SEGS)
    yield load("w", R2, R6, _GSO_SEGS)
    yield alu("-", R2, 1)
    yield alu("s>>", R2, 63)
    yield alu("-", R8, R2)
    yield jump("!=", R8, 1, "readable")  # its headers can be read, and the rest must stay as it is
    # A driver may leave all behind the first headers in pages, where nothing can be read before it is pulled.
    yield load("w", R2, R6, _LENGTH_ALL)
    yield jump("<=", R2, _READ, "whole")
    yield move(R2, _READ)
    yield label("whole")
    yield move(R1, R6)
    yield call(SKB_PULL_DATA)
    yield label("readable")
    yield move(R2, _NOWHERE)
    yield move(R4, -STACK)
    yield from load_bytes(STACK)
    yield store("dw", R10, MERGED, R8)
    yield from lookup(ZERO, NAUGHT)
    yield jump("==", R0, 0, "out")
    yield move(R9, R0)
    yield move(R2, 0)
    yield from copy(_IP, 20, "out")
    yield load("b", R1, R10, _IP + 9)
    yield jump("!=", R1, _UDP, "out")
    yield load("b", R1, R10, _IP + 16)
    yield alu("&", R1, 0xF0)
    yield jump("!=", R1, 0xE0, "out")
    yield load("w", R1, R10, _IP + 16)
    yield move(R2, R1)
    yield alu("&", R2, 0xFFFFFF)
    yield jump("==", R2, _LINK_LOCAL, "out")
    yield store("w", R10, _FEED_KEY + 8, R1)
    yield load("w", R1, R10, _IP + 12)
    yield store("w", R10, KEY + 4, R1)
    yield load("w", R1, R6, _IFINDEX)
    yield store("w", R10, KEY, R1)
    # Of a fragmented datagram only the first part has the port and the number: it counts as the datagram.
    yield load("h", R1, R10, _IP + 6)
    yield big_endian("h", R1)
    yield alu("&", R1, 0x1FFF)
    yield jump("!=", R1, 0, "count")
    yield load("b", R2, R10, _IP)
    yield alu("&", R2, 0x0F)
    yield alu("<<", R2, 2)
    yield move(R7, R2)
    yield from copy(_HEADER, 8, "out")
    yield load("h", R1, R10, _HEADER + 2)
    yield big_endian("h", R1)
    yield store("h", R10, KEY + 12, R1)
    yield alu("<<", R1, 32)
    yield alu("|", R1, _FEED_BITS)
    yield store("dw", R10, _FEED_KEY, R1)
    yield alu("+", R7, 8)
    yield store("dw", R10, PAYLOAD, R7)


def feed() -> Iterator[Line]:
    """R9 = the feed of the smallest range that the group is in, for the port or else for every port; and the unit."""
    yield from lookup(FEEDS, _FEED_KEY)
    yield jump("!=", R0, 0, "has_feed")
    yield store("dw", R10, _FEED_KEY, _FEED_BITS)
    yield from lookup(FEEDS, _FEED_KEY)
    yield jump("==", R0, 0, "count")
    yield label("has_feed")
    yield move(R9, R0)
    yield load("h", R2, R9, FeedAt.UNIT)
    yield jump("==", R2, NO_UNIT, "count")
    yield load("dw", R3, R10, PAYLOAD)
    yield alu("+", R2, R3)
    yield from copy(FIELD, 1, "count")
    yield load("h", R1, R10, FIELD)
    yield store("h", R10, KEY + 14, R1)


def _stream() -> Iterator[Line]:
    """R7 = the value of the stream."""
    # The last part of its eight bytes: without CAP_PERFMON Linux 6.1 refuses a write beside one of a register.
    yield load("w", R1, R10, _IP + 16)
    yield store("w", R10, KEY + 8, R1)
    yield from entry(STREAMS, ZERO, KEY, "full")


def _totals(which: Clock) -> Iterator[Line]:
    """Packets and the last one; R8 = the time since the one before, not at the first one."""
    yield load("dw", R1, R10, MERGED)
    yield from add_register(At.PACKETS, R1)
    yield load("dw", R8, R7, At.LAST)
    yield clock(which)
    yield store("dw", R7, At.LAST, R0)
    yield jump("==", R8, 0, "bursts")
    yield alu("-", R8, R0)
    yield negate(R8)
    yield jump("s<", R8, 0, "bursts")  # another CPU was faster with a packet that came later


def clock(which: Clock) -> Line:
    """R0 = the time."""
    return load("dw", R0, R6, _TSTAMP) if which == "packet" else call(KTIME_GET_NS)


def _gaps() -> Iterator[Line]:
    """The longest gap and the histogram, by R8."""
    yield load("dw", R1, R7, At.LONGEST)
    yield jump("<=", R8, R1, "histogram")
    yield store("dw", R7, At.LONGEST, R8)
    yield load("dw", R1, R7, At.LAST)
    yield store("dw", R7, At.LONGEST_AT, R1)
    yield label("histogram")
    yield from bucket(R8, R1, R2)
    yield move(R1, R7)
    yield alu("+", R1, R8)
    yield load("dw", R2, R1, At.HISTOGRAM)
    yield alu("+", R2, 1)
    yield store("dw", R1, At.HISTOGRAM, R2)
    yield label("bursts")


def _burst(name: str, at: int, length: int) -> Iterator[Line]:
    """The most packets in a time that begins with a packet; the next one begins with the first packet after it."""
    yield load("dw", R1, R7, at)
    yield load("w", R2, R7, at + At.BURST_COUNT)
    yield load("dw", R3, R7, At.LAST)
    yield load("dw", R4, R7, At.LAST)
    yield alu("-", R3, R1)
    yield jump("==", R2, 0, f"begin_{name}")
    yield jump("<", R3, length, f"within_{name}")
    yield label(f"begin_{name}")
    yield store("dw", R7, at, R4)
    yield move(R2, 0)
    yield label(f"within_{name}")
    yield load("dw", R1, R10, MERGED)
    yield alu("+", R2, R1)
    yield store("w", R7, at + At.BURST_COUNT, R2)
    yield load("w", R1, R7, at + At.BURST_MOST)
    yield jump("<=", R2, R1, f"not_most_{name}")
    yield store("w", R7, at + At.BURST_MOST, R2)
    yield label(f"not_most_{name}")
