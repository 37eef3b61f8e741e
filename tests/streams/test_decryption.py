"""One CHILD_SA: what it decrypts, and when its silence is a problem."""

import pytest

from mcastd.streams.decryption import Child
from mcastd.streams.desired import ChildArrival


def decrypting(*seconds: float) -> Child:
    """A CHILD_SA that came up at 100 and has decrypted a packet at each of these times."""
    child = Child()
    child.configure(1)
    child.counted(0, 100.0)
    for packets, second in enumerate(seconds, 1):
        child.counted(packets, second)
    return child


def test_before_the_first_packet_nothing_is_said() -> None:
    assert decrypting().arrival(1000.0) == ChildArrival()
    assert not decrypting().is_silent(1000.0, is_expected=True)


@pytest.mark.parametrize(
    ("age", "expected"),
    [(2.9, (True, False, True)), (3.0, (True, True, True)), (29.9, (True, True, True)), (30.0, (True, True, False))],
)
def test_a_packet_makes_it_seen_quiet_and_receiving(age: float, expected: tuple[bool, bool, bool]) -> None:
    assert decrypting(200.0).arrival(200.0 + age) == ChildArrival(*expected)


def test_what_was_counted_before_it_came_up_again_is_not_seen() -> None:
    child = decrypting(200.0)
    child.configure(2)
    child.counted(5, 201.0)
    assert not child.arrival(201.0).seen
    child.counted(6, 202.0)
    assert child.arrival(202.0).seen


def test_it_is_silent_after_more_than_the_gaps_that_it_had() -> None:
    child = decrypting(200.0, 200.5)
    assert not child.is_silent(240.0, is_expected=True)
    assert child.is_silent(240.5, is_expected=True)
    child = decrypting(200.0, 260.0, 320.0, 380.0)
    assert not child.is_silent(380.0 + 131.0, is_expected=True)
    assert child.is_silent(380.0 + 132.0, is_expected=True)


def test_only_the_last_three_gaps_count() -> None:
    child = decrypting(200.0, 500.0, 510.0, 520.0, 530.0)
    assert child.is_silent(570.0, is_expected=True)


def test_while_no_streams_are_expected_something_must_have_gone_on_without_them() -> None:
    assert not decrypting(200.0, 200.5).is_silent(1000.0, is_expected=False)
    assert decrypting(200.0, 210.0).is_silent(250.0, is_expected=False)


def test_one_that_is_down_is_not_silent() -> None:
    child = decrypting(200.0)
    child.configure(0)
    assert not child.is_silent(1000.0, is_expected=True)
