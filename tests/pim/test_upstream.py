"""The upstream machines by themselves: what is sent, when, and what is counted (RFC 7761, section 4.5)."""

from ipaddress import IPv4Address
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mcastd.pim.effects import Entry
from mcastd.pim.packet import GroupSet, JoinPrune, SourceEntry, decode_join_prune, unseal
from mcastd.pim.settings import PimInterface
from mcastd.pim.upstream import MERGE_WINDOW, Entries, Update, Upstream
from tests.calls import calls
from tests.pim.machine import GROUP, NOW, OTHER, OTHER_RP, SOURCE, SSM_GROUP
from tests.simulator.world import RP, UPSTREAM, settings, with_pim

STAR = SourceEntry(RP, 7)
ONE = Entries(RP)
QUIET = with_pim(join_repeats=0)


def decoded(messages: list[bytes]) -> list[JoinPrune]:
    return [decode_join_prune(unseal(message)[1]) for message in messages]


def group_sets(messages: list[bytes]) -> list[GroupSet]:
    return [entry for message in decoded(messages) for entry in message.groups]


def made(own: PimInterface = QUIET, neighbor: IPv4Address | None = UPSTREAM) -> Upstream:
    found = Upstream(own)
    found.set_neighbor(neighbor, old_is_alive=False)
    return found


def pairs(*sources: IPv4Address) -> Entries:
    return Entries(sources=frozenset(sources))


def joined(own: PimInterface = QUIET, *groups: IPv4Address, now: float = NOW) -> Upstream:
    """Machines that have joined (*,G) of each group at ``now``."""
    found = made(own)
    for group in groups or (GROUP,):
        found.desire(group, ONE)
    found.flush(now)
    return found


# Changes


def test_at_first_nothing_is_joined_and_nothing_is_due() -> None:
    machines = Upstream(QUIET)
    assert (machines.joined, machines.has_changes, machines.next_deadline()) == (0, False, inf)


def test_a_join_is_sent_with_the_holdtime_and_counted() -> None:
    machines = made()
    machines.desire(GROUP, ONE)
    assert (machines.has_changes, machines.joined) == (True, 0)
    update = machines.flush(NOW)
    assert decoded(update.messages) == [JoinPrune(UPSTREAM, 210, (GroupSet(GROUP, (STAR,)),))]
    assert (update.joined, update.pruned) == ([Entry(GROUP, None, RP)], [])
    assert (machines.has_changes, machines.joined) == (False, 1)
    assert machines.flush(NOW) == Update([], [], [])


def test_the_holdtime_fits_into_16_bits_and_is_not_for_ever() -> None:
    assert decoded(made_one(with_pim(join_prune_period=18000.0)).messages)[0].holdtime == 63000
    assert decoded(made_one(with_pim(join_prune_period=18800.0)).messages)[0].holdtime == 0xFFFE


def made_one(own: PimInterface) -> Update:
    machines = made(own)
    machines.desire(GROUP, ONE)
    return machines.flush(NOW)


def test_nothing_is_sent_without_a_neighbor() -> None:
    machines = made(neighbor=None)
    machines.desire(GROUP, ONE)
    machines.schedule_flush(NOW)
    assert (machines.has_changes, machines.next_deadline()) == (False, inf)
    assert machines.flush(NOW) == Update([], [], [])
    assert machines.due(NOW + 100) == []
    assert machines.set_neighbor(OTHER, old_is_alive=False) == Update([], [], [])
    assert [message.upstream for message in decoded(machines.flush(NOW).messages)] == [OTHER]


def test_what_was_never_desired_leaves_no_trace() -> None:
    machines = made()
    machines.desire(GROUP, Entries())
    assert not machines.has_changes
    machines.desire(GROUP, ONE)
    machines.desire(GROUP, Entries())
    assert machines.flush(NOW) == Update([], [], [])
    assert machines.next_deadline() == inf
    assert machines.joined == 0


