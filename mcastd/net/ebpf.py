"""An assembler for eBPF programs (RFC 9669): a listing of instructions and labels to what bpf(2) loads. Pure.

A listing is a sequence of lines, each an instruction made by a function below or ``label(name)``::

    (
        load("w", R1, R6, 16),          # R1 = *(u32 *)(R6 + 16)
        jump("!=", R1, 8, "out"),       # if R1 != 8 goto out
        alu("+", R2, 1),                # R2 += 1; the second operand is a register or a number
        call(KTIME_GET_NS),             # R0 = bpf_ktime_get_ns(); R1 to R5 are lost
        label("out"),
        move(R0, -1),
        end(),
    )

Wire layout of an instruction (8 bytes, of this machine's byte order)::

    opcode (8) | destination register (4) | source register (4) | offset (16) | immediate (32)

A number of 64 bits takes two of them, the upper half in the immediate of the second.
"""

import struct
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final, TypeAlias

import msgspec


class Register(IntEnum):
    """R0 is what a call returns, R1 to R5 its arguments; R6 to R9 stay through a call; R10 is the end of the stack."""

    R0 = 0
    R1 = 1
    R2 = 2
    R3 = 3
    R4 = 4
    R5 = 5
    R6 = 6
    R7 = 7
    R8 = 8
    R9 = 9
    R10 = 10


R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Register

# Helpers of the kernel (linux/bpf.h).
MAP_LOOKUP, MAP_UPDATE, KTIME_GET_NS, TAIL_CALL, SKB_PULL_DATA, SKB_LOAD_BYTES_RELATIVE = 1, 2, 5, 12, 39, 68

# Types of maps, and the flag of those that take memory for each element when it is made.
HASH, ARRAY, PROGRAM_ARRAY, LPM_TRIE, NO_PREALLOC = 1, 2, 3, 11, 1

_INSTRUCTION: Final = struct.Struct("=BBhi")
_SIZES: Final = {"w": 0x00, "h": 0x08, "b": 0x10, "dw": 0x18}
_BITS: Final = {"h": 16, "w": 32, "dw": 64}
# RFC 9669, section 4.1; arithmetic is of 64 bits.
_ALU: Final = {
    "+": 0x00, "-": 0x10, "*": 0x20, "|": 0x40, "&": 0x50, "<<": 0x60, ">>": 0x70, "^": 0xA0, "=": 0xB0, "s>>": 0xC0,
}  # fmt: skip
# Section 4.3.
_JUMPS: Final = {
    "==": 0x10, ">": 0x20, ">=": 0x30, "!=": 0x50, "s>": 0x60, "s>=": 0x70, "<": 0xA0, "<=": 0xB0, "s<": 0xC0,
    "s<=": 0xD0,
}  # fmt: skip
_LDX, _ST, _STX, _ALU64, _JMP = 0x61, 0x62, 0x63, 0x07, 0x05
_LD_IMM64, _CALL, _EXIT, _NEG, _BIG_ENDIAN, _ATOMIC = 0x18, 0x85, 0x95, 0x87, 0xDC, 0xDB
_EXCHANGE, _COMPARE_EXCHANGE = 0xE1, 0xF1
_FROM_REGISTER: Final = 0x08
_PSEUDO_MAP: Final = 1  # BPF_PSEUDO_MAP_FD: the number is the descriptor of a map


class MapKind(msgspec.Struct, frozen=True):
    """What a map is: a name of at most 15 characters, the type, the bytes of its keys and values, how many, flags."""

    name: str
    type: int
    key: int
    value: int
    entries: int
    flags: int = 0


class Instruction(msgspec.Struct, frozen=True):
    """One instruction; ``target`` is the label that a jump goes to, ``map`` the name of the map that is loaded."""

    opcode: int
    destination: int = 0
    source: int = 0
    offset: int = 0
    immediate: int = 0
    target: str | None = None
    map: str | None = None

    @property
    def slots(self) -> int:
        """How many instructions of the kernel it takes."""
        return 2 if self.opcode == _LD_IMM64 else 1


class Label(msgspec.Struct, frozen=True):
    """A place that jumps go to."""

    name: str


Line: TypeAlias = Instruction | Label
Operand: TypeAlias = Register | int
"""A register, or a number of 32 bits with a sign."""


