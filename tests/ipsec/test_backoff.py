from random import Random

from hypothesis import given
from hypothesis import strategies as st

from mcastd.ipsec.backoff import IGNORED, LONGEST_IGNORED, STABLE, Backoff


def test_first_try_is_due_at_once_and_failures_are_tried_ever_more_rarely() -> None:
    backoff, now, waits = Backoff(1.0, 60.0, Random(1)), 100.0, []
    assert backoff.next_try <= now
    for _ in range(10):
        backoff.failed(now)
        waits.append(backoff.next_try - now)
        now = backoff.next_try
    assert waits[0] == 1.0
    assert all(1.0 <= wait <= 60.0 for wait in waits)
    assert all(later > earlier for earlier, later in zip(waits[:6:2], waits[2:8:2], strict=True))
    assert waits[-1] >= 30.0


def test_a_lost_child_is_tried_again_at_once_but_not_twice_in_a_row() -> None:
    backoff = Backoff(1.0, 60.0, Random(1))
    backoff.up(10.0)
    backoff.lost(10.5)
    assert backoff.next_try == 10.5
    backoff.up(11.0)
    backoff.lost(11.5)
    assert backoff.next_try >= 12.5


def test_being_up_for_long_forgets_the_past() -> None:
    backoff = Backoff(1.0, 60.0, Random(1))
    for now in range(5):
        backoff.failed(float(now))
    backoff.up(100.0)
    backoff.lost(100.0 + STABLE)
    assert backoff.next_try == 100.0 + STABLE


def test_what_is_ignored_on_one_ike_sa_after_the_other_is_tried_ever_more_rarely() -> None:
    backoff, now, waits = Backoff(1.0, 10.0, Random(1)), 0.0, []
    for _ in range(10):
        backoff.ignored(now)
        backoff.new_ike_sa(now + 0.5)
        waits.append(backoff.next_try - now)
        now = backoff.next_try
    assert waits == [0.5, *(min(LONGEST_IGNORED, IGNORED * 2.0**n) for n in range(9))]
    backoff.peer_is_silent()
    backoff.new_ike_sa(now)
    assert backoff.next_try == now
    backoff.ignored(now)
    assert backoff.next_try == now + 1.0


def test_jitter_comes_from_the_given_source_of_chance() -> None:
    delays = set()
    for seed in range(20):
        backoff = Backoff(1.0, 60.0, Random(seed))
        for _ in range(5):
            backoff.failed(0.0)
        delays.add(backoff.next_try)
    assert len(delays) == 20


@given(
    st.floats(0.01, 10),
    st.floats(0.01, 1000),
    st.integers(),
    st.lists(st.sampled_from(["failed", "lost", "up", "reset"]), max_size=100),
)
def test_the_wait_stays_within_the_bounds(minimum: float, maximum: float, seed: int, inputs: list[str]) -> None:
    backoff, now = Backoff(minimum, maximum, Random(seed)), 0.0
    for name in inputs:
        getattr(backoff, name)(now)
        assert backoff.next_try - now <= max(minimum, maximum) * 1.000001
        if name == "failed":
            assert backoff.next_try - now >= minimum * 0.999999
        now = max(now, backoff.next_try)
