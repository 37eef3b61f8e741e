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


def read(child: Child, at: float) -> Child:
    """The counters are read, and nothing was decrypted since the last time."""
    child.counted(child._packets or 0, at)
    return child


def test_before_the_first_packet_nothing_is_said() -> None:
    assert read(decrypting(), 1000.0).arrival() == ChildArrival()
    assert not read(decrypting(), 1000.0).is_silent(is_expected=True)


@pytest.mark.parametrize(
    ("age", "expected"),
    [(2.9, (True, False, True)), (3.0, (True, True, True)), (39.9, (True, True, True)), (40.0, (True, True, False))],
)
def test_a_packet_makes_it_seen_quiet_and_receiving(age: float, expected: tuple[bool, bool, bool]) -> None:
    assert read(decrypting(200.0), 200.0 + age).arrival() == ChildArrival(*expected)


def test_what_was_counted_before_it_came_up_again_is_not_seen() -> None:
    child = decrypting(200.0)
    child.configure(2)
    child.counted(5, 201.0)
    assert not child.arrival().seen
    child.counted(6, 202.0)
    assert child.arrival().seen


def test_it_is_silent_after_more_than_the_gaps_that_it_had() -> None:
    child = decrypting(200.0, 200.5)
    assert not read(child, 240.0).is_silent(is_expected=True)
    assert read(child, 240.5).is_silent(is_expected=True)
    child = decrypting(200.0, 260.0, 320.0, 380.0)
    assert not read(child, 380.0 + 131.0).is_silent(is_expected=True)
    assert read(child, 380.0 + 132.0).is_silent(is_expected=True)


def test_an_outage_is_no_pace() -> None:
    child = decrypting(200.0, 230.0, 260.0, 860.0)
    assert not read(child, 860.0 + 145.0).is_silent(is_expected=True)
    assert read(child, 860.0 + 146.0).is_silent(is_expected=True)


def test_only_the_last_three_gaps_count() -> None:
    child = decrypting(200.0, 500.0, 510.0, 520.0, 530.0)
    assert read(child, 570.0).is_silent(is_expected=True)


def test_while_no_streams_are_expected_something_must_have_gone_on_without_them() -> None:
    assert not read(decrypting(200.0, 200.5), 1000.0).is_silent(is_expected=False)
    assert read(decrypting(200.0, 210.0), 250.0).is_silent(is_expected=False)


def test_one_that_is_down_is_not_silent() -> None:
    child = decrypting(200.0)
    child.configure(0)
    assert not read(child, 1000.0).is_silent(is_expected=True)


def test_while_the_counters_cannot_be_read_it_stays_as_it_was() -> None:
    child = read(decrypting(200.0), 201.0)
    for _ in range(2):
        assert child.arrival() == ChildArrival(seen=True, quiet=False, receiving=True)
        assert not child.is_silent(is_expected=True)
    assert read(child, 241.0).is_silent(is_expected=True)
    child.forget()
    assert child.arrival() == ChildArrival()


def test_it_is_receiving_as_long_as_its_own_gaps_allow() -> None:
    hellos = decrypting(200.0, 230.0, 260.0)
    assert read(hellos, 260.0 + 65.0).arrival().receiving
    assert not read(hellos, 260.0 + 66.0).arrival().receiving
