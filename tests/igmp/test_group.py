"""The router's state of one group: the tables of RFC 9776, section 6.4, row by row, timers and queries."""

from ipaddress import IPv4Address
from math import inf

import pytest

from mcastd.igmp.group import MAX_SOURCES, Group
from mcastd.igmp.members import Hosts
from mcastd.igmp.settings import Timing
from mcastd.membership import DesiredGroup
from mcastd.net.igmp import Query, RecordType

GROUP = IPv4Address("239.1.2.3")
A, B, C, D = (IPv4Address(f"100.15.30.{n}") for n in (1, 2, 3, 4))
TIMING = Timing(2, 125.0, 10.0, 1.0)
GMI, LMQT = TIMING.group_membership_interval, TIMING.last_member_query_time
NOW = 1000.0
IS_IN, IS_EX, TO_IN, TO_EX, ALLOW, BLOCK = RecordType
Sources = frozenset[IPv4Address]


def sources(*found: IPv4Address) -> Sources:
    return frozenset(found)


def include(*found: IPv4Address) -> Group:
    """INCLUDE of these sources, since 50 seconds."""
    group = Group(GROUP, Hosts())
    group.receive(IS_IN, sources(*found), NOW - 50, GMI)
    return group


def exclude(running: Sources, blocked: Sources) -> Group:
    """EXCLUDE (X,Y), since 50 seconds."""
    group = Group(GROUP, Hosts())
    group.receive(IS_EX, running | blocked, NOW - 50, GMI)
    group.receive(IS_IN, running, NOW - 50, GMI)
    return group


def timers(group: Group) -> dict[IPv4Address, float]:
    """What is left of each Source Timer."""
    return {source: max(0.0, until - NOW) for source, until in group._sources.items()}


OLD = GMI - 50
Row = tuple[str, Group, RecordType, Sources, bool, dict[IPv4Address, float], Sources, bool]
ROWS: list[Row] = [
    # state, record, its sources -> EXCLUDE?, source timers, Send Q(G,..), Send Q(G)
    ("in is_in", include(A), IS_IN, sources(A, B), False, {A: GMI, B: GMI}, sources(), False),
    ("in is_ex", include(A, B), IS_EX, sources(B, C), True, {B: OLD, C: 0}, sources(), False),
    ("ex is_in", exclude(sources(A), sources(B)), IS_IN, sources(B, C), True, {A: OLD, B: GMI, C: GMI}, sources(),
     False),
    ("ex is_ex", exclude(sources(A, B), sources(C)), IS_EX, sources(B, C, D), True, {B: OLD, C: 0, D: GMI}, sources(),
     False),
    ("ex is_ex, others", exclude(sources(A), sources(C)), IS_EX, sources(B), True, {B: GMI}, sources(), False),
    ("in allow", include(A), ALLOW, sources(B), False, {A: OLD, B: GMI}, sources(), False),
    ("in block", include(A, B), BLOCK, sources(B, C), False, {A: OLD, B: OLD}, sources(B), False),
    ("in to_ex", include(A, B), TO_EX, sources(B, C), True, {B: OLD, C: 0}, sources(B), False),
    ("in to_in", include(A, B), TO_IN, sources(B, C), False, {A: OLD, B: GMI, C: GMI}, sources(A), False),
    ("ex allow", exclude(sources(A), sources(B)), ALLOW, sources(B, C), True, {A: OLD, B: GMI, C: GMI}, sources(),
     False),
    ("ex block", exclude(sources(A), sources(B)), BLOCK, sources(A, B, C), True, {A: OLD, B: 0, C: OLD}, sources(A, C),
     False),
    ("ex to_ex", exclude(sources(A, B), sources(C)), TO_EX, sources(B, C, D), True, {B: OLD, C: 0, D: OLD},
     sources(B, D), False),
    ("ex to_in", exclude(sources(A), sources(B)), TO_IN, sources(B, C), True, {A: OLD, B: GMI, C: GMI}, sources(A),
     True),
    ("leave", exclude(sources(), sources()), TO_IN, sources(), True, {}, sources(), True),
]  # fmt: skip


@pytest.mark.parametrize(("name", "group", "kind", "listed", "mode", "left", "asked", "for_group"), ROWS)
def test_the_tables_of_section_6_4(
    name: str, group: Group, kind: RecordType, listed: Sources, mode: bool, left: dict[IPv4Address, float],
    asked: Sources, for_group: bool,
) -> None:  # fmt: skip
    outcome = group.receive(kind, listed, NOW, GMI)
    assert (outcome.for_group, outcome.sources, outcome.is_cut) == (for_group, asked, False), name
    assert (group.is_exclude, timers(group)) == (mode, left), name
    if kind in (IS_EX, TO_EX):
        assert group._timer == NOW + GMI


def test_when_the_group_timer_ends_the_sources_with_running_timers_stay() -> None:
    group = exclude(sources(A), sources(B))
    group.receive(IS_IN, sources(A), NOW, GMI)
    assert group.desired(NOW) == DesiredGroup(any_source=True, excluded=sources(B))
    end = NOW - 50 + GMI
    group.expire(end)
    assert (group.is_exclude, group.desired(end)) == (False, DesiredGroup(sources=sources(A)))
    group.expire(NOW + GMI)
    assert group.is_empty
    assert group.next_deadline() == inf


def test_a_source_whose_timer_ends_is_excluded_while_the_mode_is_exclude() -> None:
    group = exclude(sources(A), sources())
    group.receive(IS_EX, sources(A), NOW, GMI)
    end = NOW - 50 + GMI
    assert group.next_deadline() == end
    group.expire(end)
    assert group.desired(end) == DesiredGroup(any_source=True, excluded=sources(A))


