"""mcastd's querier against the reference's hosts and routers, over a bad link, in simulated time."""

import ast
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mcastd.igmp.effects import GroupChanged
from mcastd.igmp.role import Role
from mcastd.igmp.settings import Timing
from mcastd.net.igmp import Query, decode
from tests.igmp import reference
from tests.igmp.reference import Host
from tests.igmp.world import LOWER, SECOND, TIMING, US, Router, Weather, World, interface

GROUPS = [IPv4Address("239.1.1.0") + n for n in range(4)]
SOURCES = [IPv4Address("100.15.30.1") + n for n in range(4)]
ANY = SOURCES[0]
NONE = frozenset[IPv4Address]()
LEAVE_TIME = TIMING.last_member_query_time + 0.01


def test_the_reference_shares_nothing_with_mcastd() -> None:
    tree = ast.parse(Path(reference.__file__).read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import)
            else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    assert imported <= {"random", "struct", "dataclasses", "ipaddress", "math"}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_join_is_followed_at_once(version: int) -> None:
    world = World()
    router, host = world.router(), world.host(1, version)
    world.run(5)
    host.join(GROUPS[0], world.now)
    world.run(0.002)
    assert router.forwards(GROUPS[0], ANY)


@pytest.mark.parametrize("version", [2, 3])
def test_the_last_one_to_leave_ends_it_within_the_last_member_query_time(version: int) -> None:
    world = World()
    router, one, other = world.router(), world.host(1, version), world.host(2, version)
    one.join(GROUPS[0], world.now)
    other.join(GROUPS[0], world.now)
    world.run(30)
    one.leave(GROUPS[0], world.now)
    world.run(5)
    assert router.forwards(GROUPS[0], ANY)
    assert not router.machine.is_querier or len(world.queries(US)) > 2
    other.leave(GROUPS[0], world.now)
    world.run(LEAVE_TIME)
    assert router.desired == {}
    assert router.machine.groups == {}


def test_a_host_of_version_1_ends_with_the_group_membership_interval() -> None:
    world = World()
    router, host = world.router(), world.host(1, version=1)
    host.join(GROUPS[0], world.now)
    world.run(30)
    host.leave(GROUPS[0], world.now)
    world.run(LEAVE_TIME)
    assert router.forwards(GROUPS[0], ANY)
    world.run(TIMING.group_membership_interval)
    assert router.desired == {}


def test_a_leave_of_version_2_does_not_end_what_a_host_of_version_1_receives() -> None:
    world = World()
    router, old, new = world.router(), world.host(1, version=1), world.host(2, version=2)
    old.join(GROUPS[0], world.now)
    world.run(3)
    new.join(GROUPS[0], world.now)
    world.run(3)
    new.leave(GROUPS[0], world.now)
    before = len(world.queries(US))
    world.run(LEAVE_TIME)
    assert router.forwards(GROUPS[0], ANY)
    assert all(data[4:8] == bytes(4) for _, data in world.queries(US)[before:])  # not asked, either


def test_sources_come_and_go() -> None:
    world = World()
    router, host, other = world.router(), world.host(1), world.host(2)
    host.change(GROUPS[0], False, frozenset(SOURCES[:2]), world.now)
    other.change(GROUPS[0], False, frozenset(SOURCES[1:3]), world.now)
    world.run(3)
    assert [router.forwards(GROUPS[0], source) for source in SOURCES] == [True, True, True, False]
    host.change(GROUPS[0], False, frozenset(SOURCES[1:2]), world.now)
    other.change(GROUPS[0], False, frozenset(SOURCES[2:3]), world.now)
    world.run(LEAVE_TIME)
    assert [router.forwards(GROUPS[0], source) for source in SOURCES] == [False, True, True, False]
    host.change(GROUPS[0], True, frozenset(SOURCES[2:4]), world.now)
    world.run(LEAVE_TIME)
    assert [router.forwards(GROUPS[0], source) for source in SOURCES] == [True, True, True, False]
    other.leave(GROUPS[0], world.now)
    world.run(LEAVE_TIME)
    assert [router.forwards(GROUPS[0], source) for source in SOURCES] == [True, True, False, False]