def test_a_leave_prunes_the_rp_that_was_joined() -> None:
    machines = joined()
    machines.desire(GROUP, Entries())
    assert machines.joined == 0
    update = machines.flush(NOW + 1)
    assert group_sets(update.messages) == [GroupSet(GROUP, (), (STAR,))]
    assert (update.joined, update.pruned) == ([], [Entry(GROUP, None, RP)])
    assert machines.since(GROUP, None) is None
    assert machines.due(NOW + 60) == []
    assert machines.next_deadline() == inf


def test_sources_change_by_their_difference_in_the_order_of_their_addresses() -> None:
    machines = made()
    machines.desire(SSM_GROUP, pairs(SOURCE + 3, SOURCE + 1, SOURCE + 2))
    update = machines.flush(NOW)
    assert update.joined == [Entry(SSM_GROUP, SOURCE + n) for n in (1, 2, 3)]
    assert machines.joined == 3
    machines.desire(SSM_GROUP, pairs(SOURCE + 9, SOURCE + 2, SOURCE + 8))
    assert machines.joined == 1
    update = machines.flush(NOW + 1)
    assert group_sets(update.messages) == [
        GroupSet(
            SSM_GROUP,
            (SourceEntry(SOURCE + 8), SourceEntry(SOURCE + 9)),
            (SourceEntry(SOURCE + 1), SourceEntry(SOURCE + 3)),
        )
    ]
    assert update.joined == [Entry(SSM_GROUP, SOURCE + 8), Entry(SSM_GROUP, SOURCE + 9)]
    assert update.pruned == [Entry(SSM_GROUP, SOURCE + 1), Entry(SSM_GROUP, SOURCE + 3)]
    assert machines.joined == 3
    refreshed = group_sets(machines.due(NOW + 60))
    assert refreshed == [GroupSet(SSM_GROUP, tuple(SourceEntry(SOURCE + n) for n in (2, 8, 9)))]


def test_a_new_rp_is_joined_with_all_exclusions_and_without_a_prune() -> None:
    machines = made()
    machines.desire(GROUP, Entries(RP, excluded=frozenset({SOURCE + 1, SOURCE})))
    first = group_sets(machines.flush(NOW).messages)
    assert first == [GroupSet(GROUP, (STAR,), (SourceEntry(SOURCE, 5), SourceEntry(SOURCE + 1, 5)))]
    machines.desire(GROUP, Entries(OTHER_RP, excluded=frozenset({SOURCE})))
    update = machines.flush(NOW + 1)
    assert group_sets(update.messages) == [GroupSet(GROUP, (SourceEntry(OTHER_RP, 7),), (SourceEntry(SOURCE, 5),))]
    assert (update.joined, update.pruned) == ([Entry(GROUP, None, OTHER_RP)], [])
    assert machines.joined == 1


def test_exclusions_change_by_their_difference() -> None:
    machines = made()
    machines.desire(GROUP, Entries(RP, excluded=frozenset({SOURCE, SOURCE + 1})))
    machines.flush(NOW)
    machines.desire(GROUP, Entries(RP, excluded=frozenset({SOURCE + 1, SOURCE + 2})))
    update = machines.flush(NOW + 1)
    assert group_sets(update.messages) == [GroupSet(GROUP, (SourceEntry(SOURCE, 5),), (SourceEntry(SOURCE + 2, 5),))]
    assert (update.joined, update.pruned) == ([], [])
    machines.desire(GROUP, Entries())
    assert group_sets(machines.flush(NOW + 2).messages) == [GroupSet(GROUP, (), (STAR,))]


