"""Questions to nf_tables and its answers: what the kernel gave for them, and arbitrary bytes."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.errors import DecodeError
from mcastd.net import nfnetlink
from mcastd.net.netlink import attribute
from mcastd.net.nfnetlink import Element
from tests.calls import calls

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


def written(one: Element, unusual: str) -> bytes:
    """An element as a kernel writes it, or with what another one might write besides, or leave out."""
    packets, size = (struct.pack(">Q", number) for number in (one.packets, one.size))
    counts = [attribute(1, size), attribute(2, packets)]
    counter = attribute(1, b"counter\0") + attribute(2, b"".join(counts[::-1] if unusual == "order" else counts))
    more = attribute(4, struct.pack(">Q", 172_800_000)) if unusual == "timeout" else b""
    expires = attribute(5, struct.pack(">Q", round(one.expires_in * 1000)))
    return attribute(1, attribute(1, attribute(1, one.key)) + attribute(7, counter) + more + expires)


ELEMENTS = st.tuples(
    st.builds(
        Element,
        st.sampled_from([28, 44]).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
        st.integers(0, 2**64 - 1), st.integers(0, 172_800_000).map(lambda ms: ms / 1000.0), st.integers(0, 2**64 - 1),
    ),
    st.sampled_from(["", "", "", "order", "timeout"]),
)  # fmt: skip


@given(st.lists(ELEMENTS, max_size=6))
def test_elements_are_read_whatever_form_those_before_have(found: list[tuple[Element, str]]) -> None:
    message = attribute(1, b"table\0") + attribute(3, b"".join(written(*one) for one in found))
    assert list(nfnetlink.elements(message)) == [one for one, _ in found]


def test_elements_in_the_kernel_s_usual_form_are_read_at_once() -> None:
    messages = nfnetlink.part(answer("elements")).messages
    found = calls(lambda: [list(nfnetlink.elements(message)) for message in messages])
    assert found < 100  # of 3 elements; 145 by attributes


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
