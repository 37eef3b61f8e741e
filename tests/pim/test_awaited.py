"""The joined groups of which no packet has come yet."""

from ipaddress import IPv4Address
from itertools import pairwise
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from mcastd.pim.awaited import DURATION, PERIOD, SLICE, Awaited

GROUPS = [IPv4Address("239.1.1.0") + n for n in range(5)]


def run(awaited: Awaited, arrives_at: dict[IPv4Address, float]) -> list[tuple[float, IPv4Address]]:
    """What is joined again, and when, until nothing is due."""
    joined = []
    while (now := awaited.deadline) < inf:
        joined += [(now, group) for group in awaited.due(now, lambda group: now < arrives_at.get(group, inf))]
    return joined


def test_a_group_is_joined_every_three_seconds_of_its_first_minute() -> None:
    awaited = Awaited()
    awaited.add(GROUPS[:1], 100.0)
    assert run(awaited, {}) == [(100.0 + PERIOD * n, GROUPS[0]) for n in range(1, 20)]


def test_nothing_is_due_before_its_time_or_without_groups() -> None:
    awaited = Awaited()
    awaited.add([], 100.0)
    assert awaited.deadline == inf
    awaited.add(GROUPS[:1], 100.0)
    assert awaited.due(102.9, lambda _group: True) == []
    assert awaited.due(103.0, lambda _group: True) == GROUPS[:1]
    awaited.clear()
    assert awaited.deadline == inf
    assert awaited.due(200.0, lambda _group: True) == []


def test_what_has_arrived_is_not_asked_for_again() -> None:
    """So the cost is that of what is missing, however many are joined."""
    awaited, asked = Awaited(), []
    awaited.add(GROUPS, 0.0)

    def is_missing(group: IPv4Address) -> bool:
        asked.append(group)
        return group == GROUPS[0]

    assert awaited.due(3.0, is_missing) == GROUPS[:1]
    assert awaited.due(6.0, is_missing) == GROUPS[:1]
    assert awaited.due(9.0, is_missing) == GROUPS[:1]
    assert asked == [*GROUPS, *GROUPS, GROUPS[0]]


def test_many_are_looked_at_in_slices_and_each_is_joined_once_in_the_period() -> None:
    awaited, many = Awaited(), [IPv4Address("239.2.0.0") + n for n in range(10_000)]
    awaited.add(many, 0.0)
    joined: list[tuple[float, IPv4Address]] = []
    while (now := awaited.deadline) < 3 * PERIOD:
        found = awaited.due(now, lambda _group: True)
        assert len(found) <= SLICE
        joined += [(now, group) for group in found]
    assert [group for _, group in joined] == [*many, *many]
    first, second = joined[: len(many)], joined[len(many) :]
    assert all(later[0] - sooner[0] <= PERIOD + 1e-6 for sooner, later in zip(first, second, strict=True))


def test_a_packet_from_before_the_join_does_not_end_the_repetitions() -> None:
    """A neighbour restarted: its last packets came seconds ago, and it may act on no Join for a while."""
    awaited = Awaited()
    awaited.add(GROUPS[:1], 100.0)
    assert awaited.due(103.0, lambda _group: False) == []
    assert awaited.due(106.0, lambda _group: True) == GROUPS[:1]


def test_a_group_that_is_joined_again_is_awaited_for_another_minute() -> None:
    awaited = Awaited()
    awaited.add(GROUPS[:1], 0.0)
    awaited.add(GROUPS[:1], 50.0)
    assert run(awaited, {})[-1][0] > 50.0 + DURATION - PERIOD - 0.1


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.integers(0, 4), st.floats(0.0, 200.0)), min_size=1, max_size=30))
def test_every_missing_group_is_joined_within_the_period_and_no_other(
    history: list[tuple[float, int, float]],
) -> None:
    awaited = Awaited()
    arrives = {GROUPS[number]: at for _, number, at in history}
    joined_at: dict[IPv4Address, list[float]] = {}
    repeated: list[tuple[float, IPv4Address]] = []

    def advance(until: float) -> None:
        while (now := awaited.deadline) <= until and now < inf:
            repeated.extend((now, g) for g in awaited.due(now, lambda group: now < arrives[group]))

    for at, number, _ in sorted(history):
        advance(at)
        awaited.add([GROUPS[number]], at)
        joined_at.setdefault(GROUPS[number], []).append(at)
    advance(1000.0)
    assert awaited.deadline == inf
    for when, group in repeated:
        assert when < arrives[group]
        assert any(at <= when < at + DURATION for at in joined_at[group])
    for group, times in joined_at.items():
        first, last = times[0], min(arrives[group], times[0] + DURATION)
        moments = [first, *(when for when, of in repeated if of == group and first <= when <= last), last]
        assert all(later - sooner <= PERIOD + 1e-6 for sooner, later in pairwise(moments))
