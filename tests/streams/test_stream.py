"""One stream: whether it carries a packet a second, and when it is silent."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.streams.stream import SILENCE, Stream
from mcastd.streams.table import Key

KEY = Key("gre1", IPv4Address("100.15.30.5"), IPv4Address("239.1.1.1"), 5000)
PERIODS = st.sampled_from((0.05, 0.5, 1.0, 2.0))


def carried(stream: Stream, rate: float, begin: float, seconds: float, look: float) -> float:
    """Packets at a rate from ``begin`` on, looked at every ``look`` seconds; returns when that ends."""
    before, now = stream.packets, begin
    while now < begin + seconds:
        now += look
        packets = int((now - begin) * rate)
        seen = begin + packets / rate if packets else stream.seen
        stream.counted(before + packets, seen, now)
    return now


def quiet(stream: Stream, begin: float, seconds: float, look: float) -> float:
    now = begin
    while now < begin + seconds:
        now += look
        stream.counted(stream.packets, stream.seen, now)
    return now


@given(st.floats(1.0, 5000.0), PERIODS)
def test_a_packet_a_second_is_busy_after_some_seconds_however_often_it_is_looked_at(rate: float, look: float) -> None:
    stream = Stream(KEY, 1, 100.0, 100.0)
    now = carried(stream, rate, 100.0, 12.0, look)
    assert (stream.busy, stream.is_silent(now)) == (True, False)
    now = quiet(stream, now, SILENCE + 0.1, look)
    assert (stream.busy, stream.is_silent(now)) == (True, True)


@given(st.floats(0.01, 0.3), PERIODS)
def test_less_than_a_packet_in_three_seconds_is_not_busy_and_silent_late(rate: float, look: float) -> None:
    stream = Stream(KEY, 1, 100.0, 100.0)
    now = carried(stream, rate, 100.0, 400.0, look)
    assert not stream.busy
    assert not stream.is_silent(stream.seen + 59.0)
    assert stream.is_silent(max(now, stream.seen + 61.0))


@pytest.mark.parametrize("look", [0.05, 1.0])
def test_a_burst_now_and_then_is_not_busy(look: float) -> None:
    stream, now = Stream(KEY, 1, 100.0, 100.0), 100.0
    for _ in range(20):
        now = carried(stream, 100.0, now, 1.0, look)
        now = quiet(stream, now, 9.0, look)
        assert not stream.busy


@pytest.mark.parametrize("look", [0.05, 1.0])
def test_after_a_silence_a_busy_stream_is_so_again_soon_and_a_rare_packet_makes_it_slow(look: float) -> None:
    stream = Stream(KEY, 1, 100.0, 100.0)
    now = quiet(stream, carried(stream, 100.0, 100.0, 10.0, look), 60.0, look)
    now = carried(stream, 100.0, now, 2.0, look)
    assert stream.busy
    now = quiet(stream, now, 10.0, look)
    carried(stream, 0.1, now, 60.0, look)
    assert not stream.busy


def test_a_stream_that_was_silent_at_the_first_look_is_not_busy() -> None:
    stream = Stream(KEY, 1_000_000, 100.0, 500.0)
    assert (stream.busy, stream.is_silent(500.0)) == (False, True)


def test_a_set_that_another_program_emptied_does_not_make_it_slow() -> None:
    stream = Stream(KEY, 1_000_000, 100.0, 100.0)
    now = carried(stream, 100.0, 100.0, 10.0, 1.0)
    stream.counted(50, now + 1.0, now + 1.0)
    for second in range(2, 10):
        stream.counted(50 + 100 * second, now + second, now + second)
    assert stream.busy


@pytest.mark.parametrize("rate", [2.0, 100.0])
def test_counted_from_0_again_after_hours_it_has_its_rate_and_is_silent_soon(rate: float) -> None:
    stream = Stream(KEY, 0, 100.0, 100.0)
    now = carried(stream, rate, 100.0, 36_000.0, 2.0)
    stream.counted(0, now, now)
    begin = now
    for second in range(1, 60):
        now = begin + second
        stream.counted(int(second * rate), now, now)
        assert (stream.busy, stream.is_silent(now + SILENCE)) == (True, True)
    assert stream.rate(now) == pytest.approx(rate)


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.floats(0.0, 100.0), st.floats(0.01, 100.0))))
def test_whatever_is_counted_it_is_busy_only_with_packets(looks: list[tuple[int, float, float]]) -> None:
    stream, now = Stream(KEY, 0, 0.0, 100.0), 100.0
    for packets, age, later in looks:
        now += later
        stream.counted(packets, now - age, now)
    assert not stream.busy or any(packets for packets, _, _ in looks)
