"""The querier alone: limits, what is ignored, how queries are answered, and what a flood costs."""

import gc
import time
import tracemalloc
from ipaddress import IPv4Address

import pytest

from mcastd.igmp.effects import Effect, GroupChanged, LimitReached, OlderQuerier, QuerierChanged, SendQuery
from mcastd.igmp.group import MAX_SOURCES
from mcastd.igmp.members import MAX_HOSTS, MAX_TRACKED
from mcastd.igmp.querier import MAX_QUERIERS, SLICE, Querier
from mcastd.igmp.settings import Timing
from mcastd.membership import DesiredGroup
from mcastd.net.igmp import ALL_SYSTEMS, Leave, Query, Record, RecordType, Report, V3Report, decode
from tests.igmp.world import LOWER, SECOND, TIMING, US, interface

HOST, OTHER = IPv4Address("10.1.1.20"), IPv4Address("10.1.1.21")
GROUP, SSM_GROUP, SOURCE = IPv4Address("239.1.2.3"), IPv4Address("232.1.2.3"), IPv4Address("100.15.30.10")
FIRST = IPv4Address("239.128.0.0")
NOW = 1000.0
ANY = DesiredGroup(any_source=True)


def join(*groups: IPv4Address) -> V3Report:
    return V3Report(tuple(Record(RecordType.TO_EX, group) for group in groups))


def queries(effects: list[Effect]) -> list[Query]:
    found = [decode(effect.payload) for effect in effects if isinstance(effect, SendQuery)]
    return [query for query in found if isinstance(query, Query)]


def run(querier: Querier, until: float) -> list[Effect]:
    """Let time pass."""
    effects: list[Effect] = []
    while (deadline := querier.next_deadline()) <= until:
        effects += querier.advance(deadline)
    return effects


def test_startup_and_periodic_queries() -> None:
    querier = Querier(interface(), NOW)
    effects = run(querier, NOW + 25)
    assert [effect.destination for effect in effects if isinstance(effect, SendQuery)] == [ALL_SYSTEMS] * 4
    assert set(queries(effects)) == {Query(3, 2.0, robustness=2, interval=10.0)}
    assert querier.sent == {"general_query": 4}


@pytest.mark.parametrize("group", [IPv4Address("224.0.0.1"), IPv4Address("224.0.0.22"), IPv4Address("224.0.0.251")])
def test_link_local_groups_are_ignored(group: IPv4Address) -> None:
    querier = Querier(interface(), NOW)
    assert [effect for effect in querier.receive(HOST, join(group), NOW) if not isinstance(effect, SendQuery)] == []
    querier.receive(HOST, Report(2, group), NOW)
    assert querier.groups == {}


def test_a_source_specific_group_is_not_joined_from_any_source() -> None:
    querier = Querier(interface(), NOW)
    for message in (join(SSM_GROUP), Report(1, SSM_GROUP), Report(2, SSM_GROUP), Leave(SSM_GROUP)):
        querier.receive(HOST, message, NOW)
    assert querier.groups == {}
    assert querier.dropped == {"any_source_in_ssm_range": 4}
    found = querier.receive(HOST, V3Report((Record(RecordType.ALLOW, SSM_GROUP, (SOURCE,)),)), NOW)
    assert found[-1] == GroupChanged(SSM_GROUP, DesiredGroup(sources=frozenset({SOURCE})))


def test_limits_of_a_host_and_of_the_interface() -> None:
    querier = Querier(interface(max_groups=6, max_groups_per_host=4), NOW)
    found = querier.receive(HOST, join(*(FIRST + number for number in range(10))), NOW)
    assert [effect for effect in found if isinstance(effect, LimitReached)] == [
        LimitReached("too_many_groups_of_host", HOST)
    ]
    assert len(querier.groups) == 4
    querier.receive(OTHER, join(*(FIRST + number for number in range(2, 8))), NOW)
    assert len(querier.groups) == 6  # two of them were there
    querier.receive(HOST + 5, join(FIRST + 50), NOW)
    assert querier.dropped == {"too_many_groups_of_host": 8, "too_many_groups": 1}
    # A group that is left makes room.
    querier.receive(HOST, V3Report((Record(RecordType.TO_IN, FIRST),)), NOW)
    run(querier, NOW + TIMING.last_member_query_time)
    querier.receive(HOST, join(FIRST + 50), NOW + 5)
    assert (FIRST + 50) in querier.groups


