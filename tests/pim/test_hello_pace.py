"""Whether a neighbour's Hellos keep coming."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from mcastd.pim.hello_pace import LIMIT, TRIGGERED, HelloPace

HOLDTIME = 105.0


def after(*times: float, holdtime: float = HOLDTIME) -> HelloPace:
    first, *others = times
    pace = HelloPace(holdtime, first)
    for time in others:
        assert not pace.due(time), "overdue between"
        pace.received(holdtime, time)
    return pace


def test_until_there_are_three_gaps_the_holdtime_says_the_period() -> None:
    assert after(0.0).deadline == LIMIT * 30.0
    assert after(0.0, 10.0, 20.0).deadline == 20.0 + LIMIT * 30.0
    assert after(0.0, 10.0, 20.0, 30.0).deadline == 30.0 + LIMIT * 10.0


def test_it_is_overdue_once_and_in_time_again_with_the_next() -> None:
    pace = after(0.0, 10.0, 20.0, 30.0)
    assert not pace.due(51.9)
    assert [pace.due(52.0), pace.is_overdue] == [True, True]
    assert (pace.due(60.0), pace.deadline, pace.last) == (False, inf, 30.0)
    pace.received(HOLDTIME, 70.0)
    assert [pace.is_overdue] == [False]
    assert pace.period == 10.0, "the silence is taken for a gap"


def test_the_longest_of_the_last_three_gaps_counts() -> None:
    assert after(0.0, 10.0, 20.0, 40.0, 50.0, 60.0).period == 20.0
    assert after(0.0, 10.0, 20.0, 40.0, 50.0, 60.0, 70.0).period == 10.0


def test_triggered_hellos_are_not_taken_for_the_period() -> None:
    """A router that is new sends several: as it starts, when it hears us, before its first Join."""
    pace = after(0.0, 0.1, 2.0, 5.0, TRIGGERED - 0.1)
    assert pace.period == 30.0


def test_who_never_expires_need_send_none_unless_it_has() -> None:
    assert after(0.0, 30.0, 60.0, holdtime=inf).deadline == inf
    assert after(0.0, 30.0, 60.0, 90.0, holdtime=inf).deadline == 90.0 + LIMIT * 30.0


def test_another_holdtime_is_another_period() -> None:
    pace = after(0.0, 10.0, 20.0, 30.0)
    pace.received(35.0, 40.0)
    assert pace.period == 10.0
    pace.received(HOLDTIME, 50.0)
    assert pace.period == 30.0


def test_a_path_that_was_down_is_neither_a_gap_nor_overdue() -> None:
    pace = after(0.0, 10.0, 20.0, 30.0)
    assert pace.due(52.0)
    pace.resume(500.0)
    assert (pace.is_overdue, pace.deadline) == (False, 500.0 + LIMIT * 10.0)
    pace.received(HOLDTIME, 510.0)
    assert pace.period == 10.0


def test_a_flood_does_not_make_the_period_vanish() -> None:
    assert after(0.0, *(10.0 + n / 1000 for n in range(20))).period == 1.0


def test_a_period_close_to_the_holdtime_is_known_after_one_gap() -> None:
    """``ip pim hello 60 90``."""
    pace = HelloPace(90.0, 0.0)
    assert pace.due(60.0)
    pace.received(90.0, 60.0)
    assert (pace.period, pace.is_overdue) == (60.0, False)


def test_a_period_that_became_longer_is_followed_after_the_second_gap() -> None:
    pace = after(0.0, 10.0, 20.0, 30.0)
    for time in (60.0, 90.0):
        assert pace.due(time)
        pace.received(HOLDTIME, time)
    assert pace.period == 30.0


@given(
    st.floats(1.0, 300.0),
    st.floats(0.1, 0.99),
    st.lists(st.floats(0.01, 0.99), max_size=8),
)
def test_any_constant_period_below_the_holdtime_is_overdue_at_most_in_three_gaps(
    holdtime: float, part: float, before: list[float]
) -> None:
    """Whatever came before: ``before`` are gaps, as parts of the holdtime like the period."""
    pace, now = HelloPace(holdtime, 0.0), 0.0
    for n, gap in enumerate([*before, *[part] * 10]):
        now += gap * holdtime
        assert not pace.due(now) or n < len(before) + 3
        pace.received(holdtime, now)
        assert not pace.is_overdue


@given(st.lists(st.floats(1.0, 60.0), min_size=3, max_size=40))
def test_a_pace_that_varies_by_less_than_two_is_never_overdue(gaps: list[float]) -> None:
    longest = max(gaps)
    pace, now = HelloPace(3.5 * longest, 0.0), 0.0
    for gap in gaps:
        now += max(gap, longest / 2.1)
        assert not pace.due(now)
        pace.received(3.5 * longest, now)