def test_an_entry_is_joined_since_its_group_was_first_joined() -> None:
    machines = made()
    machines.desire(SSM_GROUP, pairs(SOURCE))
    machines.flush(NOW)
    machines.desire(SSM_GROUP, pairs(SOURCE, SOURCE + 1))
    machines.flush(NOW + 5)
    assert [machines.since(SSM_GROUP, SOURCE + n) for n in (0, 1, 2)] == [NOW, NOW, None]
    assert machines.since(SSM_GROUP, None) is None
    assert machines.since(GROUP, None) is None
    machines.desire(SSM_GROUP, Entries())
    machines.flush(NOW + 6)
    machines.desire(SSM_GROUP, pairs(SOURCE))
    machines.flush(NOW + 7)
    assert machines.since(SSM_GROUP, SOURCE) == NOW + 7


# When changes are sent


def test_a_change_is_sent_at_once_and_the_next_one_a_merge_window_later() -> None:
    machines = made()
    machines.schedule_flush(NOW)
    assert machines.next_deadline() == inf  # nothing has changed
    machines.desire(GROUP, ONE)
    machines.schedule_flush(NOW)
    assert machines.next_deadline() == NOW
    assert machines.is_flush_due(NOW)
    machines.flush(NOW)
    assert not machines.is_flush_due(NOW)
    machines.desire(GROUP + 1, ONE)
    machines.schedule_flush(NOW + 0.005)
    assert machines.next_deadline() == NOW + MERGE_WINDOW
    machines.schedule_flush(NOW + 0.015)  # another one does not move it
    assert machines.next_deadline() == NOW + MERGE_WINDOW
    assert not machines.is_flush_due(NOW + 0.019)
    assert machines.is_flush_due(NOW + MERGE_WINDOW)
    machines.flush(NOW + MERGE_WINDOW)
    machines.desire(GROUP + 2, ONE)
    machines.schedule_flush(NOW + 1)
    assert machines.next_deadline() == NOW + 1


def test_a_flush_that_sends_nothing_opens_no_merge_window() -> None:
    machines = made()
    machines.flush(NOW)
    machines.desire(GROUP, ONE)
    machines.schedule_flush(NOW + 0.001)
    assert machines.next_deadline() == NOW + 0.001


# Repetitions


def test_thousands_of_changes_are_sent_in_parts_without_a_pause() -> None:
    def most(groups: int) -> int:
        upstream = made()
        for number in range(groups):
            upstream.desire(GROUP + number, Entries(rp=RP))
        upstream.schedule_flush(NOW)
        count, updates = 0, list[Update]()
        while upstream.next_deadline() <= NOW:
            count = max(count, calls(lambda: updates.append(upstream.flush(NOW))))
        assert sum(len(update.joined) for update in updates) == upstream.joined == groups
        return count

    assert most(10_000) == most(1000)


def times(machines: Upstream, until: float) -> list[float]:
    """When Joins are sent, in seconds from NOW, and that each carries something."""
    found = []
    while (deadline := machines.next_deadline()) <= until:
        assert machines.due(deadline) != []
        found.append(round(deadline - NOW, 3))
    return found


@pytest.mark.parametrize(
    ("repeats", "expected"),
    [(0, []), (1, [0.4]), (3, [0.4, 1.2, 2.8]), (6, [0.4, 1.2, 2.8, 6.0, 12.4, 25.2])],
)
def test_a_new_join_is_repeated_each_time_after_twice_as_long(repeats: int, expected: list[float]) -> None:
    machines = joined(with_pim(join_repeats=repeats))
    assert times(machines, NOW + 59) == expected
    assert times(machines, NOW + 130) == [60.0, 120.0]


def test_nothing_is_due_before_its_time() -> None:
    machines = joined(settings())
    assert machines.due(NOW + 0.399) == []
    assert machines.next_deadline() == NOW + 0.4


def test_only_new_groups_are_repeated() -> None:
    machines = joined(settings())
    times(machines, NOW + 26)
    machines.desire(GROUP + 1, ONE)
    machines.flush(NOW + 30)
    assert [entry.group for entry in group_sets(machines.due(NOW + 30.4))] == [GROUP + 1]
    assert machines.next_join(GROUP + 1) == pytest.approx(NOW + 31.2)
    assert machines.next_join(GROUP) == NOW + 60