def test_sources_of_a_host_are_limited_and_those_of_others_not() -> None:
    querier = Querier(interface(max_groups_per_host=10), NOW)
    many = tuple(SOURCE + number for number in range(8))
    for number in range(10):
        querier.receive(HOST, V3Report((Record(RecordType.ALLOW, FIRST + number, many),)), NOW)
    assert len(querier.groups) == 5
    assert querier.dropped == {"too_many_sources_of_host": 5}
    for _ in range(3):  # what is known is refreshed
        querier.receive(HOST, V3Report((Record(RecordType.IS_IN, FIRST, many),)), NOW + 1)
    querier.receive(OTHER, V3Report((Record(RecordType.ALLOW, FIRST + 9, many),)), NOW + 1)
    assert len(querier.groups) == 6
    assert querier.dropped == {"too_many_sources_of_host": 5}
    querier.receive(HOST, V3Report((Record(RecordType.BLOCK, FIRST, many),)), NOW + 2)
    querier.receive(HOST, V3Report((Record(RecordType.ALLOW, FIRST + 8, many),)), NOW + 2)
    assert len(querier.groups) == 7


def test_hosts_without_an_address_count_as_one_that_may_be_several() -> None:
    querier = Querier(interface(fast_leave=True), NOW)
    run(querier, NOW + 100)
    nowhere = IPv4Address(0)
    querier.receive(nowhere, join(GROUP), NOW + 100)
    assert [host for host, _ in querier.members(GROUP, NOW + 100)] == [nowhere]
    found = querier.receive(nowhere, V3Report((Record(RecordType.TO_IN, GROUP),)), NOW + 101)
    assert [query.group for query in queries(found)] == [GROUP]  # asked, in spite of fast leave
    assert querier.desired(GROUP) == ANY


def test_hosts_beyond_those_that_are_tracked_count() -> None:
    querier = Querier(interface(fast_leave=True), NOW)
    run(querier, NOW + 100)
    for number in range(MAX_HOSTS + 5):
        querier.receive(IPv4Address("10.2.0.0") + number, join(GROUP), NOW + 100)
    assert len(querier.hosts) == MAX_HOSTS
    found = querier.receive(IPv4Address("10.2.0.0"), V3Report((Record(RecordType.TO_IN, GROUP),)), NOW + 101)
    assert [query.group for query in queries(found)] == [GROUP]


def test_hosts_beyond_those_that_are_tracked_are_counted_while_they_report() -> None:
    querier = Querier(interface(), NOW)
    for number in range(MAX_HOSTS):
        querier.receive(IPv4Address("10.2.0.0") + number, join(GROUP), NOW)
    assert not querier.full
    querier.receive(HOST, join(GROUP), NOW)
    assert querier.dropped == {"too_many_hosts": 1}
    run(querier, NOW + TIMING.query_interval)
    assert set(querier.full) == {"too_many_hosts"}
    run(querier, NOW + TIMING.query_interval + TIMING.query_response_interval)
    assert not querier.full


def test_a_host_is_a_member_of_the_sources_that_its_group_keeps() -> None:
    querier = Querier(interface(), NOW)
    early, late = (frozenset(SOURCE + number for number in numbers) for numbers in (range(300, 500), range(100)))
    for host, sources in ((HOST, early), (OTHER, late)):
        querier.receive(host, V3Report((Record(RecordType.ALLOW, GROUP, tuple(sources)),)), NOW)
    kept = querier.desired(GROUP).sources
    assert len(kept) == MAX_SOURCES
    assert {host: member.sources for host, member in querier.members(GROUP, NOW)} == {HOST: kept}
    run(querier, NOW + TIMING.group_membership_interval - 1)
    querier.receive(OTHER, V3Report((Record(RecordType.IS_IN, GROUP, tuple(late)),)), NOW + 1000)
    assert {host: member.sources for host, member in querier.members(GROUP, NOW + 1000)} == {OTHER: late}


