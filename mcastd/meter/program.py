"""The program that looks at each packet of a tunnel, as a listing for ``mcastd.net.ebpf``. Pure.

It is a classifier on the tunnel's ingress, and changes and drops nothing. What it keeps is in three maps::

    streams   packet.KEY -> packet.At           what is known of each stream
    feeds     packet.FEED_KEY -> packet.FeedAt  where a feed has its sequence number
    totals    0 -> packets of streams that the full map has no room for
    zero      0 -> an empty value of streams, which is too large for the stack

Headers are copied to the stack, and by an offset from the network header: it works on any interface, and user-mode
Linux wants aligned accesses. Without CAP_PERFMON the verifier allows an index into a value only if it is unknown and
bounded by arithmetic, not by comparisons; so logarithms and limits are made without jumps.

The window is a ring of one bit for each number below ``next``, set for those that were seen. Numbers are 64 bits wide
inside: the next one plus how far a packet's number is from it, with a sign, in the width of the feed's own.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal

from mcastd.meter.packet import NO_UNIT, SESSION, STREAM_SIZE, WINDOW, At, FeedAt
from mcastd.net.ebpf import (
    KTIME_GET_NS,
    MAP_LOOKUP,
    MAP_UPDATE,
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
    SKB_LOAD_BYTES_RELATIVE,
    Line,
    Register,
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
    number,
    store,
)

STREAMS, FEEDS, TOTALS, ZERO = "streams", "feeds", "totals", "zero"
"""The names of the maps."""

_PASS: Final = -1  # TC_ACT_UNSPEC: other programs and filters go on
_NOEXIST: Final = 1
_FROM_NETWORK_HEADER: Final = 1  # BPF_HDR_START_NET
_PROTOCOL, _IFINDEX, _TSTAMP = 16, 40, 152  # struct __sk_buff
_IPV4: Final = 0x0008  # ETH_P_IP as it is in the packet
_UDP: Final = 17
_LINK_LOCAL: Final = 0x0000E0  # 224.0.0.0/24 as it is in the packet

# The stack, downwards from R10.
_KEY, _IP, _HEADER, _FEED_KEY, _NAME, _FIELD, _INDEX = -16, -40, -48, -56, -72, -80, -88
_PAYLOAD, _FEED, _LENGTH = -96, -104, -112

_MILLISECOND: Final = 1_000_000
_Clock = Literal["kernel", "packet"]


def program(clock: _Clock = "kernel") -> Iterator[Line]:
    """The listing. With the clock ``packet`` the time is the packet's own timestamp, for tests."""
    yield move(R6, R1)
    yield from _headers()
    yield from _feed()
    yield label("count")
    yield from _stream()
    yield from _clock(clock)
    yield from _totals()
    yield from _gaps()
    yield from _burst("1ms", At.BURST_1MS, _MILLISECOND)
    yield from _burst("10ms", At.BURST_10MS, 10 * _MILLISECOND)
    yield load("dw", R9, R10, _FEED)
    yield jump("==", R9, 0, "out")
    yield from _session()
    yield from _number()
    yield from _place()
    yield from _window()
    yield label("out")
    yield move(R0, _PASS)
    yield end()
    yield label("unnumbered")
    yield from _add(At.UNNUMBERED, 1)
    yield goto("out")
    yield label("full")
    yield store("w", R10, _INDEX, 0)
    yield from _lookup(TOTALS, _INDEX)
    yield jump("==", R0, 0, "out")
    yield move(R1, 1)
    yield load("dw", R2, R0, 0)
    yield alu("+", R2, R1)
    yield store("dw", R0, 0, R2)
    yield goto("out")


