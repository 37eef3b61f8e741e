"""What a host drops of a stream, from what arrived and what was passed on."""

from hypothesis import given
from hypothesis import strategies as st

from mcastd.streams.acceptance import Acceptance, Reading


def read(acceptance: Acceptance, *readings: tuple[int, int]) -> int:
    """The stream pauses at each reading."""
    for arrived, packets in readings:
        acceptance.counted(Reading(arrived, packets, arrived))
    return acceptance.dropped


def begun(arrived: int, packets: int) -> Acceptance:
    return Acceptance(Reading(arrived, packets, arrived))


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 100)), min_size=1))
def test_what_is_missing_while_there_is_a_receiver_is_dropped(steps: list[tuple[int, int]]) -> None:
    acceptance, arrived, packets, lost = begun(1000, 0), 1000, 0, 0
    arrived, packets = arrived + 500, packets + 200  # a socket joined meanwhile
    read(acceptance, (arrived, packets))
    for more, dropped in steps:
        arrived, packets, lost = arrived + more + dropped, packets + more, lost + dropped
        read(acceptance, (arrived, packets))
    assert read(acceptance, (arrived + 1, packets + 1)) == lost


@given(st.lists(st.tuples(*[st.integers(0, 300)] * 4), min_size=5), st.integers(1, 4))
def test_packets_that_come_while_the_sets_are_read_are_never_losses(
    steps: list[tuple[int, int, int, int]], every: int
) -> None:
    acceptance, arrived, lost = begun(0, 0), 0, 0
    for n, (before, between, after, dropped) in enumerate(steps):
        lost += dropped if n % every == 0 else 0
        first = arrived = arrived + before + 1 + (dropped if n % every == 0 else 0)
        packets = first + between - lost
        arrived += between + after
        acceptance.counted(Reading(first, packets, arrived))
        assert acceptance.dropped <= lost


def test_before_a_socket_joins_and_after_it_left_nothing_is_dropped() -> None:
    acceptance = begun(1000, 0)
    assert read(acceptance, (2000, 0), (3000, 500), (4000, 1490), (5000, 2490)) == 10
    assert read(acceptance, (6000, 2600), (7000, 2600), (8000, 2600)) == 10, "it left"
    assert read(acceptance, (9000, 3000), (10_000, 4000), (11_000, 4995), (12_000, 5995)) == 15, "it joined again"


def test_what_arrives_since_the_last_one_that_was_passed_on_is_withheld() -> None:
    acceptance = begun(1000, 1000)
    for reading, withheld in (((1009, 1000), 0), ((1300, 1000), 300), ((2000, 1001), 0), ((2500, 1001), 500)):
        read(acceptance, reading)
        assert acceptance.withheld == withheld
    read(acceptance, (5, 5))
    assert acceptance.withheld == 0


def test_a_slow_stream_may_lose_some_in_a_row() -> None:
    assert read(begun(1, 1), (2, 2), (3, 3), (4, 3), (5, 3), (6, 4), (7, 5)) == 2


def test_counted_from_0_again_it_has_dropped_nothing() -> None:
    acceptance = begun(100, 100)
    assert read(acceptance, (200, 200), (300, 290), (400, 390)) == 10
    assert read(acceptance, (5, 5), (10, 10), (15, 15)) == 0
