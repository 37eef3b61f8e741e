"""RPF' and Asserts on a link with two routers: whom the machine tells what, and when."""

from ipaddress import IPv4Address

import pytest

from mcastd.pim.asserts import ASSERT_TIME, INFINITE, MAX_ASSERTS
from mcastd.pim.effects import AssertWinnerChanged, Effect, Joined, Pruned
from mcastd.pim.messages import Assert, encode_assert
from mcastd.pim.packet import ALL_PIM_ROUTERS, GroupSet, JoinPrune, SourceEntry, encode_join_prune
from mcastd.pim.report import group_statuses
from mcastd.pim.router import Router
from tests.pim.machine import GROUP, NOW, OTHER, SOURCE, SSM_GROUP, dropped, hello, join_prunes, started
from tests.simulator.world import LEAF, NAME, RP, UPSTREAM, with_pim

STAR = SourceEntry(RP, 7)
THIRD = IPv4Address("10.44.4.8")
NOBODY = IPv4Address(0)
OVERRIDE = 2.5


def told(effects: list[Effect]) -> list[tuple[IPv4Address, GroupSet]]:
    return [(message.upstream, entry) for message in join_prunes(effects) for entry in message.groups]


def between(router: Router, now: float, later: float) -> list[Effect]:
    effects: list[Effect] = []
    while (deadline := router.next_deadline()) is not None and deadline <= later:
        effects += router.advance(max(now, deadline))
    return effects


def quiet(*groups: IPv4Address, neighbor: IPv4Address | None = UPSTREAM) -> Router:
    """A leaf whose neighbours are UPSTREAM, its RPF', and OTHER; it is NOW + 20, and everything is joined."""
    router = started(with_pim(join_repeats=0, neighbor=neighbor, dr_priority=1), *groups)
    for source, priority in ((OTHER, 1), (UPSTREAM, 9)):
        hello(router, source, NOW, dr_priority=priority, holdtime=0xFFFF)
    between(router, NOW, NOW + 20)
    return router


def contend(
    router: Router, sender: IPv4Address, now: float, source: IPv4Address = NOBODY, metric: tuple[int, int] = (100, 10)
) -> list[Effect]:
    """An Assert of (*,G), or of (S,G) with a source."""
    group = SSM_GROUP if source == SOURCE else GROUP
    data = encode_assert(Assert(group, source, source == NOBODY, *metric))
    return router.received(NAME, sender, ALL_PIM_ROUTERS, data, now)


@pytest.mark.parametrize("neighbor", [UPSTREAM, None])
def test_the_winner_of_a_star_is_joined_within_t_override_and_the_loser_is_not_pruned(
    neighbor: IPv4Address | None,
) -> None:
    router = quiet(GROUP, neighbor=neighbor)
    now = NOW + 20
    effects = contend(router, OTHER, now)
    assert AssertWinnerChanged(NAME, GROUP, None, OTHER) in effects
    assert join_prunes(effects) == []
    effects = between(router, now, now + OVERRIDE)
    assert told(effects) == [(OTHER, GroupSet(GROUP, (STAR,)))]
    assert [type(effect) for effect in effects if isinstance(effect, Joined | Pruned)] == [Joined]
    (status,) = group_statuses(router, now + 3)
    assert (status.state, status.upstream, status.assert_winner) == ("joined", str(OTHER), True)
    later = told(between(router, now, now + 150))
    assert set(later) == {(OTHER, GroupSet(GROUP, (STAR,)))}
    assert len(later) == 2


def test_the_joins_go_back_when_the_assert_times_out() -> None:
    router = quiet(GROUP)
    now = NOW + 20
    contend(router, OTHER, now)
    between(router, now, now + ASSERT_TIME - 0.1)
    effects = between(router, now, now + ASSERT_TIME + OVERRIDE)
    assert AssertWinnerChanged(NAME, GROUP, None, None) in effects
    assert (UPSTREAM, GroupSet(GROUP, (STAR,))) in told(effects)
    after = told(between(router, now, now + ASSERT_TIME + 130))
    assert {upstream for upstream, _ in after} == {UPSTREAM}
    assert group_statuses(router, now + 300)[0].assert_winner is False