def _headers() -> Iterator[Line]:
    """The key, but for the unit, and where the payload begins; only UDP to multicast groups goes on."""
    yield load("w", R1, R6, _PROTOCOL)
    yield jump("!=", R1, _IPV4, "out")
    yield move(R2, 0)
    yield from _copy(_IP, 20, "out")
    yield load("b", R1, R10, _IP + 9)
    yield jump("!=", R1, _UDP, "out")
    yield load("b", R1, R10, _IP + 16)
    yield alu("&", R1, 0xF0)
    yield jump("!=", R1, 0xE0, "out")
    yield load("w", R1, R10, _IP + 16)
    yield move(R2, R1)
    yield alu("&", R2, 0xFFFFFF)
    yield jump("==", R2, _LINK_LOCAL, "out")
    yield store("w", R10, _KEY + 8, R1)
    yield store("w", R10, _FEED_KEY, R1)
    yield load("w", R1, R10, _IP + 12)
    yield store("w", R10, _KEY + 4, R1)
    yield load("w", R1, R6, _IFINDEX)
    yield store("w", R10, _KEY, R1)
    yield store("w", R10, _KEY + 12, 0)
    yield store("dw", R10, _FEED, 0)
    yield load("h", R1, R10, _IP + 2)
    yield big_endian("h", R1)
    yield store("dw", R10, _LENGTH, R1)
    # A fragment, the first one too: the port is not in the others.
    yield load("h", R1, R10, _IP + 6)
    yield big_endian("h", R1)
    yield alu("&", R1, 0x3FFF)
    yield jump("!=", R1, 0, "count")
    yield load("b", R2, R10, _IP)
    yield alu("&", R2, 0x0F)
    yield alu("<<", R2, 2)
    yield move(R9, R2)
    yield from _copy(_HEADER, 8, "out")
    yield load("h", R1, R10, _HEADER + 2)
    yield big_endian("h", R1)
    yield store("h", R10, _KEY + 12, R1)
    yield store("w", R10, _FEED_KEY + 4, R1)
    yield alu("+", R9, 8)
    yield store("dw", R10, _PAYLOAD, R9)


def _feed() -> Iterator[Line]:
    """The feed of the group and port, or of the group and every port; and the unit."""
    yield from _lookup(FEEDS, _FEED_KEY)
    yield jump("!=", R0, 0, "has_feed")
    yield store("w", R10, _FEED_KEY + 4, 0)
    yield from _lookup(FEEDS, _FEED_KEY)
    yield jump("==", R0, 0, "count")
    yield label("has_feed")
    yield store("dw", R10, _FEED, R0)
    yield load("h", R2, R0, FeedAt.UNIT)
    yield jump("==", R2, NO_UNIT, "count")
    yield load("dw", R3, R10, _PAYLOAD)
    yield alu("+", R2, R3)
    yield store("dw", R10, _FIELD, 0)
    yield from _copy(_FIELD, 1, "count")
    yield load("h", R1, R10, _FIELD)
    yield store("h", R10, _KEY + 14, R1)


def _stream() -> Iterator[Line]:
    """R7 = the value of the stream, made if it is new."""
    yield from _lookup(STREAMS, _KEY)
    yield jump("!=", R0, 0, "known")
    yield store("w", R10, _INDEX, 0)
    yield from _lookup(ZERO, _INDEX)
    yield jump("==", R0, 0, "out")
    yield move(R3, R0)
    yield map_of(R1, STREAMS)
    yield from _address(R2, _KEY)
    yield move(R4, _NOEXIST)  # on another CPU it may have been made meanwhile
    yield call(MAP_UPDATE)
    yield from _lookup(STREAMS, _KEY)
    yield jump("==", R0, 0, "full")
    yield label("known")
    yield move(R7, R0)


def _clock(clock: _Clock) -> Iterator[Line]:
    """R8 = the time."""
    if clock == "packet":
        yield load("dw", R8, R6, _TSTAMP)
    else:
        yield call(KTIME_GET_NS)
        yield move(R8, R0)


def _totals() -> Iterator[Line]:
    """Packets, bytes, first and last; R9 = the time since the last packet, not at the first one."""
    yield load("dw", R1, R10, _LENGTH)
    yield from _add_register(At.BYTES, R1)
    yield from _add(At.PACKETS, 1)  # R2 = the packets with this one
    yield load("dw", R9, R7, At.LAST)
    yield store("dw", R7, At.LAST, R8)
    yield jump("!=", R2, 1, "not_first")
    yield store("dw", R7, At.FIRST, R8)
    yield goto("bursts")
    yield label("not_first")
    yield alu("-", R9, R8)
    yield negate(R9)