def test_a_host_of_version_2_takes_the_sources_of_others_away_until_it_is_gone() -> None:
    world = World()
    router, host, old = world.router(), world.host(1), world.host(2, version=2)
    host.change(GROUPS[0], False, frozenset(SOURCES[:1]), world.now)
    world.run(20)
    assert not router.forwards(GROUPS[0], SOURCES[1])
    old.join(GROUPS[0], world.now)
    world.run(20)
    assert router.forwards(GROUPS[0], SOURCES[1])
    old.leave(GROUPS[0], world.now)
    world.run(LEAVE_TIME)
    assert [router.forwards(GROUPS[0], source) for source in SOURCES[:2]] == [True, False]


def test_fast_leave_asks_no_host_when_the_last_one_that_is_known_leaves() -> None:
    world = World()
    router, one, other = world.router(interface(fast_leave=True)), world.host(1), world.host(2)
    one.join(GROUPS[0], world.now)
    other.change(GROUPS[0], False, frozenset(SOURCES[:2]), world.now)
    world.run(60)
    asked = len(world.queries(US))
    one.leave(GROUPS[0], world.now)
    world.run(0.002)
    assert [router.forwards(GROUPS[0], source) for source in SOURCES[:3]] == [True, True, False]
    other.change(GROUPS[0], False, frozenset(SOURCES[:1]), world.now)
    world.run(0.002)
    assert [router.forwards(GROUPS[0], source) for source in SOURCES[:3]] == [True, False, False]
    other.leave(GROUPS[0], world.now)
    world.run(0.002)
    assert router.desired == {}
    assert len(world.queries(US)) == asked


@pytest.mark.parametrize("version", [1, 2])
def test_fast_leave_asks_where_a_host_may_have_suppressed_its_report(version: int) -> None:
    world = World()
    router, new = world.router(interface(fast_leave=True)), world.host(1)
    old = [world.host(number, version) for number in (2, 3)]
    for host in (*old, new):
        host.join(GROUPS[0], world.now)
    world.run(60)
    new.leave(GROUPS[0], world.now)
    world.run(LEAVE_TIME)
    assert router.forwards(GROUPS[0], ANY)
    assert len(router.machine.groups) == 1


def test_fast_leave_asks_before_every_host_has_had_the_time_to_report() -> None:
    world = World()
    for number in (1, 2):
        world.host(number).join(GROUPS[0], world.now)
    world.run(1)
    router = world.router(interface(fast_leave=True))
    first = world.nodes[0]
    assert isinstance(first, Host)
    while not router.forwards(GROUPS[0], ANY):
        world.run(0.01)
    first.leave(GROUPS[0], world.now)
    world.run(LEAVE_TIME)
    assert router.forwards(GROUPS[0], ANY)


# The election


def roles(*routers: Router) -> list[Role]:
    return [router.machine.role for router in routers]


def test_the_lower_address_is_elected_and_the_other_takes_over() -> None:
    world = World()
    lower, higher = world.router(interface(US)), world.router(interface(SECOND))
    world.run(1)
    assert roles(lower, higher) == [Role.QUERIER, Role.NON_QUERIER]
    assert higher.machine.other == US
    world.remove(lower)
    world.run(TIMING.other_querier_present_interval - 1.1)
    assert roles(higher) == [Role.NON_QUERIER]
    world.run(1.2)
    assert roles(higher) == [Role.QUERIER]


def test_a_takeover_within_three_seconds() -> None:
    """As promised for query_interval = "1s", robustness = 2."""
    world = World()
    fast = Timing(2, 1.0, 1.0, 0.5)
    lower, higher, host = world.router(interface(US, fast)), world.router(interface(SECOND, fast)), world.host(1)
    host.join(GROUPS[0], world.now)
    world.run(10)
    assert higher.forwards(GROUPS[0], ANY)  # kept warm
    world.remove(lower)
    world.run(2.51)
    assert higher.machine.is_querier
    assert higher.forwards(GROUPS[0], ANY)


