"""Two sides, against the model of what the meter compares."""

import pytest
from hypothesis import given, settings

from mcastd.config.feed_formats import FORMATS
from mcastd.meter.packet import BUCKETS
from mcastd.tools.listen.pair import Pair
from mcastd.tools.numbers import Reading
from tests.meter.test_pairs import BITS, MERGED, Model, moves


@pytest.mark.parametrize("name", ["cme-mdp3", "moldudp64", "rtp"])
@settings(max_examples=50, deadline=None)
@given(steps=moves)
def test_any_two_sides_are_compared_as_the_model_compares_them(
    name: str, steps: list[tuple[int, int | None, int, int, int]]
) -> None:
    sequence, bits = FORMATS[name], BITS[name]
    pair, model, own, session, now = Pair(bits), Model(bits), [0, 0], 0, 10**18
    for side, move, messages, other, after in steps:
        if other == MERGED:
            continue
        session += other == 1 and sequence.session is not None
        count = 1 if sequence.count is None else messages
        number = (own[1 - side] if move is None else own[side] + move) % (1 << bits)
        own[side], now = number + count, now + after
        pair.packet(side, Reading(number, count, 0, str(session).encode()), now)
        model.packet(side, number, count, session, now)
    assert pair.record() == model.record()


def test_which_side_is_first_is_by_the_timestamps_and_not_by_the_order_of_reading() -> None:
    pair = Pair(32)
    for number in range(10):
        pair.packet(0, Reading(number, 1, 0, b""), 5_000_000 * number + 3_000)
        pair.packet(1, Reading(number, 1, 0, b""), 5_000_000 * number)
    found = pair.record()
    assert (sum(found.a_first), sum(found.b_first), found.b_first[2]) == (0, 9, 9)
    assert (found.lost, found.open, found.compared, found.uncompared) == ((0, 0, 0), (0, 0, 0), 9, 2)
    assert len(found.a_first) == BUCKETS