def label(name: str) -> Label:
    """Name the next instruction."""
    return Label(name)


def move(destination: Register, value: Operand) -> Instruction:
    """Copy a register or a number."""
    return alu("=", destination, value)


def alu(operation: str, destination: Register, value: Operand) -> Instruction:
    """Do arithmetic of 64 bits on a register."""
    return _with_operand(_ALU64 | _ALU[operation], destination, value)


def negate(register: Register) -> Instruction:
    """Change the sign of a register."""
    return Instruction(_NEG, register)


def number(destination: Register, value: int) -> Instruction:
    """Load a number of 64 bits."""
    return Instruction(_LD_IMM64, destination, immediate=value & (1 << 64) - 1)


def map_of(destination: Register, name: str) -> Instruction:
    """Load a map, for a helper."""
    return Instruction(_LD_IMM64, destination, _PSEUDO_MAP, map=name)


def big_endian(size: str, register: Register) -> Instruction:
    """Turn the low bytes of a register from or to network byte order; the bytes above are cleared."""
    return Instruction(_BIG_ENDIAN, register, immediate=_BITS[size])


def load(size: str, destination: Register, address: Register, offset: int) -> Instruction:
    """Load ``size`` (b, h, w, dw: 1, 2, 4, 8 bytes) from memory."""
    return Instruction(_LDX | _SIZES[size], destination, address, offset)


def store(size: str, address: Register, offset: int, value: Operand) -> Instruction:
    """Store a register or a number in memory."""
    if isinstance(value, Register):
        return Instruction(_STX | _SIZES[size], address, value, offset)
    return Instruction(_ST | _SIZES[size], address, 0, offset, value)


def exchange(address: Register, offset: int, register: Register) -> Instruction:
    """Exchange a register and 8 bytes of memory, atomically."""
    return Instruction(_ATOMIC, address, register, offset, _EXCHANGE)


def compare_exchange(address: Register, offset: int, register: Register) -> Instruction:
    """Store a register in 8 bytes of memory if they are R0, atomically; R0 is what they were."""
    return Instruction(_ATOMIC, address, register, offset, _COMPARE_EXCHANGE)


def jump(comparison: str, left: Register, right: Operand, target: str) -> Instruction:
    """Go to a label if a comparison holds; those that begin with an s are of numbers with a sign."""
    one = _with_operand(_JMP | _JUMPS[comparison], left, right)
    return Instruction(one.opcode, one.destination, one.source, immediate=one.immediate, target=target)


def goto(target: str) -> Instruction:
    """Go to a label."""
    return Instruction(_JMP, target=target)


def call(helper: int) -> Instruction:
    """Call a helper of the kernel."""
    return Instruction(_CALL, immediate=helper)


def end() -> Instruction:
    """Return R0."""
    return Instruction(_EXIT)


def assemble(listing: Iterable[Line], maps: Mapping[str, int]) -> bytes:
    """The instructions of a listing; ``maps`` has the descriptor of each map. Raises KeyError for an unknown label."""
    lines = list(listing)
    places, at = dict[str, int](), 0
    for line in lines:
        if isinstance(line, Label):
            if line.name in places:
                raise ValueError(f"label {line.name} is there twice")
            places[line.name] = at
        else:
            at += line.slots
    parts, at = list[bytes](), 0
    for line in lines:
        if isinstance(line, Label):
            continue
        at += line.slots
        immediate = line.immediate if line.map is None else maps[line.map]
        offset = line.offset if line.target is None else places[line.target] - at
        registers = line.destination | line.source << 4
        parts.append(_INSTRUCTION.pack(line.opcode, registers, offset, _signed(immediate)))
        if line.slots == 2:
            parts.append(_INSTRUCTION.pack(0, 0, 0, _signed(immediate >> 32)))
    return b"".join(parts)


def _with_operand(opcode: int, register: Register, value: Operand) -> Instruction:
    if isinstance(value, Register):
        return Instruction(opcode | _FROM_REGISTER, register, value)
    return Instruction(opcode, register, immediate=value)


def _signed(value: int) -> int:
    """The low 32 bits as the number with a sign that they are."""
    return (value + (1 << 31) & (1 << 32) - 1) - (1 << 31)