def test_a_host_that_leaves_is_a_member_while_those_are_asked_that_heard_its_reports() -> None:
    """By versions 1 and 2 these keep quiet; where they are behind the same endpoint, the query has to reach it."""
    querier = Querier(interface(), NOW)
    querier.receive(HOST, Report(2, GROUP), NOW)
    found = querier.receive(HOST, Leave(GROUP), NOW + 1)
    assert [query.group for query in queries(found)] == [GROUP]
    assert [host for host, _ in querier.members(GROUP, NOW + 2)] == [HOST]
    querier.receive(OTHER, Report(2, GROUP), NOW + 2)
    run(querier, NOW + 1 + TIMING.last_member_query_time)
    assert [host for host, _ in querier.members(GROUP, NOW + 5)] == [OTHER]
    assert GROUP in querier.hosts.take_changed()
    querier.receive(OTHER, V3Report((Record(RecordType.TO_IN, GROUP),)), NOW + 5)
    assert not list(querier.members(GROUP, NOW + 5))  # by version 3 none keeps quiet


def test_what_is_tracked_of_hosts_is_bounded() -> None:
    querier = Querier(interface(max_groups_per_host=5000), NOW)
    many = tuple(SOURCE + number for number in range(300))
    for host in range(20):
        for number in range(50):
            record = Record(RecordType.ALLOW, FIRST + number, many)
            querier.receive(HOST + host, V3Report((record,)), NOW)
    assert querier.hosts._tracked <= MAX_TRACKED
    assert querier.dropped["too_many_sources"] > 0
    run(querier, NOW + 2 * TIMING.group_membership_interval)
    assert (len(querier.hosts), querier.hosts._tracked, querier.groups) == (0, 0, {})


def test_a_querier_with_a_higher_address_is_answered_at_once_and_not_too_often() -> None:
    querier = Querier(interface(), NOW)
    run(querier, NOW + 3)
    sent = len(queries(querier.receive(SECOND, Query(3, 2.0, robustness=2, interval=10.0), NOW + 5)))
    sent += len(queries(run(querier, NOW + 5)))
    assert sent == 1
    for _ in range(50):
        querier.receive(SECOND, Query(3, 2.0, robustness=2, interval=10.0), NOW + 5.5)
    assert queries(run(querier, NOW + 5.9)) == []


def test_of_two_lower_queriers_the_lowest_is_shown_and_its_values_count() -> None:
    querier = Querier(interface(SECOND), NOW)
    querier.receive(US, Query(3, 2.0, robustness=2, interval=20.0), NOW)
    querier.receive(LOWER, Query(3, 2.0, robustness=2, interval=30.0), NOW + 1)
    querier.receive(US, Query(3, 2.0, robustness=2, interval=20.0), NOW + 2)
    assert (querier.other, querier.timing.query_interval) == (LOWER, 30.0)
    # Those of the other one keep us from querying; when the lowest is silent for long, it is the querier.
    found: list[Effect] = []
    for second in range(20, 100, 20):
        found += run(querier, NOW + second)
        found += querier.receive(US, Query(3, 2.0, robustness=2, interval=20.0), NOW + second)
    assert queries(found) == []
    assert [effect for effect in found if isinstance(effect, QuerierChanged)] == [QuerierChanged(US)]


def test_other_queriers_that_are_kept_are_bounded() -> None:
    querier = Querier(interface(), NOW)
    for number in range(100):
        querier.receive(IPv4Address("10.1.2.0") + number, Query(2, 2.0), NOW)
    assert len(querier.others) == MAX_QUERIERS


def test_a_querier_that_states_nothing_leaves_our_values() -> None:
    querier = Querier(interface(), NOW)
    querier.receive(LOWER, Query(3, 0.0), NOW)
    assert querier.timing == TIMING
    querier.receive(LOWER, Query(1, 10.0), NOW)
    assert querier.timing.query_response_interval == 10.0


