from collections.abc import Mapping
from ipaddress import IPv4Network

import pytest
from msgspec.structs import replace

from mcastd.config.feed_names import FeedNames
from mcastd.config.model import Feed
from mcastd.forward.desired import ForwardedGroup
from mcastd.ipsec.state import IpsecSnapshot
from mcastd.net.mroute import Counts
from mcastd.problems import Problem
from mcastd.snapshot import Judgement, Process, Snapshots, build, groups
from mcastd.status import (
    ArrivalState,
    FirewallStatus,
    GroupStatus,
    KeepaliveStatus,
    PeerStatus,
    PimStatus,
    ProblemStatus,
    TunnelStatus,
)
from mcastd.streams.desired import StreamsSnapshot

PEER = PeerStatus(
    name="dc", state="up", local="192.0.2.1", remote="198.51.100.1", local_id="a", remote_id="b"
)  # fmt: skip
TUNNEL = TunnelStatus(
    name="gre1", state="up", datapath="kernel", local="10.44.7.1", remote="10.44.6.1", address="10.44.4.6/30"
)
GROUP = GroupStatus(group="239.1.1.1", source=None, tunnel="gre1", state="joined")
KEEPALIVE, PIM = KeepaliveStatus(reply=True, path="alive"), PimStatus(running=True)
AGENTS = Snapshots(
    firewall=FirewallStatus(guard=True, in_place=True),
    ipsec=IpsecSnapshot((PEER,), None, ("a note of the SAs",)),
    tunnels={"gre1": TUNNEL},
    keepalive={"gre1": KEEPALIVE},
    pim={"gre1": PIM},
    groups=(GROUP,),
    streams=StreamsSnapshot(),
    follow={},
)
PROCESS = Process(pid=7, uptime=1.5, config_file="/etc/mcastd.toml", config_digest="abc", notes=("a note of the file",))

OK = Judgement("ok", (), (), "up")


def rows(
    group: GroupStatus, tunnels: Mapping[str, TunnelStatus] = AGENTS.tunnels, streams: StreamsSnapshot = AGENTS.streams
) -> tuple[GroupStatus, ...]:
    return groups((group,), tunnels, streams, {})


def test_each_agents_part_is_where_it_belongs() -> None:
    status = build(AGENTS, PROCESS, OK)
    assert status.healthy
    assert (status.pid, status.uptime, status.config_digest, status.summary) == (7, 1.5, "abc", "up")
    assert status.tunnels == (replace(TUNNEL, keepalive=KEEPALIVE, pim=PIM),)
    assert (status.peers, status.groups) == ((PEER,), (GROUP,))
    assert status.notes == ("a note of the file", "a note of the SAs")
    assert (status.charon, status.charon_code) == (None, None)
    part = build(replace(AGENTS, not_measured="A and B are not compared"), PROCESS, OK).notes[-1]
    assert part.startswith("not everything is measured of streams")
    assert part.endswith(": A and B are not compared")


def test_what_is_wrong_is_shown_by_code_and_text() -> None:
    charon = Problem("charon_gone", "charon", "charon does not run")
    agents = replace(AGENTS, ipsec=IpsecSnapshot((PEER,), charon))
    shown = ProblemStatus("charon_gone", "charon", "2026-11-28T06:00:00Z", "charon does not run")
    status = build(agents, PROCESS, Judgement("degraded", (shown,), (), charon.text))
    assert (status.health, status.healthy, status.problems) == ("degraded", False, (shown,))
    assert (status.charon, status.charon_code) == (charon.text, "charon_gone")


def test_a_tunnel_without_keepalives_or_pim_shows_none() -> None:
    agents = replace(AGENTS, keepalive={}, pim={})
    (tunnel,) = build(agents, PROCESS, OK).tunnels
    assert (tunnel.keepalive, tunnel.pim) == (None, PimStatus(running=False))


def test_a_tunnel_on_which_pim_is_not_desired_shows_none() -> None:
    agents = replace(AGENTS, tunnels={"gre1": replace(TUNNEL, upstream="igmp")}, pim={})
    assert build(agents, PROCESS, OK).tunnels[0].pim is None


def test_a_group_names_the_interfaces_that_it_is_forwarded_to() -> None:
    key = ("gre1", None, "239.1.1.1")
    (group,) = groups(
        (GROUP,), {"gre1": TUNNEL}, StreamsSnapshot(), {key: ForwardedGroup(("eth1",), Counts(9, 900, 2, 0.1))}
    )
    assert (group.forwarded_to, group.forwarded) == (("eth1",), 7)


def test_a_group_has_the_names_of_its_feeds() -> None:
    feeds = [
        Feed(label=name, groups=(IPv4Network(GROUP.group),), port=port) for port, name in ((1, "trades"), (2, "q"))
    ]
    (group,) = groups((GROUP,), {"gre1": TUNNEL}, StreamsSnapshot(names=FeedNames(feeds)), {})
    assert group.feeds == ("trades", "q")


def test_a_group_is_joined_only_through_a_tunnel_that_is_up() -> None:
    waiting = replace(TUNNEL, state="waiting")
    (group,) = rows(GROUP, {"gre1": waiting})
    assert (group.state, group.problem) == ("not joined", "tunnel gre1 is waiting")
    unjoined = replace(GROUP, state="not joined", problem="no rendezvous point")
    assert rows(unjoined, {"gre1": waiting}) == (unjoined,)


def test_a_group_of_a_tunnel_that_the_configuration_does_not_have_is_not_shown() -> None:
    elsewhere = replace(GROUP, tunnel="gre9")
    assert rows(elsewhere) == ()


def test_an_expected_group_stays_expected_and_shows_what_arrives_of_it() -> None:
    other = replace(GROUP, state="expected", uptime=60.0)
    assert rows(other) == (replace(other, arrival="never_arrived"),)
    (group,) = rows(other, {"gre1": replace(TUNNEL, state="down")})
    assert (group.state, group.problem_code, group.arrival) == ("expected", "tunnel_down", None)


@pytest.mark.parametrize(
    ("uptime", "arrived", "problem", "shown"),
    [
        (60.0, {("gre1", None, "239.1.1.1"): "arriving"}, None, "arriving"),
        (1.0, {("gre1", None, "239.1.1.1"): "silent"}, None, "silent"),
        (60.0, {("gre2", None, "239.1.1.1"): "arriving"}, None, "never_arrived"),
        (60.0, {("gre1", "100.15.30.5", "239.1.1.1"): "arriving"}, None, "never_arrived"),
        (2.9, {}, None, None),
        (None, {}, None, None),
        (60.0, {("gre1", None, "239.1.1.1"): "arriving"}, "nft: no such program", None),
    ],
)
def test_a_joined_group_shows_what_arrives_of_it(
    uptime: float | None,
    arrived: dict[tuple[str, str | None, str], ArrivalState],
    problem: str | None,
    shown: ArrivalState | None,
) -> None:
    streams = StreamsSnapshot(arrived, problem)
    assert [group.arrival for group in rows(replace(GROUP, uptime=uptime), streams=streams)] == [shown]
    status = build(replace(AGENTS, streams=streams), PROCESS, OK)
    assert (f"streams are not counted: {problem}" in status.notes) is (problem is not None)
