"""The machine of one tunnel: what is followed of what sockets want, and for how long after they have left."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mcastd.follow.applications import LOST_FOR, SLICE, Applications, Ask, Want
from mcastd.follow.settings import FollowedTunnel
from mcastd.membership import DesiredGroup
from mcastd.net.memberships import NO_MEMBERS, Members
from mcastd.wanted import Rps

G1, G2, G3 = (IPv4Address(f"239.1.1.{n}") for n in (1, 2, 3))
SSM = IPv4Address("232.1.1.1")
S1, S2 = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
ANY = DesiredGroup(True)
RPS, NO_RPS = Rps(needed=True, has=lambda _: True), Rps(needed=True)
TUNNEL = FollowedTunnel(name="gre1", ifindex=3, address=IPv4Address("10.44.4.6"), rps=RPS)
ONE = Members(1)


def sources(*found: IPv4Address) -> DesiredGroup:
    return DesiredGroup(sources=frozenset(found))


def including(*found: IPv4Address) -> Members:
    """One socket."""
    return Members(1, dict.fromkeys(found, 1))


def wants(applications: Applications, now: float) -> dict[IPv4Address, DesiredGroup]:
    """What changes by all that is due."""
    found: dict[IPv4Address, DesiredGroup] = {}
    while applications.next_deadline() <= now:
        found |= {effect.group: effect.desired for effect in applications.step(now) if isinstance(effect, Want)}
    return found


def following(tunnel: FollowedTunnel, **members: Members) -> Applications:
    applications = Applications(tunnel)
    for group, found in zip((G1, G2, G3), members.values(), strict=False):
        applications.observed(group, found)
    return applications


def test_a_join_is_wanted_and_a_leave_after_linger() -> None:
    applications = following(TUNNEL, g1=ONE)
    assert wants(applications, 10.0) == {G1: ANY}
    applications.observed(G1, NO_MEMBERS)
    assert wants(applications, 11.0) == {}
    assert applications.next_deadline() == 16.0
    assert wants(applications, 15.9) == {}
    assert wants(applications, 16.0) == {G1: DesiredGroup()}
    assert list(applications) == []


def test_a_rejoin_within_linger_changes_nothing() -> None:
    applications = following(TUNNEL, g1=including(S1))
    wants(applications, 10.0)
    applications.observed(G1, NO_MEMBERS)
    assert wants(applications, 11.0) == {}
    applications.observed(G1, including(S1))
    assert wants(applications, 12.0) == {}
    assert wants(applications, 30.0) == {}
    applications.observed(G1, NO_MEMBERS)
    assert wants(applications, 40.0) == {}
    assert wants(applications, 44.9) == {}
    assert wants(applications, 45.0) == {G1: DesiredGroup()}


def test_without_linger_a_leave_prunes_at_once() -> None:
    applications = following(replace(TUNNEL, linger=0.0), g1=ONE)
    wants(applications, 10.0)
    applications.observed(G1, NO_MEMBERS)
    assert wants(applications, 11.0) == {G1: DesiredGroup()}


def test_a_source_that_is_left_lingers_alone() -> None:
    applications = following(TUNNEL, g1=Members(1, {S1: 1, S2: 1}))
    assert wants(applications, 10.0) == {G1: sources(S1, S2)}
    applications.observed(G1, including(S1))
    assert wants(applications, 11.0) == {}
    assert wants(applications, 16.0) == {G1: sources(S1)}


def test_an_excluded_source_follows_at_once_and_lasts_as_long_as_the_group() -> None:
    applications = following(TUNNEL, g1=Members(1, {}, {S1: 1}))
    assert wants(applications, 10.0) == {G1: DesiredGroup(True, excluded=frozenset({S1}))}
    applications.observed(G1, NO_MEMBERS)
    assert wants(applications, 11.0) == {}
    applications.observed(G1, ONE)
    assert wants(applications, 12.0) == {G1: ANY}


@pytest.mark.parametrize(
    ("group", "members", "tunnel", "followed", "reason"),
    [
        ("239.1.1.1", ONE, TUNNEL, ANY, None),
        ("239.1.1.1", ONE, replace(TUNNEL, rps=NO_RPS), None, "no_rp"),
        ("239.1.1.1", including(S1), replace(TUNNEL, rps=NO_RPS), None, "no_rp"),
        ("239.1.1.1", ONE, replace(TUNNEL, rps=Rps(needed=False)), ANY, None),
        ("232.1.1.1", including(S1), replace(TUNNEL, rps=NO_RPS), sources(S1), None),
        ("232.1.1.1", ONE, TUNNEL, None, "source_specific"),
        ("232.1.1.1", Members(2, {S1: 1}), TUNNEL, sources(S1), "source_specific"),
        ("232.1.1.1", ONE, replace(TUNNEL, follow=(IPv4Network("232.0.0.0/8"),)), None, "source_specific"),
        ("224.0.0.251", ONE, TUNNEL, None, None),
        ("239.255.255.250", ONE, replace(TUNNEL, follow=(IPv4Network("239.0.0.0/8"),)), None, None),
        ("239.1.1.1", ONE, replace(TUNNEL, follow=False), None, "off"),
        ("239.1.1.1", ONE, replace(TUNNEL, follow_except=(IPv4Network("239.1.0.0/16"),)), None, "excepted"),
        ("239.1.1.1", ONE, replace(TUNNEL, follow=(IPv4Network("239.2.0.0/16"),)), None, "out_of_range"),
        ("239.1.1.1", ONE, replace(TUNNEL, follow=(IPv4Network("239.1.0.0/16"),), rps=NO_RPS), ANY, None),
    ],
)
def test_the_scope(
    group: str, members: Members, tunnel: FollowedTunnel, followed: DesiredGroup | None, reason: str | None
) -> None:
    applications, address = Applications(tunnel), IPv4Address(group)
    applications.observed(address, members)
    assert wants(applications, 10.0) == ({} if followed is None else {address: followed})
    assert applications.refused.get(address) == reason
    applications.observed(address, NO_MEMBERS)
    wants(applications, 20.0)
    assert (applications.refused, list(applications)) == ({}, [])


def test_what_goes_out_of_scope_does_not_linger() -> None:
    applications = following(TUNNEL, g1=ONE)
    wants(applications, 10.0)
    applications.configure(replace(TUNNEL, follow=False), 11.0)
    assert wants(applications, 11.0) == {G1: DesiredGroup()}
    applications.configure(TUNNEL, 12.0)
    assert wants(applications, 12.0) == {G1: ANY}


def test_a_rendezvous_point_that_is_learned_later_brings_a_group_into_scope() -> None:
    known: set[IPv4Address] = set()
    rps = Rps(needed=True, has=known.__contains__)
    applications = following(replace(TUNNEL, rps=rps), g1=ONE)
    assert wants(applications, 10.0) == {}
    known.add(G1)
    applications.configure(replace(TUNNEL, rps=replace(rps, changes=1)), 11.0)
    assert wants(applications, 11.0) == {G1: ANY}


# Sources and any source together


def test_what_the_files_leave_open_is_asked_for_once_and_not_joined_before() -> None:
    applications = following(TUNNEL, g1=Members(2, {S1: 1, S2: 1}))
    assert applications.step(10.0) == [Want(G1, sources(S1, S2)), Ask(G1)]
    applications.reported(G1, any_source=True)
    assert wants(applications, 10.1) == {G1: DesiredGroup(True, frozenset({S1, S2}))}
    applications.observed(G1, Members(2, {S1: 1, S2: 1}))
    assert applications.step(40.0) == []


def test_an_answer_that_never_comes_is_asked_for_again_at_the_next_look() -> None:
    applications = following(TUNNEL, g1=Members(2, {S1: 1, S2: 1}))
    applications.step(10.0)
    applications.observed(G1, Members(2, {S1: 1, S2: 1}))
    assert applications.step(40.0) == [Ask(G1)]


def test_until_an_answer_comes_it_stays_as_it_was() -> None:
    applications = following(TUNNEL, g1=Members(3, {S1: 1, S2: 1}))
    assert wants(applications, 10.0) == {G1: DesiredGroup(True, frozenset({S1, S2}))}
    applications.observed(G1, Members(2, {S1: 1, S2: 1}))
    assert applications.step(11.0) == [Ask(G1)]
    applications.reported(G1, any_source=False)
    assert wants(applications, 11.1) == {}
    assert wants(applications, 16.1) == {G1: sources(S1, S2)}


def test_of_many_groups_all_are_asked_for_at_once() -> None:
    applications = Applications(TUNNEL)
    for number in range(17):
        applications.observed(G1 + number, Members(2, {S1: 1, S2: 1}))
    assert [effect for effect in applications.step(1.0) if isinstance(effect, Ask)] == [Ask(None)]


def test_a_report_of_a_group_that_the_files_do_not_leave_open_changes_nothing() -> None:
    applications = following(TUNNEL, g1=including(S1))
    wants(applications, 1.0)
    applications.reported(G1, any_source=True)
    applications.reported(G2, any_source=True)
    assert applications.step(1.0) == []


# The limit


def test_what_is_beyond_the_limit_waits_until_others_have_left() -> None:
    tunnel = replace(TUNNEL, limit=2)
    applications = following(tunnel, g1=ONE, g2=ONE, g3=ONE)
    assert wants(applications, 1.0) == {G1: ANY, G2: ANY}
    assert (list(applications.waiting), applications.refused) == ([G3], {G3: "limit"})
    applications.observed(G1, NO_MEMBERS)
    assert wants(applications, 2.0) == {G3: ANY}  # what lingers takes no room
    assert (list(applications.waiting), applications.refused) == ([], {})
    assert wants(applications, 7.0) == {G1: DesiredGroup()}


def test_sources_count_one_by_one() -> None:
    applications = following(replace(TUNNEL, limit=2), g1=Members(1, {S1: 1}), g2=Members(1, {S1: 1, S2: 1}))
    assert wants(applications, 1.0) == {G1: sources(S1), G2: sources(S1)}
    assert applications.live == 2
    applications.configure(replace(TUNNEL, limit=3), 2.0)
    assert wants(applications, 2.0) == {G2: sources(S1, S2)}
    applications.configure(replace(TUNNEL, limit=1), 3.0)
    assert wants(applications, 3.0) == {G1: DesiredGroup(), G2: sources(S1)}
    assert (applications.live, set(applications.waiting)) == (1, {G1, G2})


def test_what_others_desire_takes_no_room() -> None:
    applications = Applications(replace(TUNNEL, limit=1), lambda group: ANY if group == G1 else DesiredGroup())
    for group in (G1, G2, G3):
        applications.observed(group, ONE)
    assert wants(applications, 1.0) == {G1: ANY, G2: ANY}
    assert (applications.live, list(applications.waiting)) == (2, [G3])
    applications.observed(G2, NO_MEMBERS)
    assert wants(applications, 2.0) == {G3: ANY}


def test_what_waits_is_looked_at_again_when_others_desire_it() -> None:
    desired = {G1: DesiredGroup(), G2: DesiredGroup()}
    applications = Applications(replace(TUNNEL, limit=1), desired.__getitem__)
    for group in (G1, G2):
        applications.observed(group, ONE)
    assert wants(applications, 1.0) == {G1: ANY}
    desired[G2] = ANY
    applications.observed(G2, ONE)
    assert wants(applications, 31.0) == {G2: ANY}
    assert not applications.waiting


def test_one_that_waits_and_leaves_waits_no_longer() -> None:
    applications = following(replace(TUNNEL, limit=1), g1=ONE, g2=ONE)
    wants(applications, 1.0)
    applications.observed(G2, NO_MEMBERS)
    assert wants(applications, 2.0) == {}
    assert (applications.waiting, applications.refused) == ({}, {})


def test_a_storm_is_looked_at_in_slices() -> None:
    applications = Applications(replace(TUNNEL, limit=10_000))
    for number in range(1000):
        applications.observed(G1 + number, ONE)
    assert len(applications.step(1.0)) == SLICE
    assert applications.next_deadline() < 1.0
    assert len(wants(applications, 1.0)) == 1000 - SLICE


# An interface that is made again


def test_memberships_that_went_with_the_interface_are_remembered_until_they_are_back() -> None:
    applications = following(TUNNEL, g1=ONE, g2=ONE, g3=ONE)
    applications.observed(IPv4Address("224.0.0.251"), ONE)
    wants(applications, 1.0)
    applications.configure(replace(TUNNEL, ifindex=4), 2.0)
    applications.observed(G2, ONE)
    assert wants(applications, 2.0) == {}
    assert list(applications.lost) == [G1, G3]
    assert wants(applications, 7.0) == {G1: DesiredGroup(), G3: DesiredGroup()}
    applications.observed(G3, ONE)
    assert wants(applications, 8.0) == {G3: ANY}
    assert list(applications.lost) == [G1]
    applications.step(2.0 + LOST_FOR)
    assert not applications.lost


class Following(RuleBasedStateMachine):
    """Sockets come and go, and time passes: what is wanted is what sockets want, and what they left not long ago."""

    GROUPS = (G1, G2, SSM)
    LIMIT = 3

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.applications = Applications(replace(TUNNEL, limit=self.LIMIT))
        self.members: dict[IPv4Address, Members] = {}
        self.left: dict[tuple[IPv4Address, IPv4Address | None], float] = {}
        self.wanted: dict[IPv4Address, DesiredGroup] = {}

    @rule(group=st.sampled_from(GROUPS), found=st.sampled_from([NO_MEMBERS, ONE, including(S1), including(S1, S2)]))
    def look(self, group: IPv4Address, found: Members) -> None:
        before = self.members.get(group, NO_MEMBERS)
        for source in (None, S1, S2):
            if has(before, source) and not has(found, source):
                self.left[group, source] = self.now
        self.members[group] = found
        self.applications.observed(group, found)
        self.wanted |= wants(self.applications, self.now)

    @rule(seconds=st.sampled_from([0.5, 3.0, 5.0]))
    @precondition(lambda self: self.members)
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.wanted |= wants(self.applications, self.now)

    @invariant()
    def nothing_is_wanted_that_nobody_wants_or_has_just_left(self) -> None:
        for group, wanted in self.wanted.items():
            found = self.members.get(group, NO_MEMBERS)
            for source in ((None,) if wanted.any_source else ()) + tuple(wanted.sources):
                left = self.left.get((group, source), -100.0)
                assert has(found, source) or self.now - left < TUNNEL.linger
                assert not (source is None and group == SSM)

    @invariant()
    def the_limit_is_kept_and_used(self) -> None:
        asked = sum(
            has(found, source)
            for group, found in self.members.items()
            for source in (None, S1, S2)
            if not (source is None and group == SSM)
        )
        assert self.applications.live == min(asked, self.LIMIT)
        assert bool(self.applications.waiting) == (asked > self.LIMIT)


def has(found: Members, source: IPv4Address | None) -> bool:
    """Whether one socket with these sources, or without any, wants a source."""
    return source in found.included if source is not None else bool(found.users and not found.included)


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=60, stateful_step_count=30)
