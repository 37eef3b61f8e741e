"""What the parts of the meter's program have in common: places on the stack, and pieces of a listing. Pure.

R6 is the packet, and R9 its feed, or zeros, until the sequence number is read; R7 is the value of the packet's stream.
"""

from collections.abc import Iterator
from typing import Final

from mcastd.net.ebpf import (
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
    R10,
    SKB_LOAD_BYTES_RELATIVE,
    Line,
    Register,
    alu,
    call,
    jump,
    label,
    load,
    map_of,
    move,
    negate,
    number,
    store,
)

# The stack, downwards from R10, and its end; program.py has what it alone uses. All of it holds zeros at the begin.
SESSION_NAME, FIELD, NAUGHT, PAYLOAD, STACK = -80, -88, -96, -104, -112

_FROM_NETWORK_HEADER: Final = 1  # BPF_HDR_START_NET
_NOEXIST: Final = 1


def ones(register: Register, free: Register, mask: Register) -> Iterator[Line]:
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


def add(at: int, value: int, free: Register = R2, source: Register = R3) -> Iterator[Line]:
    """Add a number to one of the stream; ``free`` has the sum then."""
    yield move(source, value)
    yield from add_register(at, source, free)


def add_register(at: int, value: Register, free: Register = R2) -> Iterator[Line]:
    """Add to a number of the stream; ``free`` has it then."""
    yield load("dw", free, R7, at)
    yield alu("+", free, value)
    yield store("dw", R7, at, free)


def address(register: Register, at: int) -> Iterator[Line]:
    """The address of a place on the stack."""
    yield move(register, R10)
    yield alu("+", register, at)


def lookup(name: str, key: int) -> Iterator[Line]:
    """R0 = the value of a key on the stack, or 0."""
    yield map_of(R1, name)
    yield from address(R2, key)
    yield call(MAP_LOOKUP)


def entry(name: str, empty: str, key: int, full: str) -> Iterator[Line]:
    """R7 = the value of a key on the stack, made if it is new."""
    yield from lookup(name, key)
    yield jump("!=", R0, 0, "known")
    yield from lookup(empty, NAUGHT)
    yield jump("==", R0, 0, "out")
    yield move(R3, R0)
    yield map_of(R1, name)
    yield from address(R2, key)
    yield move(R4, _NOEXIST)  # on another CPU it may have been made meanwhile
    yield call(MAP_UPDATE)
    yield from lookup(name, key)
    yield jump("==", R0, 0, full)
    yield label("known")
    yield move(R7, R0)


def bucket(register: Register, free: Register, mask: Register) -> Iterator[Line]:
    """Where a histogram has a time in nanoseconds, which is in ``register``; the other two are lost."""
    yield alu(">>", register, 10)
    # As many bits as there are buckets but one: anything above sets them all.
    yield move(free, register)
    yield alu(">>", free, 31)
    yield negate(free)
    yield alu("s>>", free, 63)
    yield alu("|", register, free)
    for shift in (1, 2, 4, 8, 16):
        yield move(free, register)
        yield alu(">>", free, shift)
        yield alu("|", register, free)
    yield alu("&", register, 0x7FFFFFFF)
    yield from ones(register, free, mask)
    yield alu("&", register, 31)
    yield alu("<<", register, 3)


def copy(at: int, size: int, short: str) -> Iterator[Line]:
    """Copy ``size`` bytes from R2 behind the begin of the IP header to the stack."""
    yield move(R4, size)
    yield from copy_sized(at, short)


def copy_sized(at: int, short: str) -> Iterator[Line]:
    """The same with R4 bytes, for which the stack holds zeros."""
    yield from load_bytes(at)
    yield jump("!=", R0, 0, short)


def load_bytes(at: int) -> Iterator[Line]:
    """The same; R0 is not 0 if there are not as many."""
    yield move(R1, R6)
    yield from address(R3, at)
    yield move(R5, _FROM_NETWORK_HEADER)
    yield call(SKB_LOAD_BYTES_RELATIVE)