def goodbye(router: Router, now: float) -> list[Effect]:
    return hello(router, OTHER, now, holdtime=0)


def restart(router: Router, now: float) -> list[Effect]:
    return hello(router, OTHER, now, generation_id=2, dr_priority=1)


def cancel(router: Router, now: float) -> list[Effect]:
    return contend(router, OTHER, now, metric=INFINITE)


def fall_silent(router: Router, now: float) -> list[Effect]:
    hello(router, OTHER, now - 1, holdtime=1, dr_priority=1)
    return router.advance(now)


@pytest.mark.parametrize("end", [goodbye, restart, cancel, fall_silent])
def test_the_joins_go_back_when_the_winner_is_gone_or_gives_up(end: object) -> None:
    router = quiet(GROUP)
    now = NOW + 20
    contend(router, OTHER, now)
    between(router, now, now + 10)
    assert callable(end)
    effects = end(router, now + 11) + between(router, now + 11, now + 11 + OVERRIDE)
    assert AssertWinnerChanged(NAME, GROUP, None, None) in effects
    assert told(effects) == [(UPSTREAM, GroupSet(GROUP, (STAR,)))]


def test_a_source_moves_alone() -> None:
    router = quiet(GROUP)
    now = NOW + 20
    for n in range(3):
        router.join(SSM_GROUP, SOURCE + n, NAME, "test", now + n / 100)
    between(router, now, now + 1)
    contend(router, OTHER, now + 1, SOURCE)
    effects = between(router, now + 1, now + 1 + OVERRIDE)
    assert told(effects) == [(OTHER, GroupSet(SSM_GROUP, (SourceEntry(SOURCE),)))]
    refreshed = told(between(router, now + 4, now + 64))
    pairs = tuple(SourceEntry(SOURCE + n) for n in (1, 2))
    assert sorted(refreshed, key=str) == [
        (UPSTREAM, GroupSet(SSM_GROUP, pairs)),
        (UPSTREAM, GroupSet(GROUP, (STAR,))),
        (OTHER, GroupSet(SSM_GROUP, (SourceEntry(SOURCE),))),
    ]
    left = router.leave(SSM_GROUP, SOURCE, NAME, "test", now + 65) + between(router, now + 65, now + 66)
    assert told(left) == [(OTHER, GroupSet(SSM_GROUP, (), (SourceEntry(SOURCE),)))]


def test_a_source_whose_assert_another_router_won_is_pruned_off_the_shared_tree() -> None:
    router = quiet(GROUP)
    now, other_source = NOW + 20, IPv4Address("10.9.0.77")
    contend(router, OTHER, now, other_source)
    pruned = SourceEntry(other_source, 5)
    assert told(between(router, now, now + OVERRIDE)) == [(UPSTREAM, GroupSet(GROUP, (), (pruned,)))]
    assert told(between(router, now + 3, now + 60)) == [(UPSTREAM, GroupSet(GROUP, (STAR,), (pruned,)))]
    data = encode_assert(Assert(GROUP, other_source, True, *INFINITE))
    router.received(NAME, OTHER, ALL_PIM_ROUTERS, data, now + 61)
    assert told(between(router, now + 61, now + 61 + OVERRIDE)) == [(UPSTREAM, GroupSet(GROUP, (pruned,)))]


def test_an_assert_that_rpf_wins_changes_nothing_but_keeps_worse_ones_out() -> None:
    router = quiet(GROUP)
    now = NOW + 20
    contend(router, UPSTREAM, now, metric=(100, 10))
    contend(router, OTHER, now + 0.1, metric=(100, 20))
    assert {upstream for upstream, _ in told(between(router, now, now + 100))} == {UPSTREAM}
    assert dropped(router) == {"assert_not_followed": 1}


