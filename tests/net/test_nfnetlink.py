"""Questions to nf_tables and its answers: what the kernel gave for them, and arbitrary bytes."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.errors import DecodeError
from mcastd.net import nfnetlink
from mcastd.net.nfnetlink import Element

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus" / "nfnetlink"


def answer(name: str) -> bytes:
    """What the kernel answered."""
    return (CORPUS / name).read_bytes()


def test_the_questions_are_those_that_the_kernel_understands() -> None:
    question = nfnetlink.ask_counters("mcastd_streams")
    length, kind, flags, _, _ = struct.unpack_from("=IHHII", question)
    assert (length, kind, flags) == (len(question), 0x0A13, 0x301)
    assert b"mcastd_streams\0" in question
    question = nfnetlink.ask_elements("mcastd_streams", "streams")
    assert struct.unpack_from("=IHH", question) == (len(question), 0x0A0D, 0x301)
    assert b"streams\0" in question


def test_the_kernel_s_counters() -> None:
    part = nfnetlink.part(answer("counters"))
    assert (part.done, part.error, part.interrupted) == (True, 0, False)
    assert dict(map(nfnetlink.counter, part.messages)) == {
        "tunnel-gre1": 3, "child-dc-tun-gre": 0, "child-dc-tun-tcp": 0,
    }  # fmt: skip


def test_the_kernel_s_elements() -> None:
    part = nfnetlink.part(answer("elements"))
    found = [element for message in part.messages for element in nfnetlink.elements(message)]
    assert sorted(element.key[20:26] for element in found) == [bytes((239, 1, 1, n, 0x13, 0x88)) for n in range(3)]
    assert {element.packets for element in found} == {1}
    assert {element.size for element in found} <= set(range(21, 1500))
    assert all(172_700.0 < element.expires_in <= 172_800.0 for element in found)


def test_an_error_is_the_kernel_s_errno() -> None:
    assert nfnetlink.part(answer("error")) == nfnetlink.Part([], True, 2, False)


def test_elements_without_a_counter_are_left_out() -> None:
    messages = nfnetlink.part(answer("no-counter")).messages
    assert [list(nfnetlink.elements(message)) for message in messages] == [[] for _ in messages]


@given(st.binary(max_size=300) | st.sampled_from([answer(path.name) for path in CORPUS.iterdir()]), st.data())
def test_arbitrary_bytes_are_an_answer_or_a_decode_error(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data)))
    changed = data[:at] + draw.draw(st.binary(max_size=4)) + data[at:]
    try:
        for message in nfnetlink.part(changed).messages:
            assert all(isinstance(element, Element) for element in nfnetlink.elements(message))
            nfnetlink.counter(message)
    except DecodeError:
        return


@pytest.mark.parametrize("length", [0, 15, 17, 2**32 - 1])
def test_a_length_that_cannot_be_ends_the_datagram(length: int) -> None:
    with pytest.raises(DecodeError):
        nfnetlink.part(struct.pack("=IHHII", length, 0x0A0C, 2, 1, 0))