def test_queries_for_a_group_lower_its_timer_and_do_so_at_other_routers() -> None:
    group = exclude(sources(), sources())
    group.ask(True, sources(), NOW, TIMING)
    assert list(group.queries(NOW, TIMING)) == [Query(3, 1.0, GROUP, (), False, 2, 125.0)]
    assert group.next_deadline() == NOW + 1.0
    group.expire(NOW + 1.0)
    assert len(list(group.queries(NOW + 1.0, TIMING))) == 1
    assert group.next_deadline() == NOW + LMQT
    group.expire(NOW + LMQT)
    assert group.is_empty


def test_an_answer_to_the_last_query_may_be_sent_at_the_end_of_its_time() -> None:
    group = include(A)
    group.ask(False, sources(A), NOW, TIMING)
    for when in (NOW, NOW + 1.0):
        assert len(list(group.queries(when, TIMING))) == 1
    group.expire(NOW + 2.05)
    assert group.desired(NOW + 2.05) == DesiredGroup(sources=sources(A))
    group.expire(NOW + LMQT)
    assert group.is_empty


def test_after_an_answer_the_queries_say_that_timers_stay() -> None:
    group = exclude(sources(), sources())
    group.ask(True, sources(), NOW, TIMING)
    list(group.queries(NOW, TIMING))
    group.receive(IS_EX, sources(), NOW + 0.5, GMI)
    assert [query.suppress for query in group.queries(NOW + 1.0, TIMING)] == [True]
    assert group.desired(NOW + LMQT) == DesiredGroup(any_source=True)


def test_a_leave_while_hosts_are_asked_is_not_asked_again_but_after_an_answer() -> None:
    group = exclude(sources(), sources())
    group.ask(True, sources(), NOW, TIMING)
    list(group.queries(NOW, TIMING))
    group.ask(True, sources(), NOW + 0.2, TIMING)
    assert list(group.queries(NOW + 0.2, TIMING)) == []
    group.receive(IS_EX, sources(), NOW + 0.5, GMI)
    group.ask(True, sources(), NOW + 0.6, TIMING)
    assert [query.suppress for query in group.queries(NOW + 0.6, TIMING)] == [False]
    group.expire(NOW + 0.6 + LMQT)
    assert group.is_empty


def test_queries_for_sources_are_two_where_some_were_answered() -> None:
    group = include(A, B, C)
    group.ask(False, sources(A, B), NOW, TIMING)
    assert [query.sources for query in group.queries(NOW, TIMING)] == [(A, B)]
    group.receive(IS_IN, sources(B), NOW + 0.3, GMI)
    found = list(group.queries(NOW + 1.0, TIMING))
    assert [(query.sources, query.suppress) for query in found] == [((B,), True), ((A,), False)]
    group.expire(NOW + LMQT)
    assert group.desired(NOW + LMQT) == DesiredGroup(sources=sources(B, C))


def test_a_query_for_the_group_makes_the_one_that_suppresses_unnecessary() -> None:
    group = exclude(sources(A), sources())
    group.ask(True, sources(A), NOW, TIMING)
    list(group.queries(NOW, TIMING))
    group.receive(IS_IN, sources(A), NOW + 0.3, GMI)
    assert [query.sources for query in group.queries(NOW + 1.0, TIMING)] == [()]


def test_a_query_of_another_router_lowers_timers() -> None:
    group = exclude(sources(A), sources(B))
    group.queried((A, B, C), NOW + 2.0)
    assert timers(group) == {A: 2.0, B: 0.0}
    group.queried((), NOW + 2.0)
    assert group.next_deadline() == NOW + 2.0
    only = include(A)
    only.queried((), NOW + 2.0)
    assert timers(only) == {A: OLD}


@pytest.mark.parametrize(
    ("mode", "kind", "excluded", "asked"),
    [(2, BLOCK, sources(), False), (2, TO_EX, sources(), False), (2, TO_IN, sources(), True),
     (1, BLOCK, sources(), False), (1, TO_EX, sources(), False), (1, TO_IN, sources(), False)],
)  # fmt: skip
def test_in_the_mode_of_an_older_host(mode: int, kind: RecordType, excluded: Sources, asked: bool) -> None:
    group = exclude(sources(), sources())
    group.older_host(mode, NOW + 100)
    assert group.mode(NOW) == mode
    listed = sources() if kind is TO_IN else sources(A)
    outcome = group.receive(kind, listed, NOW, GMI)
    assert (outcome.for_group, outcome.sources) == (asked, sources())
    assert group.desired(NOW) == DesiredGroup(any_source=True, excluded=excluded)
    assert group.mode(NOW + 100) == 3


def test_the_version_1_timer_comes_before_that_of_version_2() -> None:
    group = exclude(sources(), sources())
    group.older_host(1, NOW + 50)
    group.older_host(2, NOW + 100)
    assert [group.mode(NOW + after) for after in (0, 49, 50, 99, 100)] == [1, 1, 2, 2, 3]


@pytest.mark.parametrize("kind", [IS_IN, TO_IN, ALLOW, IS_EX, TO_EX, BLOCK])
def test_sources_beyond_the_limit_are_left_out(kind: RecordType) -> None:
    many = frozenset(IPv4Address("100.64.0.0") + number for number in range(5000))
    for group in (include(A), exclude(sources(A), sources(B))):
        before = len(timers(group))
        outcome = group.receive(kind, many, NOW, GMI)
        assert len(timers(group)) <= MAX_SOURCES
        assert outcome.is_cut or len(timers(group)) == before
        again = group.receive(kind, many, NOW + 1, GMI)
        assert len(again.sources) <= MAX_SOURCES