def _gaps() -> Iterator[Line]:
    """The longest gap and the histogram, by R9."""
    yield load("dw", R1, R7, At.LONGEST)
    yield jump("<=", R9, R1, "histogram")
    yield store("dw", R7, At.LONGEST, R9)
    yield store("dw", R7, At.LONGEST_AT, R8)
    yield label("histogram")
    yield alu(">>", R9, 10)
    # As many bits as there are buckets but one: anything above sets them all.
    yield move(R1, R9)
    yield alu(">>", R1, 31)
    yield negate(R1)
    yield alu("s>>", R1, 63)
    yield alu("|", R9, R1)
    for shift in (1, 2, 4, 8, 16):
        yield move(R1, R9)
        yield alu(">>", R1, shift)
        yield alu("|", R9, R1)
    yield alu("&", R9, 0x7FFFFFFF)
    yield from _ones(R9, R1, R2)
    yield alu("&", R9, 31)
    yield alu("<<", R9, 3)
    yield move(R1, R7)
    yield alu("+", R1, R9)
    yield load("dw", R2, R1, At.HISTOGRAM)
    yield alu("+", R2, 1)
    yield store("dw", R1, At.HISTOGRAM, R2)
    yield label("bursts")


def _burst(name: str, at: int, length: int) -> Iterator[Line]:
    """The most packets in a time that begins with a packet; the next one begins with the first packet after it."""
    yield load("dw", R1, R7, at)
    yield load("w", R2, R7, at + At.BURST_COUNT)
    yield move(R3, R8)
    yield alu("-", R3, R1)
    yield jump("==", R2, 0, f"begin_{name}")
    yield jump("<", R3, length, f"within_{name}")
    yield label(f"begin_{name}")
    yield store("dw", R7, at, R8)
    yield move(R2, 0)
    yield label(f"within_{name}")
    yield alu("+", R2, 1)
    yield store("w", R7, at + At.BURST_COUNT, R2)
    yield load("w", R1, R7, at + At.BURST_MOST)
    yield jump("<=", R2, R1, f"not_most_{name}")
    yield store("w", R7, at + At.BURST_MOST, R2)
    yield label(f"not_most_{name}")


def _session() -> Iterator[Line]:
    """Begin again where the session is another one; R9 = the feed."""
    yield store("dw", R10, _NAME, 0)
    yield store("dw", R10, _NAME + 8, 0)
    yield load("h", R4, R9, FeedAt.SESSION_SIZE)
    yield jump("==", R4, 0, "same_session")
    yield jump(">", R4, SESSION, "same_session")
    yield load("h", R2, R9, FeedAt.SESSION_OFFSET)
    yield load("dw", R3, R10, _PAYLOAD)
    yield alu("+", R2, R3)
    yield from _copy_sized(_NAME, "unnumbered")
    yield load("dw", R1, R7, At.BEGUN)
    yield load("dw", R2, R10, _NAME)
    yield load("dw", R3, R10, _NAME + 8)
    yield load("dw", R4, R7, At.SESSION)
    yield load("dw", R5, R7, At.SESSION + 8)
    yield store("dw", R7, At.SESSION, R2)
    yield store("dw", R7, At.SESSION + 8, R3)
    yield jump("==", R1, 0, "same_session")
    yield jump("!=", R2, R4, "other_session")
    yield jump("==", R3, R5, "same_session")
    yield label("other_session")
    yield store("dw", R7, At.BEGUN, 2)
    yield label("same_session")


