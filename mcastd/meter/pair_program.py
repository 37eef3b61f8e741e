"""The program that compares the two sides of a pair, as a listing. Pure.

The program that measures streams calls it for each packet of a feed with a pair. Both sides have one value: a window of
numbers as in ``sequence``, with a bit for each side. A number that leaves it was seen on both, on one, or on none.

What is compared begins when both sides are in: less than a window apart. Numbers that are further below than the window
(a side begins again, or is that late), another session, and packets whose numbers are not read end it; until the other
side comes to where the last packet was, nothing is compared, and that is counted. Packets of the two sides may be on
two CPUs: the value has a lock.
"""

from collections.abc import Iterator
from typing import Final

from mcastd.meter import sequence
from mcastd.meter.listing import add_register, bucket, entry, ones
from mcastd.meter.packet import WINDOW, At, FeedAt, PairAt
from mcastd.meter.program import KEY, MERGED, PASS, Clock, clock, feed, headers
from mcastd.net.ebpf import (
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
    Line,
    alu,
    compare_exchange,
    end,
    exchange,
    goto,
    jump,
    label,
    load,
    move,
    store,
)

PAIRS, EMPTY = "pairs", "empty"
"""The names of its maps, beside those of the feeds: the pairs, and an empty value."""

_A, _B, _BOTH = 1, 2, 3  # sides
_ATTEMPTS: Final = 64  # to get the lock: some microseconds
_PAIR_KEY: Final = -120  # on the stack


def pair_program(which: Clock = "kernel") -> Iterator[Line]:
    """The listing; the time is as in ``program``."""
    yield move(R6, R1)
    yield from headers()
    yield from feed()
    yield label("count")
    yield load("h", R1, R9, FeedAt.SIDE)
    yield jump("==", R1, 0, "out")
    yield from _key()
    yield from entry(PAIRS, EMPTY, _PAIR_KEY, "out")
    yield from _lock()
    yield load("h", R1, R9, FeedAt.SIDE)
    yield store("dw", R7, At.SIDE, R1)
    yield clock(which)
    yield store("dw", R7, PairAt.NOW, R0)
    yield load("dw", R1, R10, MERGED)
    yield jump("!=", R1, 1, "unjudged")
    yield from sequence.session()
    yield from sequence.first_number()
    yield load("dw", R2, R7, At.PACKET_COUNT)
    yield jump(">", R2, WINDOW, "unjudged")
    yield from _place()
    yield label("compare")
    yield from _time()
    yield from _window()
    yield goto("unlock")
    yield label("unjudged")
    yield from sequence.interrupt()
    yield label("unnumbered")
    yield label("unlock")
    yield move(R1, 0)
    yield exchange(R7, PairAt.LOCK, R1)
    yield label("out")
    yield move(R0, PASS)
    yield end()


def _key() -> Iterator[Line]:
    """The key of the pair, in one write; R9 = the feed."""
    yield load("h", R1, R9, FeedAt.PAIR_PORT)
    yield jump("!=", R1, 0, "has_port")
    yield load("h", R1, R10, KEY + 12)
    yield label("has_port")
    yield load("h", R2, R10, KEY + 14)
    yield alu("<<", R2, 16)
    yield alu("|", R1, R2)
    yield alu("<<", R1, 32)
    yield load("w", R2, R9, FeedAt.PAIR_GROUP)
    yield alu("|", R1, R2)
    yield store("dw", R10, _PAIR_KEY, R1)


def _lock() -> Iterator[Line]:
    """Lock R7. A packet that does not get it is lost to the comparison, which begins again."""
    for _ in range(_ATTEMPTS):
        yield move(R0, 0)
        yield move(R1, 1)
        yield compare_exchange(R7, PairAt.LOCK, R1)
        yield jump("==", R0, 0, "locked")
    yield store("dw", R7, At.BEGUN, 2)
    yield goto("out")
    yield label("locked")


