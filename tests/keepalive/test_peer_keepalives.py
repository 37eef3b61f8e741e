from hypothesis import given
from hypothesis import strategies as st

from mcastd.keepalive.peer_keepalives import FIRST_PERIOD, PeerKeepalives


def after(*times: float) -> PeerKeepalives:
    found = PeerKeepalives()
    for time in times:
        assert not found.due(time), "stopped between"
        found.received(time)
    return found


def test_the_first_begins_and_later_ones_do_not() -> None:
    found = PeerKeepalives()
    assert found.received(100.0)
    assert not found.received(110.0)
    assert (found.answered, found.last, found.stopped) == (2, 110.0, False)


def test_without_a_gap_a_ciscos_default_period_is_taken() -> None:
    assert after(100.0).next_deadline == 100.0 + 3 * FIRST_PERIOD + 1.0


def test_they_have_stopped_when_three_are_missing_and_that_is_said_once() -> None:
    found = after(100.0, 102.0, 104.0)
    assert not found.due(110.9)
    assert found.due(111.0)
    assert found.stopped
    assert not found.due(200.0)
    assert found.next_deadline is None


def test_two_that_come_close_together_are_not_taken_for_the_period() -> None:
    found = after(0.0, 10.0, 20.0, 39.5, 40.0)
    assert found.period >= 10.0
    assert not found.due(44.5)
    assert not found.due(60.0)


def test_a_period_that_became_shorter_is_followed_after_a_few() -> None:
    assert after(0.0, 10.0, 20.0, 22.0, 24.0, 26.0, 28.0).period == 2.0


def test_a_silence_is_no_gap() -> None:
    found = after(0.0, 2.0)
    assert found.due(10.0)
    assert found.received(500.0)
    assert not found.stopped
    assert found.period == 2.0


def test_before_there_has_been_a_gap_none_is_missing() -> None:
    """A period of a minute: the second comes long after three of ten seconds."""
    found = after(0.0)
    assert not found.due(31.0)
    assert (found.stopped, found.next_deadline) == (False, None)
    assert not found.received(60.0), "they have not begun again"
    assert (found.period, found.next_deadline) == (60.0, 60.0 + 3 * 60.0 + 1.0)


@given(st.lists(st.floats(1.0, 600.0), max_size=8), st.floats(1.0, 600.0))
def test_any_constant_period_is_no_alarm_any_more_after_two_of_it(before: list[float], period: float) -> None:
    found, now = PeerKeepalives(), 0.0
    found.received(now)
    for n, gap in enumerate([*before, *[period] * 10]):
        now += gap
        stopped = found.due(now)
        assert not stopped or n < len(before) + 2
        found.received(now)
        assert not found.stopped


def test_while_the_path_is_down_none_is_missing() -> None:
    found = after(0.0, 10.0)
    found.pause()
    assert not found.due(1000.0)
    found.resume(1000.0)
    found.resume(1005.0)
    assert found.next_deadline == 1031.0
    assert not found.received(1020.0)
    assert found.period == 10.0, "the time in which the path was down is taken for a gap"


def test_none_is_expected_that_had_stopped_before_or_never_came() -> None:
    found = after(0.0, 10.0)
    assert found.due(41.0)
    found.pause()
    found.resume(100.0)
    assert (found.stopped, found.next_deadline) == (True, None)
    never = PeerKeepalives()
    never.resume(100.0)
    assert never.next_deadline is None


def test_a_flood_does_not_make_it_nervous() -> None:
    found = after(*(n / 1000 for n in range(20)))
    assert found.next_deadline == 0.019 + 3.0 + 1.0


@given(st.lists(st.floats(1.0, 60.0), min_size=5, max_size=40))
def test_a_pace_that_varies_by_less_than_three_is_never_an_alarm(gaps: list[float]) -> None:
    largest = max(gaps)
    paced = [max(gap, largest / 2.9) for gap in gaps]
    found, now = PeerKeepalives(), largest
    found.received(0.0)
    for gap in paced:
        found.received(now)
        now += gap
        assert not found.due(now)