def test_a_restarted_querier_is_elected_again_at_once_when_it_is_allowed() -> None:
    world = World()
    higher, host = world.router(interface(SECOND)), world.host(1)
    host.join(GROUPS[0], world.now)
    world.run(1)
    lower = world.router(interface(US), allowed=False)
    world.run(200)
    assert world.queries(US) == []
    assert roles(lower, higher) == [Role.NON_QUERIER, Role.QUERIER]
    assert lower.forwards(GROUPS[0], ANY)
    lower.allow()
    world.run(0.002)
    assert roles(lower, higher) == [Role.QUERIER, Role.NON_QUERIER]


def test_one_that_can_no_longer_forward_gives_way_and_takes_over_again_when_it_can() -> None:
    world = World()
    lower, higher, host = world.router(interface(US)), world.router(interface(SECOND)), world.host(1)
    host.join(GROUPS[0], world.now)
    world.run(35)
    assert roles(lower, higher) == [Role.QUERIER, Role.NON_QUERIER]
    lower.machine.give_way(world.now, gives_way=True)
    world.run(TIMING.other_querier_present_interval)
    assert roles(lower, higher) == [Role.NON_QUERIER, Role.QUERIER]
    world.run(100)
    assert roles(lower, higher) == [Role.NON_QUERIER, Role.QUERIER]
    assert lower.machine.election.is_contending  # it joins what hosts want, and takes over when that arrives
    lower.machine.give_way(world.now, gives_way=False)
    world.run(100)
    assert roles(lower, higher) == [Role.NON_QUERIER, Role.QUERIER]  # nothing arrives yet
    lower.allow()
    world.run(0.002)
    assert roles(lower, higher) == [Role.QUERIER, Role.NON_QUERIER]
    world.run(100)
    assert roles(lower, higher) == [Role.QUERIER, Role.NON_QUERIER]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_where_no_other_takes_over_hosts_are_asked_often_enough_to_stay(version: int) -> None:
    world = World()
    router, host = world.router(interface(US)), world.host(1, version)
    host.join(GROUPS[0], world.now)
    world.run(35)
    router.effects.clear()
    router.machine.give_way(world.now, gives_way=True)
    world.run(500)
    assert not [effect for effect in router.effects if isinstance(effect, GroupChanged)]
    asked = len(world.queries(US))
    router.machine.give_way(world.now, gives_way=False)
    world.run(0.002)
    assert len(world.queries(US)) == asked + 1  # at once: the next one would have been due later
    world.run(TIMING.query_interval)
    assert len(world.queries(US)) == asked + 2


def test_a_router_that_starts_beside_one_that_cannot_forward_takes_over() -> None:
    world = World()
    lower = world.router(interface(US))
    world.run(35)
    lower.machine.give_way(world.now, gives_way=True)
    world.run(300)
    higher = world.router(interface(SECOND))
    world.run(TIMING.other_querier_present_interval + TIMING.rare_query_interval)
    assert roles(lower, higher) == [Role.NON_QUERIER, Role.QUERIER]


def test_one_that_may_not_query_does_so_when_there_is_no_other() -> None:
    world = World()
    router = world.router(allowed=False)
    world.run(TIMING.other_querier_present_interval - 0.1)
    assert roles(router) == [Role.WAITING]
    world.run(0.2)
    assert roles(router) == [Role.QUERIER]
    assert len(world.queries(US)) == 1


def test_a_query_without_a_source_address_takes_no_part() -> None:
    world = World()
    router = world.router()
    zero = world.other(IPv4Address("0.0.0.0"))
    zero.start(world.now)
    world.run(30)
    assert roles(router) == [Role.QUERIER]
    assert router.machine.dropped["query_without_source"] > 1
    waiting = World()
    held = waiting.router(allowed=False)
    waiting.other(IPv4Address("0.0.0.0")).start(waiting.now)
    waiting.run(5)
    assert roles(held) == [Role.WAITING]