@pytest.mark.parametrize(("apart", "together"), [(0.05, True), (0.079, True), (0.081, False)])
def test_repetitions_within_a_fifth_of_the_interval_are_sent_together(apart: float, together: bool) -> None:
    machines = made(settings())
    for n in range(3):
        machines.desire(GROUP + n, ONE)
    machines.flush(NOW - 40)
    times(machines, NOW - 1)
    machines.desire(GROUP + 7, ONE)
    machines.flush(NOW)
    machines.desire(GROUP + 8, ONE)
    machines.flush(NOW + apart)
    found = [entry.group for entry in group_sets(machines.due(NOW + 0.4))]
    assert found == [GROUP + 7, GROUP + 8][: 1 + together]
    assert machines.next_deadline() == pytest.approx(NOW + (1.2 if together else 0.4 + apart))


def test_a_group_that_changes_begins_its_repetitions_again_and_one_that_is_left_ends_them() -> None:
    machines = made(settings())
    for n in range(3):
        machines.desire(SSM_GROUP + n, pairs(SOURCE))
    machines.flush(NOW)
    machines.desire(SSM_GROUP, pairs(SOURCE, SOURCE + 1))
    machines.desire(SSM_GROUP + 1, Entries())
    machines.flush(NOW + 0.3)
    assert [entry.group for entry in group_sets(machines.due(NOW + 0.4))] == [SSM_GROUP + 2]
    assert [entry.group for entry in group_sets(machines.due(NOW + 0.7))] == [SSM_GROUP]
    assert machines.next_join(SSM_GROUP) == pytest.approx(NOW + 1.5)


def test_a_prune_is_not_repeated_and_does_not_end_the_repetitions_of_the_group() -> None:
    machines = made(settings())
    machines.desire(SSM_GROUP, pairs(SOURCE, SOURCE + 1))
    machines.desire(GROUP, ONE)
    machines.flush(NOW)
    machines.desire(SSM_GROUP, pairs(SOURCE))
    machines.flush(NOW + 0.2)
    assert machines.next_deadline() == NOW + 0.4
    found = group_sets(machines.due(NOW + 0.4))
    assert GroupSet(SSM_GROUP, (SourceEntry(SOURCE),)) in found
    assert len(found) == 2


def test_a_repetition_of_groups_that_are_all_gone_sends_nothing_more() -> None:
    machines = joined(settings(), GROUP, GROUP + 1)
    times(machines, NOW + 26)
    machines.desire(GROUP + 2, ONE)
    machines.flush(NOW + 30)
    machines.desire(GROUP + 2, Entries())
    machines.flush(NOW + 30.1)
    assert machines.due(NOW + 30.4) == []
    assert machines.next_deadline() == NOW + 60


# The refresh


def test_a_refresh_uses_the_bytes_of_the_last_one_until_something_changes() -> None:
    machines = joined(QUIET, GROUP, GROUP + 1)
    first = machines.due(NOW + 60)
    assert [entry.group for entry in group_sets(first)] == [GROUP, GROUP + 1]
    assert machines.due(NOW + 120) is first
    machines.desire(GROUP + 1, Entries())
    machines.flush(NOW + 121)
    assert [entry.group for entry in group_sets(machines.due(NOW + 180))] == [GROUP]
    assert machines.next_deadline() == NOW + 240


def test_a_refresh_that_is_late_is_followed_by_the_next_a_period_later() -> None:
    machines = joined()
    assert machines.due(NOW + 59.9) == []
    assert len(machines.due(NOW + 70)) == 1
    assert machines.next_deadline() == NOW + 130


def test_the_refresh_begins_with_the_first_join_and_more_joins_do_not_move_it() -> None:
    machines = joined()
    machines.desire(GROUP + 1, ONE)
    machines.flush(NOW + 30)
    assert machines.next_deadline() == NOW + 60
    for group in (GROUP, GROUP + 1):
        machines.desire(group, Entries())
    machines.flush(NOW + 40)
    machines.due(NOW + 60)
    machines.desire(GROUP, ONE)
    machines.flush(NOW + 90)
    assert machines.next_deadline() == NOW + 150


