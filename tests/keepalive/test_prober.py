"""Our own keepalives in simulated time."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcastd.errors import DecodeError
from mcastd.keepalive.prober import LONGEST_PAUSE, PAUSE, Effect, PathChanged, Prober, Reestablish, SendRequest

DEAD, ALIVE = PathChanged("dead", 3), PathChanged("alive", 0)


class Bench:
    """A prober, and a clock that is set by hand."""

    def __init__(self, period: float = 10.0, retries: int = 3) -> None:
        self.now = 1000.0
        self.prober = Prober(period, retries)
        self.prober.start(self.now)

    def periods(self, count: int) -> list[list[Effect]]:
        """What is done at each of the next deadlines."""
        found = []
        for _ in range(count):
            assert self.prober.next_deadline is not None
            self.now = max(self.now, self.prober.next_deadline)
            found.append(self.prober.due(self.now))
        return found

    def state(self) -> tuple[float | None, str | None]:
        """The deadline and the path."""
        return self.prober.next_deadline, self.prober.path

    def answer(self, after: float = 0.0) -> list[Effect]:
        self.now += after
        return self.prober.answered(self.now)


def test_it_asks_at_once_and_then_every_period() -> None:
    bench = Bench()
    assert bench.prober.next_deadline == 1000.0
    for turn in range(5):
        assert bench.prober.due(bench.now - 0.001) == []
        assert bench.periods(1)[0][-1] == SendRequest()
        assert bench.now == 1000.0 + 10.0 * turn
        bench.answer()


def test_the_first_answer_makes_the_path_alive_and_tells_the_round_trip() -> None:
    bench = Bench()
    bench.periods(1)
    assert bench.state()[1] is None
    assert bench.answer(after=0.0125) == [ALIVE]
    assert bench.prober.path == "alive"
    assert bench.prober.rtt == pytest.approx(0.0125)
    bench.periods(1)
    assert bench.answer(after=0.5) == []
    assert (bench.prober.sent, bench.prober.received) == (2, 2)
    assert bench.prober.rtt == pytest.approx(0.5)


@pytest.mark.parametrize("retries", [1, 3, 254])
def test_the_path_is_dead_after_so_many_without_an_answer(retries: int) -> None:
    bench = Bench(retries=retries)
    bench.periods(1)
    bench.answer()
    assert bench.periods(retries) == [[SendRequest()]] * retries
    assert bench.prober.path == "alive"
    assert bench.periods(1) == [[PathChanged("dead", retries), Reestablish(), SendRequest()]]
    assert (bench.prober.path, bench.prober.missed) == ("dead", retries)


def test_one_that_was_never_alive_dies_alike() -> None:
    first = [[SendRequest()]] * 3
    assert Bench().periods(4) == [*first, [DEAD, Reestablish(), SendRequest()]]


def test_an_answer_forgives_those_missed_before() -> None:
    bench = Bench()
    for _ in range(20):
        assert bench.periods(3) == [[SendRequest()]] * 3
        bench.answer()
        assert bench.prober.missed == 0


def test_the_first_answer_brings_a_dead_path_back() -> None:
    bench = Bench()
    bench.periods(6)
    assert bench.answer() == [ALIVE]
    assert (bench.prober.path, bench.prober.missed) == ("alive", 0)


def test_a_round_trip_is_not_told_where_the_answer_may_be_to_an_earlier_request() -> None:
    bench = Bench()
    bench.periods(2)
    bench.answer(after=0.001)
    assert bench.prober.rtt is None


def test_an_answer_that_nobody_asked_for_changes_nothing() -> None:
    bench = Bench()
    with pytest.raises(DecodeError, match="unasked"):
        bench.answer()
    bench.periods(1)
    bench.answer()
    with pytest.raises(DecodeError, match="unasked"):
        bench.answer()
    assert (bench.prober.received, bench.prober.path) == (1, "alive")


def test_an_answer_that_is_late_is_one_all_the_same() -> None:
    bench = Bench()
    bench.periods(2)
    bench.answer()
    bench.answer()
    assert (bench.prober.received, bench.prober.missed) == (2, 0)
    bench.prober.stop()
    bench.prober.start(bench.now)
    bench.periods(1)
    bench.prober.stop()
    with pytest.raises(DecodeError, match="unasked"):
        bench.answer()
    assert bench.prober.path is None


def test_while_the_child_is_down_nothing_is_asked_and_only_a_dead_path_is_remembered() -> None:
    bench = Bench()
    bench.periods(1)
    bench.answer()
    bench.prober.stop()
    assert (bench.prober.path, bench.prober.next_deadline, bench.prober.due(bench.now + 1e6)) == (None, None, [])
    bench.prober.start(bench.now)
    bench.periods(4)
    bench.prober.stop()
    assert bench.prober.path == "dead"
    bench.prober.start(bench.now)
    assert bench.periods(1) == [[SendRequest()]]
    assert bench.answer() == [ALIVE]


def reinitiations(bench: Bench, seconds: float) -> list[float]:
    """When it reinitiates in so many seconds in which a new child comes up each time at once, to no avail."""
    end, found = bench.now + seconds, []
    while bench.now < end:
        if Reestablish() in bench.periods(1)[0]:
            found.append(bench.now)
            bench.prober.stop()
            bench.prober.start(bench.now)
    return found


def test_what_no_new_child_cures_is_tried_ever_more_rarely() -> None:
    times = reinitiations(Bench(), 100_000.0)
    assert times[0] == 1030.0
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[:4] == [PAUSE, 2 * PAUSE, 4 * PAUSE, 8 * PAUSE]
    assert gaps[-1] == LONGEST_PAUSE
    assert gaps == sorted(gaps)


def test_a_path_that_was_alive_for_long_is_tried_at_once_again() -> None:
    bench = Bench()
    reinitiations(bench, 3000.0)
    for _ in range(1000):
        bench.periods(1)
        bench.answer()
    died = bench.now
    assert reinitiations(bench, 100.0) == [died + 40.0, died + 40.0 + PAUSE]


def test_a_path_that_comes_back_for_a_moment_does_not_make_it_flap() -> None:
    bench = Bench(period=0.1)
    count = 0
    for _ in range(100):
        count += len(reinitiations(bench, 1.0))
        bench.periods(1)
        bench.answer()
    assert count == 2  # in 100 s: at once, and after PAUSE


def test_another_period_holds_from_now_on() -> None:
    bench = Bench()
    bench.periods(1)
    bench.answer()
    bench.prober.configure(1.0, 5, bench.now)
    assert bench.state() == (bench.now + 1.0, "alive")
    bench.prober.configure(60.0, 5, bench.now)
    assert bench.state() == (bench.now + 1.0, "alive")
    bench.prober.configure(0.0, 5, bench.now)
    bench.prober.start(bench.now)
    assert bench.state() == (None, None)
    bench.prober.configure(2.0, 5, bench.now)
    bench.prober.start(bench.now)
    assert bench.state() == (bench.now, None)


def test_a_clock_that_was_away_asks_once_and_not_for_what_it_slept_through() -> None:
    bench = Bench()
    bench.periods(1)
    bench.now += 1000.0
    assert bench.prober.due(bench.now) == [SendRequest()]
    assert bench.prober.next_deadline == bench.now + 10.0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.floats(0.0, 30.0)),
        st.tuples(st.sampled_from(("answer", "stop", "start")), st.just(0.0)),
    ),
    max_size=200,
)


@settings(deadline=None)
@given(STEPS, st.floats(0.1, 20.0), st.integers(1, 5))
def test_whatever_happens(steps: list[tuple[str, float]], period: float, retries: int) -> None:
    """Against a record of what was sent and answered: dead only after enough silence, alive only by an answer."""
    prober, now = Prober(period, retries), 1000.0
    unanswered, running = 0, False
    for step, seconds in steps:
        before = prober.path
        if step == "pass":
            now += seconds
            effects = prober.due(now)
            assert effects.count(SendRequest()) == (1 if effects else 0)
            if any(isinstance(effect, PathChanged) for effect in effects):
                assert unanswered >= retries
                assert prober.path == "dead" != before
            assert Reestablish() not in effects or prober.path == "dead"
            unanswered += effects.count(SendRequest())
        elif step == "answer":
            try:
                effects = prober.answered(now)
            except DecodeError:
                assert not running or prober.received == prober.sent
            else:
                assert running
                assert prober.path == "alive"
                assert effects == ([] if before == "alive" else [ALIVE])
                unanswered = 0
        elif step == "start":
            prober.start(now)
            running = True
        else:
            prober.stop()
            unanswered, running = 0, False
            assert prober.path in (None, "dead")
        assert running == (prober.next_deadline is not None)
        assert 0 <= prober.missed <= max(0, unanswered - 1)
        assert prober.received <= prober.sent