def test_one_query_keeps_us_from_querying_for_some_minutes_at_most() -> None:
    querier = Querier(interface(), NOW)
    querier.receive(LOWER, Query(3, 3174.4, robustness=7, interval=31744.0), NOW)
    querier.receive(HOST, join(GROUP), NOW + 1)
    run(querier, NOW + 254.9)
    assert (querier.is_querier, querier.desired(GROUP)) == (False, ANY)
    run(querier, NOW + 255.1)
    assert querier.is_querier
    run(querier, NOW + 300)
    assert querier.desired(GROUP) == DesiredGroup()


def test_values_of_another_querier_up_to_ours_and_those_of_the_rfc_are_adopted() -> None:
    querier = Querier(interface(), NOW)
    querier.receive(LOWER, Query(3, 10.0, robustness=2, interval=125.0), NOW)
    assert querier.timing == Timing(2, 125.0, 10.0, TIMING.last_member_query_interval)
    slow = Timing(3, 400.0, 25.0, 1.0)
    querier = Querier(interface(timing=slow), NOW)
    querier.receive(LOWER, Query(3, 25.0, robustness=3, interval=400.0), NOW)
    assert querier.timing == slow


def test_a_query_of_ours_that_is_looped_back_is_no_other_querier() -> None:
    querier = Querier(interface(), NOW)
    run(querier, NOW)
    assert querier.receive(US, Query(2, 2.0), NOW) == []
    assert (querier.others, querier.is_querier, querier.version(NOW)) == ({}, True, 3)


def test_a_zero_response_time_of_another_router_does_not_end_a_group() -> None:
    querier = Querier(interface(), NOW)
    querier.receive(HOST, join(GROUP), NOW)
    querier.receive(SECOND, Query(3, 0.0, GROUP), NOW + 1)
    run(querier, NOW + 1.9)
    assert querier.desired(GROUP) == ANY
    querier.receive(HOST, V3Report((Record(RecordType.IS_EX, GROUP),)), NOW + 1.9)
    run(querier, NOW + 20)
    assert querier.desired(GROUP) == ANY


@pytest.mark.parametrize(("version", "expected"), [(1, []), (2, [(2, GROUP, ())]), (3, [(3, GROUP, (SOURCE,))])])
def test_a_configured_version_says_what_can_be_asked(
    version: int, expected: list[tuple[int, IPv4Address, tuple[IPv4Address, ...]]]
) -> None:
    querier = Querier(interface(version=version), NOW)
    assert {query.version for query in queries(run(querier, NOW))} == {version}
    querier.receive(HOST, V3Report((Record(RecordType.IS_IN, GROUP, (SOURCE,)),)), NOW)
    found = querier.receive(HOST, V3Report((Record(RecordType.TO_IN, GROUP),)), NOW)
    assert [(query.version, query.group, query.sources) for query in queries(found)] == expected


def test_an_older_querier_is_reported_once() -> None:
    querier = Querier(interface(), NOW)
    found = [effect for _ in range(5) for effect in querier.receive(SECOND, Query(2, 2.0), NOW)]
    assert [effect for effect in found if isinstance(effect, OlderQuerier)] == [OlderQuerier(SECOND, 2)]


def test_a_new_configuration_keeps_the_groups() -> None:
    querier = Querier(interface(), NOW)
    querier.receive(HOST, join(GROUP), NOW)
    assert queries(run(querier, NOW)) != []
    assert querier.configure(interface(), NOW + 1) == []
    querier.configure(interface(version=2), NOW + 1)
    assert [query.version for query in queries(run(querier, NOW + 1))] == [2]
    assert querier.desired(GROUP) == ANY


GATEWAY = IPv4Address(0)
QUIET = interface(version=2, querier=False)


def test_where_a_gateway_queries_nothing_is_sent_and_no_election_held() -> None:
    querier = Querier(QUIET, NOW)
    effects = run(querier, NOW + 100)
    for source in (LOWER, SECOND, GATEWAY):
        effects += querier.receive(source, Query(2, 2.0), NOW + 100)
    effects += run(querier, NOW + 101)
    effects += querier.receive(GATEWAY, Query(2, 2.0), NOW + 101)
    assert (effects, querier.dropped, querier.is_querier) == ([], {}, True)
    assert not querier.election.is_contending
    assert querier.heard(NOW + 101) == GATEWAY
    assert querier.heard(NOW + 200) is None


