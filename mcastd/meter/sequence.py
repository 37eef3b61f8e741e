"""The part of the meter's program that works off the sequence numbers of a packet. Pure.

The window is a ring of one bit for each number below ``next``, set for those that were seen. Numbers are 64 bits wide
inside: the next one plus how far a packet's number is from it, with a sign, in the width of the feed's own. From
where it is read R8 and R9 are free.

Without CAP_PERFMON Linux 6.1 takes two states for the same only if all registers that matter are equal, copies of
them included; it would follow all ways through loops and branches apart. So no number is in a register at a label that
several ways lead to, but for counters: numbers are in the stream's value, of which the verifier knows nothing.
"""

from collections.abc import Callable, Iterable, Iterator

from mcastd.meter.listing import FIELD, PAYLOAD, SESSION_NAME, add, add_register, copy_sized, ones
from mcastd.meter.packet import SESSION, STREAM_SIZE, WINDOW, At, FeedAt
from mcastd.net.ebpf import (
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R7,
    R8,
    R9,
    R10,
    Line,
    Register,
    alu,
    big_endian,
    jump,
    label,
    load,
    move,
    negate,
    store,
)


def session() -> Iterator[Line]:
    """Begin again where the session is another one; R9 = the feed."""
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
    yield jump("==", R4, 3, "begin")
    yield jump("!=", R4, 1, "reset")
    yield move(R4, R1)
    yield alu("-", R4, R2)
    yield alu("<<", R4, R3)
    yield alu("s>>", R4, R3)  # how far the number is from the next one
    yield load("dw", R3, R7, At.PACKET_COUNT)
    yield alu("+", R3, R4)
    yield alu("+", R4, R2)
    yield store("dw", R7, At.PACKET_FIRST, R4)
    yield jump("s>", R3, -WINDOW, "placed")
    yield label("reset")
    yield from add(At.RESETS, 1)
    yield label("begin")
    # What is not seen in the window will not be, and numbers below the first one are not missing: all bits are set.
    yield move(R2, -1)
    for at in range(At.WINDOW, STREAM_SIZE, 8):
        yield store("dw", R7, at, R2)
    yield store("dw", R7, At.BEGUN, 1)
    yield store("dw", R7, At.START, R1)
    yield store("dw", R7, At.NEXT, R1)
    yield store("dw", R7, At.PACKET_FIRST, R1)
    yield label("placed")
    yield load("dw", R1, R7, At.PACKET_COUNT)
    yield from add_register(At.NUMBERS, R1)
    yield load("dw", R2, R7, At.PACKET_FIRST)
    yield alu("+", R1, R2)
    yield store("dw", R7, At.PACKET_END, R1)


def below() -> Iterator[Line]:
    """Work off the packet's numbers below the next one: seen again, or late."""
    yield load("dw", R1, R7, At.PACKET_FIRST)
    yield load("dw", R4, R7, At.NEXT)
    yield from unless_below(R1, R4, "nothing_below")
    yield load("dw", R2, R7, At.PACKET_END)
    yield from _minimum(R2, R4)
    yield load("dw", R3, R7, At.START)  # what is below is not known to be seen again or not
    yield from maximum(R3, R1)
    yield from _minimum(R3, R2)
    yield alu("-", R1, R3)
    yield negate(R1)
    yield from add_register(At.LATE, R1, R5)
    yield alu("-", R4, WINDOW)
    yield from maximum(R3, R4)
    yield from words("below", R3, R2, _again)
    yield label("nothing_below")


def left_out() -> Iterator[Line]:
    """Work off the numbers from the next one to the packet's first one."""
    yield load("dw", R1, R7, At.NEXT)
    yield load("dw", R2, R7, At.PACKET_FIRST)
    yield from unless_below(R1, R2, "no_gap")
    yield load("dw", R3, R7, At.PACKET_FIRST)
    yield alu("-", R3, R1)
    yield from add_register(At.LOST, R3, R4)
    yield store("dw", R7, At.GAP_SIZE, R3)
    yield load("dw", R3, R7, At.LAST)
    yield store("dw", R7, At.GAP_AT, R3)
    yield from words_to("gap", R1, R2, _unseen)
    yield label("no_gap")