def _place() -> Iterator[Line]:
    """Where the packet's numbers are, from the next one; R1 = the first as it was read, R3 = 64 less its bits."""
    yield load("dw", R4, R7, At.BEGUN)
    yield jump("!=", R4, 1, "alone")
    yield load("dw", R2, R7, At.NEXT)
    yield move(R4, R1)
    yield alu("-", R4, R2)
    yield alu("<<", R4, R3)
    yield alu("s>>", R4, R3)  # how far the number is from the next one
    yield load("dw", R5, R7, At.PACKET_COUNT)
    yield alu("+", R5, R4)
    yield jump("s<=", R5, -WINDOW, "alone")
    yield move(R3, R2)
    yield alu("+", R3, R4)
    yield store("dw", R7, At.PACKET_FIRST, R3)
    yield alu("+", R5, R2)
    yield store("dw", R7, At.PACKET_END, R5)
    yield load("dw", R3, R7, PairAt.SIDES)
    yield jump("==", R3, _BOTH, "compare")
    yield load("dw", R2, R7, At.SIDE)
    yield jump("==", R3, R2, "alone")
    yield jump("s>=", R4, WINDOW, "alone")
    # What comes from now on is compared: all below is as if both had seen it.
    yield load("dw", R4, R7, At.NEXT)
    yield from sequence.maximum(R5, R4)
    yield store("dw", R7, At.NEXT, R5)
    yield move(R2, -1)
    for at in range(PairAt.WINDOW_A, PairAt.HISTOGRAMS, 8):
        yield store("dw", R7, at, R2)
    yield store("dw", R7, PairAt.SIDES, _BOTH)
    yield load("dw", R1, R7, PairAt.NOW)
    yield store("dw", R7, PairAt.JOINED, R1)
    yield goto("not_compared")
    yield label("alone")
    yield load("dw", R2, R7, At.PACKET_COUNT)
    yield alu("+", R1, R2)
    yield store("dw", R7, At.NEXT, R1)
    yield store("dw", R7, At.BEGUN, 1)
    yield load("dw", R3, R7, PairAt.SIDES)
    yield load("dw", R2, R7, At.SIDE)
    yield store("dw", R7, PairAt.SIDES, R2)
    yield jump("!=", R3, _BOTH, "not_compared")
    yield move(R1, 1)
    yield from add_register(PairAt.RESTARTS, R1)
    yield label("not_compared")
    yield load("dw", R1, R7, At.PACKET_COUNT)
    yield from add_register(PairAt.UNCOMPARED, R1)
    yield goto("unlock")


def _time() -> Iterator[Line]:
    """Which side is the first with the number that begins the packet, and by how much, once the other one has it."""
    yield load("dw", R2, R7, At.PACKET_COUNT)
    yield jump("==", R2, 0, "timed")
    yield load("dw", R1, R7, At.PACKET_FIRST)
    yield load("dw", R2, R7, At.NEXT)
    yield move(R3, R1)
    yield alu("-", R3, R2)
    yield jump("s<=", R3, -WINDOW, "timed")
    yield move(R9, R1)
    yield alu("&", R9, WINDOW - 1)
    yield alu("<<", R9, 3)
    yield alu("+", R9, R7)
    yield alu("<<", R1, 2)
    yield load("dw", R3, R7, At.SIDE)
    yield load("dw", R4, R9, PairAt.NUMBERS)
    yield move(R5, R4)
    yield alu("^", R5, R1)
    yield jump(">", R5, _BOTH, "first")
    yield load("dw", R2, R9, PairAt.TIMES)
    yield load("dw", R5, R7, PairAt.JOINED)
    yield jump("<", R2, R5, "first")
    yield alu("&", R4, _BOTH)
    yield jump("==", R4, R3, "timed")
    yield jump("==", R4, _BOTH, "timed")
    yield alu("|", R1, _BOTH)
    yield store("dw", R9, PairAt.NUMBERS, R1)
    yield load("dw", R9, R7, PairAt.NOW)
    yield alu("-", R9, R2)
    yield move(R2, R9)
    yield alu("s>>", R2, 63)
    yield alu("^", R2, -1)
    yield alu("&", R9, R2)  # 0 if another CPU was faster
    yield from bucket(R9, R1, R2)
    yield alu("&", R3, _A)  # on A: B was first
    yield alu("<<", R3, 8)
    yield alu("|", R9, R3)
    yield alu("&", R9, 0x1F8)  # Linux 6.1 does not conclude that from the two
    yield alu("+", R9, R7)
    yield load("dw", R2, R9, PairAt.HISTOGRAMS)
    yield alu("+", R2, 1)
    yield store("dw", R9, PairAt.HISTOGRAMS, R2)
    yield goto("timed")
    yield label("first")
    yield alu("|", R1, R3)
    yield store("dw", R9, PairAt.NUMBERS, R1)
    yield load("dw", R1, R7, PairAt.NOW)
    yield store("dw", R9, PairAt.TIMES, R1)
    yield label("timed")