def test_what_hosts_report_past_a_gateway_counts_and_ends_by_itself_or_by_its_query() -> None:
    querier = Querier(QUIET, NOW)
    querier.receive(HOST, Report(2, GROUP), NOW)
    assert querier.desired(GROUP) == ANY
    querier.receive(HOST, Leave(GROUP), NOW + 1)
    run(querier, NOW + TIMING.group_membership_interval - 1)
    assert querier.desired(GROUP) == ANY  # we may not ask whether others want it
    assert queries(run(querier, NOW + TIMING.group_membership_interval)) == []
    assert querier.desired(GROUP) == DesiredGroup()
    querier.receive(HOST, Report(2, GROUP), NOW + 100)
    querier.receive(GATEWAY, Query(2, 1.0, GROUP), NOW + 101)
    run(querier, NOW + 104)
    assert querier.desired(GROUP) == DesiredGroup()


def test_querying_may_begin_and_end_and_the_groups_stay() -> None:
    querier = Querier(interface(version=2), NOW)
    querier.receive(HOST, Report(2, GROUP), NOW)
    assert queries(run(querier, NOW)) != []
    assert querier.configure(QUIET, NOW + 1) == []
    assert run(querier, NOW + 10) == []
    querier.configure(interface(version=2), NOW + 10)
    assert len(queries(run(querier, NOW + 10))) == 1
    assert querier.desired(GROUP) == ANY
    querier.receive(LOWER, Query(2, 2.0), NOW + 11)
    assert querier.configure(QUIET, NOW + 12) == [QuerierChanged(None)]
    assert querier.is_querier


def test_many_timers_that_end_together_are_worked_off_in_slices() -> None:
    querier = Querier(interface(max_groups=1000, max_groups_per_host=1000), NOW)
    querier.receive(HOST, join(*(FIRST + number for number in range(1000))), NOW)
    end = NOW + TIMING.group_membership_interval
    run(querier, end - 0.001)
    turns = 0
    while querier.groups:
        assert querier.next_deadline() <= end
        assert sum(isinstance(effect, GroupChanged) for effect in querier.advance(end)) <= SLICE
        turns += 1
    assert turns == 1000 / SLICE


def flood(querier: Querier) -> float:
    """Reports of one host for 100,000 groups; returns the longest time that one of them took."""
    longest = 0.0
    for start in range(0, 100_000, 183):
        report = join(*(FIRST + number for number in range(start, start + 183)))
        began = time.thread_time()
        querier.receive(HOST, report, NOW + start / 100_000)
        longest = max(longest, time.thread_time() - began)
    return longest


def test_a_flood_of_100_000_groups_is_counted_and_forgotten() -> None:
    """In simulated time: bounded in memory, and in what one report costs."""
    querier = Querier(interface(max_groups=1000, max_groups_per_host=500), NOW)
    querier.receive(OTHER, join(GROUP), NOW)
    tracemalloc.start()
    flood(querier)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20
    assert len(querier.groups) == 501
    assert querier.dropped["too_many_groups_of_host"] > 99_000
    assert querier.desired(GROUP) == ANY
    querier.receive(OTHER, join(GROUP + 1), NOW + 1)
    assert querier.desired(GROUP + 1) == ANY
    gc.freeze()  # a collection then looks at what the flood makes alone, as in the daemon
    took = flood(Querier(interface(max_groups=1000, max_groups_per_host=500), NOW))
    gc.unfreeze()
    assert took < 0.020


def test_joining_and_leaving_over_and_over_leaves_nothing_behind() -> None:
    querier = Querier(interface(fast_leave=True), NOW)
    run(querier, NOW + 100)
    for number in range(5_000):
        querier.receive(HOST, join(FIRST + number % 7), NOW + 100)
        querier.receive(HOST, V3Report((Record(RecordType.TO_IN, FIRST + number % 7),)), NOW + 100)
    assert querier.groups == {}
    assert len(querier._due) < 1100