def test_another_period_holds_from_the_next_refresh_on_and_is_in_the_messages() -> None:
    machines = joined()
    machines.due(NOW + 60)
    machines.reconfigure(with_pim(join_repeats=0, join_prune_period=10.0))
    assert machines.next_deadline() == NOW + 120
    assert decoded(machines.due(NOW + 120))[0].holdtime == 35
    assert machines.next_deadline() == NOW + 130


def test_another_mtu_divides_the_groups_in_another_way() -> None:
    machines = made()
    machines.desire(
        GROUP, Entries(RP, frozenset(SOURCE + n for n in range(100)), frozenset(SOURCE - n for n in (1, 2)))
    )
    (whole,) = machines.flush(NOW).messages
    assert machines.due(NOW + 60) == [whole]
    machines.reconfigure(replace(QUIET, mtu=600))
    parts = machines.due(NOW + 120)
    assert len(parts) == 2
    assert max(map(len, parts)) + 20 <= 600
    star = next(entry for entry in group_sets(parts) if STAR in entry.joined)
    assert star.pruned == (SourceEntry(SOURCE - 2, 5), SourceEntry(SOURCE - 1, 5))
    machines.reconfigure(QUIET)
    assert machines.due(NOW + 180) == [whole]


MTUS = st.sampled_from((100, 300, 500, 700))


@given(MTUS, MTUS, st.sampled_from((None, RP)), st.integers(0, 80), st.integers(0, 80))
def test_after_another_mtu_a_refresh_is_as_if_it_had_always_been_that_one(
    before: int, after: int, rp: IPv4Address | None, sources: int, excluded: int
) -> None:
    found: list[list[bytes]] = []
    for mtu in (before, after):
        machines = made(replace(QUIET, mtu=mtu))
        without = frozenset(SOURCE - 1 - n for n in range(excluded)) if rp else frozenset()
        machines.desire(GROUP, Entries(rp, frozenset(SOURCE + n for n in range(sources)), without))
        machines.desire(OTHER, Entries(RP))
        machines.flush(NOW)
        machines.reconfigure(replace(QUIET, mtu=after))
        found.append(machines.due(NOW + 60))
    assert found[0] == found[1]


def test_another_mtu_makes_no_messages_for_groups_that_fit_into_one_again() -> None:
    machines = joined(QUIET, *(GROUP + number for number in range(500)))
    assert calls(lambda: machines.reconfigure(replace(QUIET, mtu=1300))) < 3 * 500


def test_a_configuration_that_changes_nothing_here_keeps_the_bytes() -> None:
    machines = joined()
    first = machines.due(NOW + 60)
    machines.reconfigure(replace(QUIET, up=False))
    assert machines.due(NOW + 120) is first


# Another RPF', or one that has forgotten


def test_a_new_neighbor_gets_everything_and_the_old_one_prunes_if_it_lives() -> None:
    for lives in (True, False):
        machines = joined(settings(), GROUP)
        machines.desire(SSM_GROUP, pairs(SOURCE + 1, SOURCE))
        machines.flush(NOW + 1)
        update = machines.set_neighbor(OTHER, lives)
        if lives:
            assert [message.upstream for message in decoded(update.messages)] == [UPSTREAM]
            assert sorted(group_sets(update.messages), key=str) == [
                GroupSet(SSM_GROUP, (), (SourceEntry(SOURCE), SourceEntry(SOURCE + 1))),
                GroupSet(GROUP, (), (STAR,)),
            ]
            assert update.pruned == [
                Entry(GROUP, None, RP),
                Entry(SSM_GROUP, SOURCE),
                Entry(SSM_GROUP, SOURCE + 1),
            ]
        else:
            assert update == Update([], [], [])
        assert (machines.joined, machines.has_changes, machines.next_deadline()) == (0, True, inf)
        assert [message.upstream for message in decoded(machines.flush(NOW + 2).messages)] == [OTHER]
        assert machines.joined == 3
        assert machines.next_deadline() == pytest.approx(NOW + 2.4)


