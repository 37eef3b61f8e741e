"""Several peers, tunnels and groups in one walk: what is broken on one hides nothing of another, and what is ranked."""

import dataclasses
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import cycle
from typing import Any

import pytest
from msgspec.structs import replace

from mcastd.config.hours import parse
from mcastd.config.model import Config, Feed, Group, Streams
from mcastd.problems import ProblemCode
from mcastd.status import GroupStatus, ProblemStatus
from mcastd.tools.doctor.facts import Facts, Multicast, Probe, Stream
from mcastd.tools.doctor.finding import Side
from mcastd.tools.doctor.walk import HOPS, walk
from tests.tools.doctor.cases import CASES
from tests.tools.doctor.observed import (
    GROUP,
    PORT,
    SILENT,
    SOURCE,
    STREAM,
    child,
    config,
    facts,
    group,
    overdue,
    peer,
    seen,
    status,
    tunnel,
    wire,
)

OTHER = {"name": "gre2", "remote": IPv4Address("10.44.8.1"), "child": "b-gre"}


def both() -> Config:
    """The configured path, and a second one: peer b, its CHILD_SAs b-gre with gre2, and b-tcp."""
    had = config()
    first, first_tunnel = had.peers[0], had.tunnels[0]
    carrier = replace(first.children[0], name="b-gre")
    second = replace(
        first, name="b", remote=IPv4Address("192.0.2.9"), children=(carrier, replace(carrier, name="b-tcp"))
    )
    address = IPv4Interface("10.44.5.6/30")
    second_tunnel = replace(first_tunnel, **OTHER, address=address, pim=replace(first_tunnel.pim, neighbor=None))  # type: ignore[type-var]
    return replace(had, peers=(first, second), tunnels=(first_tunnel, second_tunnel))


def two(a: dict[str, Any] | None = None, b: dict[str, Any] | None = None, **changes: Any) -> Facts:
    """Two paths, of which the states may be others: peer, child, tunnel, groups, seen."""
    a, b = a or {}, b or {}
    peers = (
        peer(children=(child(**a.get("child", {})),), **a.get("peer", {})),
        replace(
            peer(**b.get("peer", {})),
            name="b",
            remote="192.0.2.9",
            children=(
                replace(child(spi_in="3", spi_out="4", **b.get("child", {})), name="b-gre"),
                replace(child(spi_in="5", spi_out="6", **b.get("tcp", {})), name="b-tcp"),
            ),
        ),
    )
    tunnels = (tunnel(**a.get("tunnel", {})), replace(tunnel(**b.get("tunnel", {})), name="gre2", remote="10.44.8.1"))
    groups = (*a.get("groups", (group(),)), *b.get("groups", (group(tunnel="gre2"),)))
    found = status(peers=peers, tunnels=tunnels, groups=groups, problems=changes.pop("problems", ()))
    looked = {"gre1": seen(**a.get("seen", {})), "gre2": seen(**b.get("seen", {}))}
    joined = frozenset(IPv4Address(one.group) for one in groups)
    memberships = {"gre1": joined, "gre2": joined}
    return facts(
        config=both(),
        status=found,
        before=found,
        tunnels=looked,
        memberships=memberships,
        **{"rp_filter": {}} | changes,
    )


def problem(code: ProblemCode, subject: str) -> ProblemStatus:
    return ProblemStatus(code, subject, "2026-01-01T00:00:00Z", "something is wrong")


def found(observed: Facts, **options: str) -> list[tuple[str, str]]:
    """The findings, each with its subject."""
    return [(one.problem, one.subject) for one in walk(observed, **options).findings]


DOWN = {"peer": {"state": "waiting", "problem": "no answer", "problem_code": "no_answer"}}
GROUPS = tuple(IPv4Address("239.2.0.0") + number for number in range(400))


def test_each_path_has_a_line() -> None:
    result = walk(two())
    assert result.healthy
    assert [(one.name, one.tunnel, one.child, one.peer, one.broken, one.groups) for one in result.paths] == [
        ("gre1", "gre1", "dc-tun-gre", "dc-tun", None, 1),
        ("gre2", "gre2", "b-gre", "b", None, 1),
        ("b-tcp", None, "b-tcp", "b", None, 0),
    ]


def test_a_peer_that_is_down_hides_nothing_of_the_other() -> None:
    broken = two(DOWN, {"tunnel": {"state": "down", "problem": "an interface gre2 exists"}, "tcp": {"state": "down"}})
    assert found(broken) == [("tunnel_down", "gre2"), ("no_answer", "dc-tun"), ("not_up", "b-tcp")]
    assert [one.broken for one in walk(broken).paths] == ["ike", "gre", "child"]
    assert found(broken, tunnel="gre1") == [("no_answer", "dc-tun")]
    assert found(broken, tunnel="gre2") == [("tunnel_down", "gre2")]
    assert [one.name for one in walk(broken, tunnel="gre2").paths] == ["gre2"]