def _window() -> Iterator[Line]:
    """Judge the numbers that leave the window, and mark those of the packet."""
    yield load("dw", R1, R7, At.NEXT)
    yield load("dw", R2, R7, At.PACKET_END)
    yield from sequence.unless_below(R1, R2, "not_above")
    yield store("dw", R7, At.NEXT, R2)
    yield move(R3, R2)
    yield alu("-", R3, R1)
    yield from add_register(PairAt.COMPARED, R3, R4)
    yield move(R4, R2)
    yield alu("-", R4, WINDOW)
    yield from sequence.maximum(R4, R1)
    yield move(R3, R4)
    yield alu("-", R3, R1)  # those that were never in the window
    yield from add_register(PairAt.LOST_BOTH, R3, R5)
    yield from sequence.words("leaving", R4, R2, _leaving)
    yield label("not_above")
    yield load("dw", R1, R7, At.PACKET_FIRST)
    yield load("dw", R2, R7, At.PACKET_END)
    yield load("dw", R3, R7, At.NEXT)
    yield alu("-", R3, WINDOW)
    yield from sequence.maximum(R1, R3)
    yield from sequence.words("marked", R1, R2, _mark)


def _leaving() -> Iterator[Line]:
    """The numbers of a window ago leave it; these are not seen on any side."""
    yield load("dw", R0, R8, PairAt.WINDOW_B)
    yield alu("^", R0, -1)
    yield alu("&", R0, R4)
    yield from _count(PairAt.LOST_B)
    yield load("dw", R0, R8, PairAt.WINDOW_B)
    yield move(R3, R4)
    yield alu("^", R3, -1)
    yield alu("&", R0, R3)
    yield from _count(PairAt.LOST_A)
    yield load("dw", R0, R8, PairAt.WINDOW_B)
    yield alu("|", R0, R4)
    yield alu("^", R0, -1)
    yield from _count(PairAt.LOST_BOTH)
    yield alu("^", R5, -1)
    yield alu("&", R4, R5)
    yield load("dw", R3, R8, PairAt.WINDOW_B)
    yield alu("&", R3, R5)
    yield store("dw", R8, PairAt.WINDOW_B, R3)


def _count(at: int) -> Iterator[Line]:
    """Count the numbers of the word that are in R0."""
    yield alu("&", R0, R5)
    yield from ones(R0, R3, R9)
    yield from add_register(at, R0, R3)


def _mark() -> Iterator[Line]:
    """These are seen on the packet's side."""
    yield load("dw", R3, R7, At.SIDE)
    yield alu("&", R3, _B)
    yield alu("<<", R3, 6)  # from window to window
    yield alu("+", R3, R8)
    yield load("dw", R4, R3, PairAt.WINDOW_A)
    yield alu("|", R4, R5)
    yield store("dw", R3, PairAt.WINDOW_A, R4)
    yield load("dw", R4, R8, PairAt.WINDOW_A)