def test_the_values_of_the_querier_are_adopted_and_given_up() -> None:
    world = World()
    router = world.router()
    theirs = Timing(3, 20.0, 4.0, 0.5)
    other = world.other(LOWER, timing=theirs)
    other.start(world.now)
    world.run(1)
    assert router.machine.timing == theirs
    assert router.machine.other == LOWER
    host = world.host(1)
    host.join(GROUPS[0], world.now)
    world.run(0.5)
    other.stop()
    world.run(theirs.other_querier_present_interval + 1)
    assert roles(router) == [Role.QUERIER]
    assert router.machine.timing == TIMING


def versions(world: World) -> list[int]:
    """The versions of our queries."""
    found = [decode(data) for _, data in world.queries(US)]
    return [query.version for query in found if isinstance(query, Query)]


def test_a_querier_of_an_older_version_is_named_and_followed() -> None:
    world = World()
    router, host = world.router(), world.host(1)
    host.change(GROUPS[0], False, frozenset(SOURCES[:1]), world.now)
    old = world.other(SECOND, version=2)
    old.start(world.now)
    world.run(5)
    assert [effect for effect in router.effects if type(effect).__name__ == "OlderQuerier"] != []
    assert {version for version, _ in router.machine.others.values()} == {2}
    world.run(10)
    assert versions(world)[-1] == 2
    assert router.forwards(GROUPS[0], SOURCES[1])  # the host reports no sources now
    old.stop()
    world.run(2 * TIMING.older_host_present_interval)
    assert versions(world)[-1] == 3


def test_a_router_that_loses_the_election_completes_its_last_member_queries() -> None:
    world = World()
    timing = replace(TIMING, robustness=4)
    router, host = world.router(interface(timing=timing)), world.host(1)
    host.join(GROUPS[0], world.now)
    world.run(10)
    host.leave(GROUPS[0], world.now)
    world.run(0.6)
    world.other(LOWER).start(world.now)
    world.run(0.1)
    assert roles(router) == [Role.NON_QUERIER]
    world.run(timing.last_member_query_time)
    specific = [data for _, data in world.queries(US) if data[4:8] == GROUPS[0].packed]
    assert len(specific) == 4
    assert router.desired == {}


def test_one_that_is_not_the_querier_follows_its_queries() -> None:
    world = World()
    querier, router, host = world.router(interface(US)), world.router(interface(SECOND)), world.host(1)
    host.join(GROUPS[0], world.now)
    world.run(15)
    host.leave(GROUPS[0], world.now)
    world.run(LEAVE_TIME)
    assert querier.desired == router.desired == {}
    assert all(data[4:8] == bytes(4) for _, data in world.queries(SECOND))


# Properties

STATES = st.tuples(st.booleans(), st.sets(st.sampled_from(SOURCES), max_size=3).map(frozenset))
Changes = list[tuple[float, int, IPv4Address, tuple[bool, frozenset[IPv4Address]]]]
CHANGES = st.lists(
    st.tuples(st.floats(0.0, 12.0), st.integers(0, 2), st.sampled_from(GROUPS[:2]), STATES), min_size=1, max_size=12
)


def longest_join(robustness: int, version: int, timing: Timing) -> float:
    """Seconds after which a host that joined has been heard, with fewer losses than ``robustness``."""
    if version < 3 and robustness > 2:  # it repeats its report once
        return robustness * timing.query_interval + timing.query_response_interval + 1
    return (robustness - 1) * (1.0 if version == 3 else 10.0) + 0.2


