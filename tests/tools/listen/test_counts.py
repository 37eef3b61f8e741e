"""Gaps, bursts and sequence numbers, against models of what the meter counts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcastd.config.feed_formats import FORMATS
from mcastd.meter.packet import BUCKETS
from mcastd.tools.listen.counts import StreamCounts
from tests.meter.feeds import BUILDERS, Packet
from tests.meter.model import Model
from tests.meter.test_program import steps


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=40, deadline=None)
@given(moves=steps)
def test_every_format_is_counted_as_the_model_counts_it(name: str, moves: list[tuple[int, int, int]]) -> None:
    sequence = FORMATS[name]
    bits = 8 * sequence.number.size
    counts, model, session, now = StreamCounts(), Model(bits), 0, 10**18
    for move, messages, other in moves:
        session, now = session + other, now + 1000
        count = 1 if sequence.count is None else min(messages, 250)
        number = (model.next + move) % (1 << bits)
        if sequence.zero_is_unsequenced and not number:
            continue
        named = session if sequence.session else 0
        counts.packet(now, sequence, BUILDERS[name](Packet(number, count, named)))
        model.packet(number, count, str(named).encode(), now)
    assert counts.record().numbers == (model.numbers() if model.begun else None)


@given(st.lists(st.one_of(st.integers(0, 3_000_000), st.integers(0, 1 << 60)), max_size=60))
def test_times_between_packets(gaps: list[int]) -> None:
    counts, times = StreamCounts(), [10**18]
    for gap in gaps:
        times.append(times[-1] + gap)
    for at in times:
        counts.packet(at, None, b"")
    found = counts.record()
    assert (found.packets, found.last, found.numbers, found.unnumbered) == (len(times), times[-1], None, 0)
    assert found.longest_gap == max(gaps, default=0)
    if found.longest_gap:
        assert found.longest_gap_at == times[gaps.index(found.longest_gap) + 1]
    buckets = [min(gap >> 10, (1 << 31) - 1).bit_length() for gap in gaps]
    assert found.gaps == tuple(buckets.count(bucket) for bucket in range(BUCKETS))
    assert (found.burst_1ms, found.burst_10ms) == (most(times, 1_000_000), most(times, 10_000_000))


def most(times: list[int], length: int) -> int:
    """The most packets in a time that begins with a packet, the next one with the first packet after it."""
    found = 0
    while times:
        count = sum(one - times[0] < length for one in times)
        found, times = max(found, count), times[count:]
    return found


def test_jitter_is_0_for_a_steady_stream_and_comes_near_how_far_the_times_are_from_their_mean() -> None:
    steady, uneven = StreamCounts(), StreamCounts()
    at = 0
    for number in range(2000):
        steady.packet(number * 1_000_000, None, b"")
        at += 900_000 if number % 2 else 1_100_000
        uneven.packet(at, None, b"")
    assert steady.jitter == 0.0
    assert uneven.jitter == pytest.approx(100_000, rel=0.01)


def test_packets_of_two_cpus_in_another_order_make_no_gap() -> None:
    counts, at = StreamCounts(), 10**18
    for after in (5, 3_000, -1_000, 2_000):
        at += after
        counts.packet(at, None, b"")
    found = counts.record()
    assert (found.packets, found.longest_gap, sum(found.gaps)) == (4, 3_000, 2)


def test_a_packet_too_short_for_a_number_or_not_of_the_sequence_has_none() -> None:
    counts = StreamCounts()
    for payload in (b"", BUILDERS["pitch"](Packet(0, 1)), BUILDERS["pitch"](Packet(7, 2))):
        counts.packet(0, FORMATS["pitch"], payload)
    found = counts.record()
    assert found.numbers is not None
    assert (found.packets, found.unnumbered, found.numbers.seen) == (3, 2, 2)