def test_what_follows_from_what_is_broken_on_a_path_is_not_reported() -> None:
    down = {**DOWN, "child": {"state": "down"}, "tunnel": {"state": "waiting"}, "seen": {"interface": None, **SILENT}}
    problems = tuple(problem(code, "gre1") for code in ("tunnel_down", "joins_not_joined"))
    assert found(two(down, problems=(problem("peer_down", "dc-tun"), *problems))) == [("no_answer", "dc-tun")]


def test_a_group_that_is_broken_breaks_no_other_and_equal_ones_are_one_finding() -> None:
    lost = (GROUPS[0], GROUPS[1])
    groups = tuple(group(group=str(one)) for one in (*lost, GROUP))
    streams = {Stream(one, SOURCE, PORT): 100 for one in (*lost, GROUP)}
    arrived = {"arrived": Multicast(streams), "delivered": {STREAM: 100}}
    result = walk(two({"groups": groups, "seen": arrived}))
    assert [(one.problem, one.groups) for one in result.findings] == [
        ("dropped_here", ("(*, 239.2.0.0)", "(*, 239.2.0.1)"))
    ]
    path = result.paths[0]
    assert (path.broken, path.groups, path.failing, path.silent) == (None, 3, 2, 0)
    assert walk(two({"groups": groups, "seen": arrived}), group=str(GROUP)).healthy
    assert not walk(two({"groups": groups, "seen": arrived}), group="239.2.0.1").healthy


def test_a_quiet_group_is_silent_and_not_broken() -> None:
    result = walk(two({"groups": (group(), group(group="239.2.0.1"))}))
    assert result.healthy
    (silent,) = result.silent
    assert (silent.hop, silent.subject, silent.groups) == ("packets_on_the_tunnel", "gre1", ("(*, 239.2.0.1)",))
    assert silent.saw.startswith("no packet of (*, 239.2.0.1) arrived on gre1 in 1.5 s; 0 packets came out of CHILD_SA")
    assert "list the tunnel as outgoing" in silent.ask
    assert result.paths[0].silent == 1
    assert walk(two({"groups": (group(), group(group="239.2.0.1"))}), tunnel="gre2").silent == ()


def test_a_silent_group_hides_nothing_that_status_has() -> None:
    quiet = two({"seen": SILENT}, problems=(problem("follow_limit_reached", "gre1"),))
    assert found(quiet) == [("follow_limit_reached", "gre1")]
    assert len(walk(quiet).silent) == 1


@pytest.mark.parametrize(
    ("own", "of_feed", "of_all", "words"),
    [
        ("Mon-Fri 07:00-23:00 UTC", "", "", "; it is expected Mon-Fri 07:00-23:00 UTC, not now"),
        ("", "Sat 10:00-12:00 UTC", "", "; it is expected Sat 10:00-12:00 UTC, now"),
        ("", "", "Sat 10:00-12:00 UTC", "; it is expected Sat 10:00-12:00 UTC, now"),
        ("Sat 10:00-12:00 UTC", "Mon-Fri 07:00-23:00 UTC", "", "; it is expected Sat 10:00-12:00 UTC, now"),
        ("", "", "", "meanwhile"),
    ],
)
def test_a_silent_group_is_is_shown_with_its_hours(own: str, of_feed: str, of_all: str, words: str) -> None:
    parsed = [(parse(text),) if text else () for text in (own, of_feed, of_all)]
    configured = replace(
        both(),
        groups=(Group(group=GROUP, tunnel="gre1", hours=parsed[0]),),
        feeds=(Feed(label="night", groups=(IPv4Network("239.1.1.0/24"),), hours=parsed[1]),),
        streams=Streams(hours=parsed[2]),
    )
    saturday = datetime(2026, 11, 28, 11, tzinfo=UTC)
    quiet = dataclasses.replace(two({"seen": SILENT}), config=configured, moment=saturday)
    (silent,) = walk(quiet, tunnel="gre1").silent
    assert silent.saw.endswith(words)


