"""The part of the meter's program that works off the sequence numbers of a packet. Pure.

The window is a ring of one bit for each number below ``next``, set for those that were seen. Numbers are 64 bits wide
inside: the next one plus how far a packet's number is from it, with a sign, in the width of the feed's own. R9 is the
feed, until the number is read.
"""

from collections.abc import Callable, Iterable, Iterator

from mcastd.meter.listing import FIELD, INDEX, PAYLOAD, SESSION_NAME, add, add_register, copy_sized, ones
from mcastd.meter.packet import SESSION, STREAM_SIZE, WINDOW, At, FeedAt
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
    Register,
    alu,
    big_endian,
    goto,
    jump,
    label,
    load,
    move,
    negate,
    store,
)


def session() -> Iterator[Line]:
    """Begin again where the session is another one; R9 = the feed."""
    yield store("dw", R10, SESSION_NAME, 0)
    yield store("dw", R10, SESSION_NAME + 8, 0)
    yield load("h", R4, R9, FeedAt.SESSION_SIZE)
    yield jump("<", R4, 1, "same_session")  # Linux 6.1 does not conclude from "!= 0" that it is at least 1
    yield jump(">", R4, SESSION, "same_session")
    yield load("h", R2, R9, FeedAt.SESSION_OFFSET)
    yield load("dw", R3, R10, PAYLOAD)
    yield alu("+", R2, R3)
    yield from copy_sized(SESSION_NAME, "unnumbered")
    yield load("dw", R1, R7, At.BEGUN)
    yield load("dw", R2, R10, SESSION_NAME)
    yield load("dw", R3, R10, SESSION_NAME + 8)
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


def interrupt() -> Iterator[Line]:
    """Packets came whose numbers are not read: what the next one has left out is not missing."""
    yield load("dw", R1, R7, At.BEGUN)
    yield jump("!=", R1, 1, "not_begun")  # or begins again already
    yield store("dw", R7, At.BEGUN, 3)
    yield label("not_begun")


def first_number() -> Iterator[Line]:
    """How many numbers the packet has, a heartbeat none, and R1 = the first as it was read; R3 = 64 less its bits."""
    yield store("dw", R7, At.PACKET_COUNT, 1)
    yield load("h", R4, R9, FeedAt.COUNT_SIZE)
    yield jump("<", R4, 1, "one")
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
    yield jump("<", R4, 1, "unnumbered")
    yield load("h", R2, R9, FeedAt.OFFSET)
    yield from _read(FeedAt.BIG, FeedAt.SIZE, "number_field")
    yield jump("!=", R1, 0, "sequenced")
    yield load("h", R2, R9, FeedAt.ZERO)
    yield jump("!=", R2, 0, "unnumbered")
    yield label("sequenced")


def place() -> Iterator[Line]:
    """Where the numbers are, from the next one; below the window they begin again."""
    yield load("dw", R4, R7, At.BEGUN)
    yield load("dw", R2, R7, At.NEXT)
    yield jump("==", R4, 0, "begin")
    yield jump("==", R4, 3, "resume")
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
    yield from add(At.RESETS, 1)
    yield label("resume")
    yield store("dw", R7, At.PACKET_FIRST, R1)
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


def window() -> Iterator[Line]:
    """Work off the numbers of the packet: those below the next one, those it leaves out, and those it brings."""
    yield load("dw", R1, R7, At.PACKET_COUNT)
    yield from add_register(At.NUMBERS, R1)

    yield load("dw", R1, R7, At.PACKET_FIRST)
    yield load("dw", R4, R7, At.NEXT)
    yield move(R0, R1)
    yield alu("-", R0, R4)
    yield jump("s>=", R0, 0, "above")
    yield load("dw", R2, R7, At.PACKET_END)
    yield from _minimum(R2, R4)
    yield load("dw", R3, R7, At.START)  # what is below is not known to be seen again or not
    yield from _maximum(R3, R1)
    yield from _minimum(R3, R2)
    yield move(R5, R3)
    yield alu("-", R5, R1)
    yield move(R1, R3)
    yield from add_register(At.LATE, R5, R3)
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
    yield from add_register(At.MISSING, R3, R5)
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
    yield store("dw", R10, INDEX, WINDOW // 64 + 1)
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
    yield load("dw", R0, R10, INDEX)
    yield alu("-", R0, 1)
    yield store("dw", R10, INDEX, R0)
    yield jump("!=", R0, 0, f"{name}_chunk")
    yield label(f"{name}_done")


def _unseen(at: int) -> Iterator[Line]:
    """Count the numbers of the chunk whose bit is not set."""
    yield move(R0, R4)
    yield alu("^", R0, -1)
    yield alu("&", R0, R5)
    yield from ones(R0, R3, R9)
    yield from add_register(at, R0, R3)


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
    yield from ones(R0, R3, R9)
    yield from add_register(At.DUPLICATE, R0, R3)
    yield alu("|", R4, R5)


def _read(big: int, size: int, name: str) -> Iterator[Line]:
    """R1 = a number at R2 in the payload, of R4 bytes; R3 = 64 less its bits."""
    yield jump(">", R4, 8, "unnumbered")
    yield load("dw", R3, R10, PAYLOAD)
    yield alu("+", R2, R3)
    yield store("dw", R10, FIELD, 0)
    yield from copy_sized(FIELD, "unnumbered")
    yield load("h", R3, R9, size)
    yield alu("<<", R3, 3)
    yield negate(R3)
    yield alu("+", R3, 64)
    yield load("dw", R1, R10, FIELD)
    yield load("h", R2, R9, big)
    yield jump("==", R2, 0, f"{name}_little")
    yield big_endian("dw", R1)
    yield alu(">>", R1, R3)
    yield label(f"{name}_little")