def test_what_is_left_while_the_neighbor_forgets_is_neither_joined_nor_pruned() -> None:
    machines = joined(QUIET, GROUP, GROUP + 1)
    machines.desire(GROUP, Entries())
    machines.forget()
    assert (machines.joined, machines.next_deadline()) == (0, inf)
    update = machines.flush(NOW + 1)
    assert group_sets(update.messages) == [GroupSet(GROUP + 1, (STAR,))]
    assert machines.joined == 1
    assert machines.since(GROUP + 1, None) == NOW + 1


def test_pruning_everything_leaves_what_is_desired() -> None:
    machines = joined(QUIET, GROUP)
    machines.desire(GROUP + 1, ONE)  # not sent yet: nothing to prune
    update = machines.prune_all()
    assert group_sets(update.messages) == [GroupSet(GROUP, (), (STAR,))]
    assert update.pruned == [Entry(GROUP, None, RP)]
    machines.schedule_flush(NOW)
    machines.stop()
    assert machines.next_deadline() == inf
    assert not machines.is_flush_due(NOW + 1000)


# Against a plain model


DESIRES = st.builds(
    Entries,
    st.sampled_from([None, RP, OTHER_RP]),
    st.frozensets(st.sampled_from([SOURCE, SOURCE + 1]), max_size=2),
)


@given(st.lists(st.tuples(st.integers(0, 2), DESIRES, st.booleans(), st.booleans()), max_size=20))
def test_what_is_counted_is_what_is_desired_and_advertised(
    script: list[tuple[int, Entries, bool, bool]],
) -> None:
    machines = made()
    desired: dict[IPv4Address, Entries] = {}
    for n, (number, entries, flushes, forgets) in enumerate(script):
        desired[GROUP + number] = entries
        machines.desire(GROUP + number, entries)
        if flushes:
            machines.flush(NOW + n)
        if forgets:
            machines.forget()
        advertised = [
            (group, source)
            for group, entries in desired.items()
            for source in ([None] if entries.rp is not None else []) + sorted(entries.sources)
            if machines.since(group, source) is not None
        ]
        assert machines.joined == len(advertised)
    machines.flush(NOW + 100)
    assert machines.joined == sum((one.rp is not None) + len(one.sources) for one in desired.values())


def test_a_prune_that_may_have_been_lost_with_the_path_is_sent_again_with_everything() -> None:
    machines = joined(QUIET, GROUP, GROUP + 1)
    machines.desire(GROUP, Entries())
    assert machines.flush(NOW + 1).pruned == [Entry(GROUP, None, RP)]
    machines.forget()
    update = machines.flush(NOW + 2)
    assert (update.joined, update.pruned) == ([Entry(GROUP + 1, None, RP)], [Entry(GROUP, None, RP)])
    assert (machines.joined, machines.since(GROUP, None)) == (1, None)
    machines.desire(GROUP + 2, ONE)
    machines.flush(NOW + 2 + 210)  # RPF' has forgotten the Join by now
    machines.forget()
    assert machines.flush(NOW + 300).pruned == []
    machines.desire(GROUP + 1, Entries())
    machines.flush(NOW + 301)
    machines.desire(GROUP + 1, ONE)
    machines.flush(NOW + 302)
    machines.forget()
    assert machines.flush(NOW + 303).pruned == [], "it is joined again"
    machines.desire(GROUP + 1, Entries())
    machines.flush(NOW + 304)
    machines.set_neighbor(OTHER, old_is_alive=False)
    assert machines.flush(NOW + 305).pruned == [], "another router has never heard of it"