def above() -> Iterator[Line]:
    """Work off the packet's numbers from the next one on."""
    yield load("dw", R1, R7, At.NEXT)
    yield load("dw", R2, R7, At.PACKET_END)
    yield from unless_below(R1, R2, "nothing_new")
    yield store("dw", R7, At.NEXT, R2)
    yield load("dw", R3, R7, At.PACKET_FIRST)
    yield from maximum(R1, R3)
    yield from words_to("new", R1, R2, _seen)
    yield label("nothing_new")


def unless_below(register: Register, other: Register, target: str) -> Iterator[Line]:
    """Go to a label unless the register is the smaller one; R0 is lost."""
    yield from _copy(R0, register)
    yield alu("-", R0, other)
    yield jump("s>=", R0, 0, target)


def _minimum(register: Register, other: Register) -> Iterator[Line]:
    """The smaller one; R0 and R9 are lost."""
    yield from _negative_difference(register, other)
    yield from _copy(register, other)
    yield alu("+", register, R0)


def maximum(register: Register, other: Register) -> Iterator[Line]:
    """The larger one; R0 and R9 are lost."""
    yield from _negative_difference(register, other)
    yield alu("-", register, R0)


def _negative_difference(register: Register, other: Register) -> Iterator[Line]:
    """R0 = register - other where that is below 0, else 0; R9 is lost."""
    yield from _copy(R0, register)
    yield alu("-", R0, other)
    yield move(R9, R0)
    yield alu("s>>", R9, 63)
    yield alu("&", R0, R9)


def _copy(register: Register, other: Register) -> Iterator[Line]:
    """Copy a number in a way that Linux 6.1 does not remember that it is a copy."""
    yield move(register, 0)
    yield alu("+", register, other)


def words_to(name: str, begin: Register, end: Register, work: Callable[[], Iterable[Line]]) -> Iterator[Line]:
    """Do ``work`` for the last numbers to ``end``, of at most a window: the others leave it at once."""
    yield move(R3, end)
    yield alu("-", R3, WINDOW)
    yield from maximum(begin, R3)
    yield from words(name, begin, end, work)


def words(name: str, begin: Register, end: Register, work: Callable[[], Iterable[Line]]) -> Iterator[Line]:
    """Do ``work`` for the words of 64 numbers from ``begin`` to ``end``, of at most a window.

    In ``work`` R4 is the word, R5 the mask of those of its numbers, R3 how many; R8 is where the word is; R0 and
    R9 are free, and R1 at the end.
    """
    yield store("dw", R7, At.WORD_BEGIN, begin)
    yield store("dw", R7, At.WORD_END, end)
    yield load("dw", R1, R7, At.WORD_BEGIN)
    yield load("dw", R2, R7, At.WORD_END)
    for _ in range(WINDOW // 64 + 1):  # no loop: the verifier would follow it beyond its end, as a CPU might by mistake
        yield from unless_below(R1, R2, f"{name}_done")
        yield move(R3, R1)
        yield alu("|", R3, 63)
        yield alu("+", R3, 1)
        yield from _minimum(R3, R2)
        yield move(R8, R1)
        yield alu("-", R3, R1)
        yield alu("+", R1, R3)
        yield move(R0, R3)
        yield negate(R0)
        yield move(R5, -1)
        yield alu(">>", R5, R0)  # by 64 less: the low six bits count
        yield alu("<<", R5, R8)
        yield alu(">>", R8, 3)
        yield alu("&", R8, WINDOW // 8 - 8)
        yield alu("+", R8, R7)
        yield load("dw", R4, R8, At.WINDOW)
        yield from work()
        yield store("dw", R8, At.WINDOW, R4)
    yield label(f"{name}_done")


def _seen() -> Iterator[Line]:
    yield alu("|", R4, R5)


def _unseen() -> Iterator[Line]:
    yield alu("|", R4, R5)
    yield alu("^", R4, R5)


def _again() -> Iterator[Line]:
    """These were seen before, or left out."""
    yield move(R0, R4)
    yield alu("&", R0, R5)
    yield from ones(R0, R4, R9)
    yield load("dw", R4, R8, At.WINDOW)
    yield from add_register(At.DUPLICATE, R0, R9)
    yield alu("-", R3, R0)
    yield from add_register(At.LATE, R3, R9)
    yield negate(R3)
    yield from add_register(At.LOST, R3, R9)
    yield from _seen()


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
