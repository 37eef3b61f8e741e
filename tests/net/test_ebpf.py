"""The assembler of eBPF: its encoding, by RFC 9669 and the examples of the kernel's documentation, and its labels."""

import pytest

from mcastd.net import ebpf
from mcastd.net.ebpf import R0, R1, R2, R6, R10, Line


def words(*lines: Line) -> list[str]:
    code = ebpf.assemble(lines, {"streams": 7})
    return [code[at : at + 8].hex(" ") for at in range(0, len(code), 8)]


@pytest.mark.parametrize(
    ("line", "encoded"),
    [
        (ebpf.move(R0, -1), "b7 00 00 00 ff ff ff ff"),
        (ebpf.move(R6, R1), "bf 16 00 00 00 00 00 00"),
        (ebpf.alu("+", R2, -8), "07 02 00 00 f8 ff ff ff"),
        (ebpf.alu("s>>", R0, R2), "cf 20 00 00 00 00 00 00"),
        (ebpf.negate(R1), "87 01 00 00 00 00 00 00"),
        (ebpf.big_endian("h", R1), "dc 01 00 00 10 00 00 00"),
        (ebpf.load("w", R1, R6, 16), "61 61 10 00 00 00 00 00"),
        (ebpf.load("dw", R1, R10, -8), "79 a1 f8 ff 00 00 00 00"),
        (ebpf.store("b", R10, -1, R0), "73 0a ff ff 00 00 00 00"),
        (ebpf.store("dw", R10, -8, 3), "7a 0a f8 ff 03 00 00 00"),
        (ebpf.call(ebpf.MAP_LOOKUP), "85 00 00 00 01 00 00 00"),
        (ebpf.end(), "95 00 00 00 00 00 00 00"),
    ],
)
def test_an_instruction_is_encoded_as_the_standard_says(line: Line, encoded: str) -> None:
    assert words(line) == [encoded]


def test_a_number_of_64_bits_takes_two_instructions() -> None:
    assert words(ebpf.number(R1, 0x8000_0001_FFFF_FFFE)) == ["18 01 00 00 fe ff ff ff", "00 00 00 00 01 00 00 80"]
    assert words(ebpf.map_of(R1, "streams")) == ["18 11 00 00 07 00 00 00", "00 00 00 00 00 00 00 00"]


def test_jumps_go_to_labels_forwards_and_backwards() -> None:
    assert words(
        ebpf.label("begin"),
        ebpf.jump("!=", R1, 5, "out"),
        ebpf.number(R2, 1),
        ebpf.jump("s<", R1, R2, "begin"),
        ebpf.goto("begin"),
        ebpf.label("out"),
        ebpf.end(),
    ) == [
        "55 01 04 00 05 00 00 00",
        "18 02 00 00 01 00 00 00",
        "00 00 00 00 00 00 00 00",
        "cd 21 fc ff 00 00 00 00",
        "05 00 fb ff 00 00 00 00",
        "95 00 00 00 00 00 00 00",
    ]


def test_labels_are_there_once() -> None:
    with pytest.raises(KeyError, match="nowhere"):
        words(ebpf.goto("nowhere"))
    with pytest.raises(ValueError, match="twice"):
        words(ebpf.label("here"), ebpf.label("here"))