def _number() -> Iterator[Line]:
    """How many numbers the packet has, a heartbeat none, and R1 = the first as it was read; R3 = 64 less its bits."""
    yield store("dw", R7, At.PACKET_COUNT, 1)
    yield load("h", R4, R9, FeedAt.COUNT_SIZE)
    yield jump("==", R4, 0, "one")
    yield load("h", R2, R9, FeedAt.COUNT_OFFSET)
    yield from _read(FeedAt.COUNT_BIG, FeedAt.COUNT_SIZE, "count_field")
    yield load("h", R2, R9, FeedAt.END)
    yield jump("==", R2, 0, "no_end")
    yield jump("!=", R1, R2, "no_end")
    yield move(R1, 0)
    yield label("no_end")
    yield alu("&", R1, 0xFFFF)
    yield store("dw", R7, At.PACKET_COUNT, R1)
    yield label("one")
    yield load("h", R4, R9, FeedAt.SIZE)
    yield jump("==", R4, 0, "unnumbered")
    yield load("h", R2, R9, FeedAt.OFFSET)
    yield from _read(FeedAt.BIG, FeedAt.SIZE, "number_field")
    yield jump("!=", R1, 0, "sequenced")
    yield load("h", R2, R9, FeedAt.ZERO)
    yield jump("!=", R2, 0, "unnumbered")
    yield label("sequenced")


def _place() -> Iterator[Line]:
    """Where the numbers are, from the next one; below the window they begin again."""
    yield load("dw", R4, R7, At.BEGUN)
    yield load("dw", R2, R7, At.NEXT)
    yield jump("==", R4, 0, "begin")
    yield jump("!=", R4, 1, "reset")
    yield move(R4, R1)
    yield alu("-", R4, R2)
    yield alu("<<", R4, R3)
    yield alu("s>>", R4, R3)  # how far the number is from the next one
    yield load("dw", R3, R7, At.PACKET_COUNT)
    yield alu("+", R3, R4)
    yield move(R5, R3)
    yield alu("+", R3, R2)
    yield alu("+", R4, R2)
    yield store("dw", R7, At.PACKET_FIRST, R4)
    yield store("dw", R7, At.PACKET_END, R3)
    yield jump("s>", R5, -WINDOW, "placed")
    yield label("reset")
    yield store("dw", R7, At.PACKET_FIRST, R1)
    yield from _add(At.RESETS, 1)
    # What is not seen in the window will not be: all of it leaves, as if it were that long again.
    yield load("dw", R1, R7, At.NEXT)
    yield load("dw", R2, R7, At.NEXT)
    yield alu("+", R2, WINDOW)
    yield from _chunks("reset", _leaving)
    yield load("dw", R1, R7, At.PACKET_FIRST)
    yield goto("restart")
    yield label("begin")
    yield move(R2, -1)
    for at in range(At.WINDOW, STREAM_SIZE, 8):
        yield store("dw", R7, at, R2)
    yield label("restart")
    # Numbers below the first one are not missing: their bits are set.
    yield store("dw", R7, At.BEGUN, 1)
    yield store("dw", R7, At.START, R1)
    yield store("dw", R7, At.NEXT, R1)
    yield store("dw", R7, At.PACKET_FIRST, R1)
    yield load("dw", R2, R7, At.PACKET_COUNT)
    yield alu("+", R1, R2)
    yield store("dw", R7, At.PACKET_END, R1)
    yield label("placed")