@given(
    seed=st.integers(0, 10**6),
    robustness=st.integers(1, 4),
    versions=st.lists(st.sampled_from([1, 2, 3, 3, 3]), min_size=3, max_size=3),
    changes=CHANGES,
    duplicate=st.sampled_from([0.0, 0.3]),
    jitter=st.sampled_from([0.0, 0.02]),
    routers=st.integers(1, 2),
)
@settings(max_examples=40, deadline=None)
def test_nothing_that_is_desired_is_lost_and_nothing_stays(
    seed: int, robustness: int, versions: list[int], changes: Changes, duplicate: float, jitter: float, routers: int
) -> None:
    """With fewer losses than ``robustness`` in the time that a report is valid.

    A report that arrives after the leave that was sent behind it counts as one more membership, which then runs out. So
    may sources at a router that is not the querier: a query for the group lowers no timers of sources (section 6.6.1).
    Such a router is not on a link that reorders: a query that arrives after its answers would count as another loss.
    """
    jitter *= routers == 1
    timing = replace(TIMING, robustness=robustness)
    weather = Weather(0.5, robustness - 1, timing.group_membership_interval, 0.001, jitter, duplicate)
    world = World(seed, weather)
    machines = [world.router(interface(address, timing)) for address in (US, SECOND)[:routers]]
    hosts = [world.host(number, version, robustness) for number, version in enumerate(versions)]
    since: dict[tuple[IPv4Address, IPv4Address], float] = {}
    heard: set[tuple[int, IPv4Address, IPv4Address]] = set()

    def watch() -> None:
        for group in GROUPS[:2]:
            for source in SOURCES:
                key = (group, source)
                if not any(host.wanted(group, source) for host in hosts):
                    since.pop(key, None)
                    heard.difference_update({(number, *key) for number in range(routers)})
                    continue
                began = since.setdefault(key, world.now)
                for number, machine in enumerate(machines):
                    if machine.forwards(*key):
                        heard.add((number, *key))
                        continue
                    late = world.now - began > longest_join(robustness, min(versions), timing)
                    assert (number, *key) not in heard, f"{key} lost at {number}"
                    assert not late, f"{key} not heard at {number}"

    def run(seconds: float) -> None:
        end = world.now + seconds
        while world.now < end:
            world.run(min(0.1, end - world.now))
            watch()

    for delay, number, group, (exclude, sources) in changes:
        run(delay)
        host = hosts[number]
        if host.version < 3 and (exclude or sources):
            exclude, sources = True, NONE
        host.change(group, exclude, sources, world.now)
        watch()
    run(timing.query_interval * 2)
    for host in hosts:
        for group in list(host.state):
            host.leave(group, world.now)
    is_late = jitter or min(versions) < 3
    world.run(timing.group_membership_interval if is_late else longest_join(robustness, 3, timing))
    world.run(timing.last_member_query_time + 0.1)
    assert machines[0].desired == {}
    world.run(timing.group_membership_interval * (routers > 1))
    assert machines[-1].desired == {}
    assert all(not machine.machine.groups and not len(machine.machine.hosts) for machine in machines)


@given(
    seed=st.integers(0, 10**6),
    robustness=st.integers(1, 4),
    addresses=st.permutations([US, SECOND, LOWER]),
    starts=st.lists(st.floats(0.0, 60.0), min_size=2, max_size=2),
)
@settings(max_examples=40, deadline=None)
def test_there_is_one_querier(seed: int, robustness: int, addresses: list[IPv4Address], starts: list[float]) -> None:
    timing = replace(TIMING, robustness=robustness)
    world = World(seed, Weather(0.5, robustness - 1, timing.other_querier_present_interval + 1, 0.001, 0.02))
    routers = [world.router(interface(addresses[0], timing)), world.router(interface(addresses[1], timing))]
    other = world.other(addresses[2], timing=timing)
    world.run(starts[0])
    other.start(world.now)
    world.run(robustness * timing.query_interval)
    for _ in range(100):
        world.run(0.5)
        elected = [router.address for router in routers if router.machine.is_querier]
        assert elected + [other.address] * other.is_querier == [min(addresses)]
    gone = min(addresses)
    world.cut.add(gone)
    world.run(timing.other_querier_present_interval + 0.1)
    left = sorted(set(addresses) - {gone})
    world.run(robustness * timing.query_interval)
    for _ in range(100):
        world.run(0.5)
        elected = [router.address for router in routers if router.machine.is_querier and router.address != gone]
        assert elected + [other.address] * (other.is_querier and other.address != gone) == [left[0]]
