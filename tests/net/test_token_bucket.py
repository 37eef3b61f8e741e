"""The token bucket: its burst, its rate, and the deadline at which it has tokens again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.net.token_bucket import TokenBucket


def test_it_is_full_at_first_and_fills_again() -> None:
    bucket = TokenBucket(10.0, burst=10.0)
    assert [bucket.take(100.0) for _ in range(11)] == [True] * 10 + [False]
    assert not bucket.take(100.09)
    assert bucket.take(100.15)
    assert not bucket.take(100.15)
    assert [bucket.take(500.0) for _ in range(11)] == [True] * 10 + [False]


def test_less_than_one_a_second() -> None:
    bucket = TokenBucket(0.5, burst=1.0)
    assert [bucket.take(10.0 + second) for second in range(6)] == [True, False, True, False, True, False]


def test_nothing_has_to_be_waited_for_before_the_first() -> None:
    assert TokenBucket(10.0, burst=4.0).deadline(4) < 0.0


RATES = st.floats(0.1, 2000.0)
BURSTS = st.integers(1, 20)
STARTS = st.floats(0.0, 1e6)


@given(RATES, BURSTS, STARTS, st.lists(st.floats(0.0, 2.0), min_size=1, max_size=200))
def test_never_more_than_the_burst_and_the_rate(rate: float, burst: int, start: float, pauses: list[float]) -> None:
    bucket = TokenBucket(rate, burst)
    now, taken = start, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now)
    assert 1 <= taken <= burst + (now - start) * rate + 2e-3


@given(RATES, BURSTS, STARTS, st.data())
def test_at_the_deadline_there_are_as_many_as_asked_for(
    rate: float, burst: int, start: float, data: st.DataObject
) -> None:
    bucket = TokenBucket(rate, burst)
    while bucket.take(start):
        pass
    count = data.draw(st.integers(1, burst))
    due = bucket.deadline(count)
    assert due == pytest.approx(start + count / rate, abs=2e-3 / rate)
    assert [bucket.take(due) for _ in range(count + 1)] == [True] * count + [False]