def _window() -> Iterator[Line]:
    """Work off the numbers of the packet: those below the next one, those it leaves out, and those it brings."""
    yield load("dw", R1, R7, At.PACKET_COUNT)
    yield from _add_register(At.NUMBERS, R1)

    yield load("dw", R1, R7, At.PACKET_FIRST)
    yield load("dw", R4, R7, At.NEXT)
    yield move(R0, R1)
    yield alu("-", R0, R4)
    yield jump("s>=", R0, 0, "above")
    yield load("dw", R2, R7, At.PACKET_END)
    yield from _minimum(R2, R4)
    yield load("dw", R3, R7, At.START)  # what is below cannot be told from what is seen again
    yield from _maximum(R3, R1)
    yield from _minimum(R3, R2)
    yield move(R5, R3)
    yield alu("-", R5, R1)
    yield move(R1, R3)
    yield from _add_register(At.LATE, R5, R3)
    yield alu("-", R4, WINDOW)
    yield from _maximum(R1, R4)
    yield from _chunks("below", _again)
    yield label("above")

    yield load("dw", R1, R7, At.NEXT)
    yield load("dw", R2, R7, At.PACKET_FIRST)
    yield move(R3, R2)
    yield alu("-", R3, R1)
    yield jump("s<=", R3, 0, "no_gap")
    yield store("dw", R7, At.GAP_SIZE, R3)
    yield store("dw", R7, At.GAP_AT, R8)
    yield move(R4, R2)
    yield alu("-", R4, WINDOW)
    yield from _maximum(R4, R1)
    yield move(R3, R4)
    yield alu("-", R3, R1)  # those that were never in the window
    yield from _add_register(At.MISSING, R3, R5)
    yield move(R1, R4)
    yield from _chunks("gap", _left_out)
    yield label("no_gap")

    yield load("dw", R1, R7, At.PACKET_FIRST)
    yield load("dw", R2, R7, At.PACKET_END)
    yield load("dw", R3, R7, At.NEXT)
    yield move(R0, R2)
    yield alu("-", R0, R3)
    yield jump("s<=", R0, 0, "nothing_new")
    yield store("dw", R7, At.NEXT, R2)
    yield from _maximum(R1, R3)
    yield move(R3, R2)
    yield alu("-", R3, WINDOW)
    yield from _maximum(R1, R3)
    yield from _chunks("new", _leaving)
    yield label("nothing_new")


def _minimum(register: Register, other: Register) -> Iterator[Line]:
    """The smaller one; R0 and R9 are lost."""
    yield from _negative_difference(register, other)
    yield move(register, other)
    yield alu("+", register, R0)


def _maximum(register: Register, other: Register) -> Iterator[Line]:
    """The larger one; R0 and R9 are lost."""
    yield from _negative_difference(register, other)
    yield alu("-", register, R0)


def _negative_difference(register: Register, other: Register) -> Iterator[Line]:
    """R0 = register - other where that is below 0, else 0; R9 is lost."""
    yield move(R0, register)
    yield alu("-", R0, other)
    yield move(R9, R0)
    yield alu("s>>", R9, 63)
    yield alu("&", R0, R9)