def test_a_third_router_wins_from_the_second() -> None:
    router = quiet(GROUP)
    now = NOW + 20
    hello(router, THIRD, now, holdtime=0xFFFF, dr_priority=1)
    contend(router, OTHER, now)
    between(router, now, now + 5)
    contend(router, THIRD, now + 5, metric=(90, 1))
    assert told(between(router, now + 5, now + 8)) == [(THIRD, GroupSet(GROUP, (STAR,)))]


def test_leaving_a_group_ends_its_assert_and_prunes_at_the_winner() -> None:
    router = quiet(GROUP)
    now = NOW + 20
    router.join(GROUP, None, NAME, "test", now)
    router.leave(GROUP, None, NAME, "file", now)
    contend(router, OTHER, now)
    between(router, now, now + 5)
    effects = router.leave(GROUP, None, NAME, "test", now + 6) + between(router, now + 6, now + 7)
    assert told(effects) == [(OTHER, GroupSet(GROUP, (), (STAR,)))]
    again = router.join(GROUP, None, NAME, "test", now + 8)
    assert told(again) == [(UPSTREAM, GroupSet(GROUP, (STAR,)))]


def test_a_prune_of_another_leaf_at_the_winner_is_overridden() -> None:
    router = quiet(GROUP)
    now = NOW + 20
    hello(router, THIRD, now, holdtime=0xFFFF, dr_priority=1)
    contend(router, OTHER, now)
    between(router, now, now + 5)
    data = encode_join_prune(JoinPrune(OTHER, 210, (GroupSet(GROUP, (), (STAR,)),)))
    router.received(NAME, THIRD, ALL_PIM_ROUTERS, data, now + 6)
    assert told(between(router, now + 6, now + 6 + OVERRIDE)) == [(OTHER, GroupSet(GROUP, (STAR,)))]


def test_when_rpf_changes_to_the_winner_and_away_again_nothing_is_pruned_that_an_assert_decides() -> None:
    router = quiet(GROUP)
    now = NOW + 20
    contend(router, OTHER, now)
    between(router, now, now + 5)
    for neighbor, at in ((OTHER, 6), (UPSTREAM, 10)):
        router.interfaces[NAME].reconfigure(with_pim(join_repeats=0, neighbor=neighbor), now + at)
        effects = between(router, now + at, now + at + 3)
        assert all(not entry.pruned for _, entry in told(effects))
    assert group_statuses(router, now + 14)[0].upstream == str(OTHER)


def test_going_down_prunes_everywhere() -> None:
    router = quiet(GROUP, GROUP + 1)
    now = NOW + 20
    contend(router, OTHER, now)
    between(router, now, now + 5)
    assert sorted(told(router.close(now + 6)), key=str) == [
        (UPSTREAM, GroupSet(GROUP + 1, (), (STAR,))),
        (OTHER, GroupSet(GROUP, (), (STAR,))),
    ]


def test_asserts_of_strangers_of_what_nobody_wants_and_by_unicast_are_counted() -> None:
    router = quiet(GROUP)
    now = NOW + 20
    contend(router, IPv4Address("10.44.4.99"), now)
    contend(router, OTHER, now, SOURCE)
    router.received(NAME, OTHER, LEAF, encode_assert(Assert(GROUP, NOBODY, True, 1, 1)), now)
    assert dropped(router) == {"not_a_neighbor": 1, "assert_not_followed": 1, "destination": 1}
    assert told(between(router, now, now + 5)) == []


def test_a_flood_of_asserts_is_bounded() -> None:
    router = quiet(GROUP)
    for n in range(MAX_ASSERTS + 50):
        contend(router, OTHER, NOW + 20, IPv4Address("10.20.0.0") + n)
    assert dropped(router) == {"too_many_asserts": 50}
    between(router, NOW + 20, NOW + 100)