@pytest.mark.parametrize(
    ("named", "subject", "arrival", "broken"),
    [
        ("all_silent", "gre1", "silent", True),
        ("nothing_ever_arrived", "gre1", "never_arrived", True),
        ("all_silent", "gre2", "silent", False),
        ("child_sa_silent", "dc-tun-gre", "silent", True),
        ("group_silent", "gre1", "silent", True),
        ("group_silent", "gre1", "arriving", False),
        ("feed_silent", "night", "silent", True),
        ("feed_silent", "another", "silent", False),
    ],
)
def test_a_group_of_which_the_daemon_says_that_it_should_not_be_silent_is_broken(
    named: ProblemCode, subject: str, arrival: str, broken: bool
) -> None:
    quiet = two({"groups": (group(arrival=arrival),), "seen": SILENT}, problems=(problem(named, subject),))
    limited = Group(group=GROUP, tunnel="gre1", max_silence=5.0)
    feeds = (Feed(label="night", groups=(IPv4Network("239.1.1.0/24"),)), Feed(label="another"))
    quiet = facts_with(quiet, replace(both(), groups=(limited,), feeds=feeds))
    result = walk(quiet, tunnel="gre1")
    assert bool(result.silent) is not broken
    assert ("silent" in [one.problem for one in result.findings]) is broken


def facts_with(had: Facts, configured: Config) -> Facts:
    return dataclasses.replace(had, config=configured)


NO_ECHO = {"probe": Probe(1398), **SILENT}


def test_a_far_tunnel_that_is_shut_is_told_from_a_silent_source() -> None:
    # Nothing answers, and nothing was heard lately; or it was, and a night is quiet; or the daemon knows better.
    unheard = {"tunnel": {"keepalive": None, "pim": replace(tunnel().pim, neighbors=())}}  # type: ignore[type-var]
    quiet = {"child": {"packets_out": 102}, "seen": NO_ECHO}
    sent = [child(packets_out=100), child(packets_out=102)]
    for state, reported, expected in (
        (unheard, False, ["nothing_comes_back"]),
        ({}, False, []),
        ({}, True, ["nothing_comes_back"]),
    ):
        problems = overdue().problems if reported else ()
        observed = two({**quiet, **state}, problems=problems)
        assert observed.before is not None
        before = replace(observed.before, peers=(replace(peer(), children=(sent[0],)), *observed.before.peers[1:]))
        observed = dataclasses.replace(observed, before=before, wire_out=wire(2, 2))
        result = walk(observed, tunnel="gre1")
        assert [one.problem for one in result.findings] == expected
        if not reported and not expected:
            assert result.silent[0].saw.endswith("was not answered; the last keepalive came 1 s ago")


def test_a_hundred_of_a_kind_rank_by_what_they_concern_and_by_whose_they_are() -> None:
    a = {"child": {"state": "down", "problem": "no such selectors", "problem_code": "traffic_selectors"}}
    b: dict[str, Any] = {"seen": {"delivered": {}}}
    result = walk(two(a, b, problems=(problem("metrics_failed", "127.0.0.1:9464"),)))
    assert [(one.problem, one.subject) for one in result.findings] == [
        ("selectors", "dc-tun-gre"),
        ("dropped_here", "gre2"),
        ("metrics_failed", "127.0.0.1:9464"),
    ]


def test_nothing_is_claimed_of_the_other_side_while_something_here_explains_it() -> None:
    codes: Iterator[ProblemCode] = cycle(("agent_failed", "changed_by_another_program", "guard_drops"))
    for (case, (_, broken)), code in zip(CASES.items(), codes, strict=False):
        if broken.status is not None and walk(broken).finding is not None:
            told = replace(broken.status, problems=(*broken.status.problems, problem(code, "gre1")))
            findings = walk(dataclasses.replace(broken, status=told)).findings
            of_the_path = [one for one in findings if one.hop != "loss"]
            assert all(one.side is Side.HERE for one in of_the_path if not one.groups), case
            assert of_the_path[0].side is Side.HERE, case


def test_four_hundred_groups_on_two_tunnels_are_walked_at_once() -> None:
    groups: list[GroupStatus] = [group(group=str(one)) for one in GROUPS]
    streams = {Stream(one, SOURCE, PORT): 3 for one in GROUPS}
    looked = {"arrived": Multicast(streams), "delivered": streams}
    observed = two(
        {"groups": groups, "seen": looked}, {"groups": [replace(one, tunnel="gre2") for one in groups], "seen": looked}
    )
    began = time.process_time()
    assert walk(observed).healthy
    assert time.process_time() - began < 1.0


def test_what_a_host_lacks_ends_the_walk() -> None:
    result = walk(facts(daemon_error="nobody answers", status=None))
    assert [one.problem for one in result.findings] == ["daemon_silent"]
    assert result.well == tuple(HOPS)[: tuple(HOPS).index("daemon")]