def _chunks(name: str, work: Callable[[], Iterable[Line]]) -> Iterator[Line]:
    """Do ``work`` for the numbers R1 to R2, of at most a window, by words of 64.

    In ``work`` R4 is the word, R5 the mask of its numbers, R1 the end of the chunk; R0, R3, R9 are free, R6 is where
    the word is, and R4 is stored.
    """
    yield store("dw", R10, _INDEX, WINDOW // 64 + 1)
    yield label(f"{name}_chunk")
    yield move(R0, R1)
    yield alu("-", R0, R2)
    yield jump("s>=", R0, 0, f"{name}_done")
    yield move(R3, R1)
    yield alu("|", R3, 63)
    yield alu("+", R3, 1)
    yield from _minimum(R3, R2)
    yield move(R0, R1)
    yield alu("-", R0, R3)
    yield alu("+", R0, 64)  # 64 less the numbers of the chunk
    yield move(R5, -1)
    yield alu(">>", R5, R0)
    yield move(R0, R1)
    yield alu("&", R0, 63)
    yield alu("<<", R5, R0)
    yield alu(">>", R1, 3)
    yield alu("&", R1, WINDOW // 8 - 8)
    yield move(R6, R7)
    yield alu("+", R6, R1)
    yield move(R1, R3)
    yield load("dw", R4, R6, At.WINDOW)
    yield from work()
    yield store("dw", R6, At.WINDOW, R4)
    yield load("dw", R0, R10, _INDEX)
    yield alu("-", R0, 1)
    yield store("dw", R10, _INDEX, R0)
    yield jump("!=", R0, 0, f"{name}_chunk")
    yield label(f"{name}_done")


def _unseen(at: int) -> Iterator[Line]:
    """Count the numbers of the chunk whose bit is not set."""
    yield move(R0, R4)
    yield alu("^", R0, -1)
    yield alu("&", R0, R5)
    yield from _ones(R0, R3, R9)
    yield from _add_register(at, R0, R3)


def _leaving() -> Iterator[Line]:
    """The numbers of a window ago leave it; these are seen."""
    yield from _unseen(At.MISSING)
    yield alu("|", R4, R5)


def _left_out() -> Iterator[Line]:
    """The numbers of a window ago leave it; these are not seen."""
    yield from _unseen(At.MISSING)
    yield move(R0, R5)
    yield alu("^", R0, -1)
    yield alu("&", R4, R0)


def _again() -> Iterator[Line]:
    """These were seen before, or left out."""
    yield from _unseen(At.LATE)
    yield move(R0, R4)
    yield alu("&", R0, R5)
    yield from _ones(R0, R3, R9)
    yield from _add_register(At.DUPLICATE, R0, R3)
    yield alu("|", R4, R5)


def _ones(register: Register, free: Register, mask: Register) -> Iterator[Line]:
    """How many bits of ``register`` are set, in it; the other two are lost."""
    yield move(free, register)
    yield alu(">>", free, 1)
    yield number(mask, 0x5555555555555555)
    yield alu("&", free, mask)
    yield alu("-", register, free)
    yield number(mask, 0x3333333333333333)
    yield move(free, register)
    yield alu(">>", free, 2)
    yield alu("&", free, mask)
    yield alu("&", register, mask)
    yield alu("+", register, free)
    yield move(free, register)
    yield alu(">>", free, 4)
    yield alu("+", register, free)
    yield number(mask, 0x0F0F0F0F0F0F0F0F)
    yield alu("&", register, mask)
    yield number(mask, 0x0101010101010101)
    yield alu("*", register, mask)
    yield alu(">>", register, 56)


def _add(at: int, value: int, free: Register = R2, source: Register = R3) -> Iterator[Line]:
    yield move(source, value)
    yield from _add_register(at, source, free)


def _add_register(at: int, value: Register, free: Register = R2) -> Iterator[Line]:
    """Add to a number of the stream; ``free`` has it then."""
    yield load("dw", free, R7, at)
    yield alu("+", free, value)
    yield store("dw", R7, at, free)


def _address(register: Register, at: int) -> Iterator[Line]:
    yield move(register, R10)
    yield alu("+", register, at)


def _lookup(name: str, key: int) -> Iterator[Line]:
    """R0 = the value of a key on the stack, or 0."""
    yield map_of(R1, name)
    yield from _address(R2, key)
    yield call(MAP_LOOKUP)


def _copy(at: int, size: int, short: str) -> Iterator[Line]:
    """Copy ``size`` bytes from R2 behind the begin of the IP header to the stack."""
    yield move(R4, size)
    yield from _copy_sized(at, short)


def _copy_sized(at: int, short: str) -> Iterator[Line]:
    """The same with R4 bytes, for which the stack holds zeros."""
    yield move(R1, R6)
    yield from _address(R3, at)
    yield move(R5, _FROM_NETWORK_HEADER)
    yield call(SKB_LOAD_BYTES_RELATIVE)
    yield jump("!=", R0, 0, short)


def _read(big: int, size: int, name: str) -> Iterator[Line]:
    """R1 = a number at R2 in the payload, of R4 bytes; R3 = 64 less its bits."""
    yield jump(">", R4, 8, "unnumbered")
    yield load("dw", R3, R10, _PAYLOAD)
    yield alu("+", R2, R3)
    yield store("dw", R10, _FIELD, 0)
    yield from _copy_sized(_FIELD, "unnumbered")
    yield load("h", R3, R9, size)
    yield alu("<<", R3, 3)
    yield negate(R3)
    yield alu("+", R3, 64)
    yield load("dw", R1, R10, _FIELD)
    yield load("h", R2, R9, big)
    yield jump("==", R2, 0, f"{name}_little")
    yield big_endian("dw", R1)
    yield alu(">>", R1, R3)
    yield label(f"{name}_little")
