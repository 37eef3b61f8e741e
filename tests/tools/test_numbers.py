"""The sequence numbers of packets, as the generators of the formats wrote them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.config.feed_formats import FORMATS, Field, Sequence
from mcastd.tools.numbers import Reading, read
from tests.meter.feeds import BUILDERS, Packet, custom

SIZES = {"cme-mdp3": 4, "moex-simba": 4, "moldudp64": 20, "pitch": 8, "rtp": 12}


@pytest.mark.parametrize("name", FORMATS)
@given(number=st.integers(0, (1 << 16) - 1), count=st.integers(0, 200), session=st.integers(0, 9))
def test_every_format(name: str, number: int, count: int, session: int) -> None:
    payload = BUILDERS[name](Packet(number, count, session, unit=7))
    found = read(FORMATS[name], payload)
    assert found is not None
    assert (found.number, found.unit) == (number, 7 if name == "pitch" else 0)
    assert found.count == (1 if FORMATS[name].count is None else count)
    assert found.session in (b"", f"{session:010}".encode(), session.to_bytes(4, "big"))
    assert read(FORMATS[name], payload[: SIZES[name]]) == found
    assert read(FORMATS[name], payload[: SIZES[name] - 1]) is None


@given(st.sampled_from([1, 2, 4, 8]), st.booleans(), st.integers(0, 40), st.integers(0, 255))
def test_any_field(size: int, big: bool, offset: int, number: int) -> None:
    sequence = Sequence(Field(offset, size, big), Field(50, 4, not big))
    assert read(sequence, custom(sequence, Packet(number, 0x20003))) == Reading(number, 3, 0, b"")


def test_the_end_of_a_session_has_the_next_number() -> None:
    assert read(FORMATS["moldudp64"], BUILDERS["moldudp64"](Packet(9, is_end=True))) == Reading(9, 0, 0, b"0000000000")
