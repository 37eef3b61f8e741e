"""Builds Status from the agents' snapshots. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Final

import msgspec
from msgspec.structs import replace

from mcastd import __version__
from mcastd.follow.settings import FollowSnapshot
from mcastd.forward.desired import Forwarded
from mcastd.ipsec.state import IpsecSnapshot
from mcastd.overlay_status import OverlayStatus
from mcastd.status import (
    FirewallStatus,
    ForwardStatus,
    GroupStatus,
    Health,
    HistoryStatus,
    JoinState,
    KeepaliveStatus,
    NotFollowedReason,
    PathStatus,
    PimStatus,
    ProblemStatus,
    QuerierStatus,
    Status,
    TunnelStatus,
)
from mcastd.streams.desired import StreamsSnapshot

_JUST_JOINED: Final = 3.0  # seconds
_NAMED: Final = 5  # groups in a note


class Snapshots(msgspec.Struct, frozen=True):
    """What each agent says at one time."""

    firewall: FirewallStatus
    ipsec: IpsecSnapshot
    tunnels: Mapping[str, TunnelStatus]
    keepalive: Mapping[str, KeepaliveStatus]
    pim: Mapping[str, PimStatus]
    streams: StreamsSnapshot
    paths: tuple[PathStatus, ...] = ()
    groups: tuple[GroupStatus, ...] = ()  # as ``groups`` shows them
    forward: tuple[ForwardStatus, ...] = ()
    overlay: Mapping[str, OverlayStatus] = msgspec.field(default_factory=dict)
    refused: Mapping[str, int] = msgspec.field(default_factory=dict)  # packets, by the overlay's name
    follow: FollowSnapshot = msgspec.field(default_factory=dict)
    igmp: Mapping[str, QuerierStatus] = msgspec.field(default_factory=dict)
    not_measured: str | None = None  # why streams are counted only


class Process(msgspec.Struct, frozen=True):
    """What is known of the daemon itself. ``notes`` are on the configuration, ``uptime`` is in seconds."""

    pid: int
    uptime: float
    config_file: str
    config_digest: str
    notes: tuple[str, ...]


class Judgement(msgspec.Struct, frozen=True):
    """How things are: what follows from the agents' problems."""

    health: Health
    problems: tuple[ProblemStatus, ...]
    history: tuple[HistoryStatus, ...]
    summary: str


def build(agents: Snapshots, process: Process, judgement: Judgement) -> Status:
    """Everything as one frozen struct."""
    tunnels = {
        name: replace(
            tunnel,
            keepalive=agents.keepalive.get(name),
            pim=_pim(tunnel, agents.pim),
            applications=agents.follow.get(name),
        )
        for name, tunnel in agents.tunnels.items()
    }
    charon = agents.ipsec.charon
    return Status(
        version=__version__,
        pid=process.pid,
        uptime=process.uptime,
        health=judgement.health,
        healthy=judgement.health == "ok",
        problems=judgement.problems,
        history=judgement.history,
        summary=judgement.summary,
        config_file=process.config_file,
        config_digest=process.config_digest,
        charon=charon.text if charon is not None else None,
        charon_code=charon.code if charon is not None else None,
        firewall=agents.firewall,
        peers=agents.ipsec.peers,
        tunnels=tuple(tunnels.values()),
        paths=agents.paths,
        groups=agents.groups,
        forward=tuple(
            replace(one, igmp=agents.igmp.get(one.name), fragments=agents.streams.fragments.get(one.name, 0))
            for one in agents.forward
        ),
        overlay=tuple(replace(one, refused=agents.refused.get(name, 0)) for name, one in agents.overlay.items()),
        notes=(*process.notes, *agents.ipsec.notes, *_stream_notes(agents), *_not_followed(agents.follow)),
    )


def _pim(tunnel: TunnelStatus, pim: Mapping[str, PimStatus]) -> PimStatus | None:
    return pim.get(tunnel.name, PimStatus(running=False)) if tunnel.upstream == "pim" else None


def groups(
    found: Iterable[GroupStatus], tunnels: Mapping[str, TunnelStatus], streams: StreamsSnapshot, forwarded: Forwarded
) -> tuple[GroupStatus, ...]:
    """Groups as their tunnels, all that are configured, let them be, with what arrives of them and is forwarded."""
    return tuple(
        _named(_forwarded(_arriving(_through(group, tunnels[group.tunnel]), streams), forwarded), streams)
        for group in found
        if group.tunnel in tunnels
    )


def _named(group: GroupStatus, streams: StreamsSnapshot) -> GroupStatus:
    """A group with its feeds."""
    feeds = streams.names.of(IPv4Address(group.group))
    return replace(group, feeds=feeds) if feeds else group


def _through(group: GroupStatus, tunnel: TunnelStatus) -> GroupStatus:
    """A group as its tunnel lets it be."""
    if tunnel.state == "up" or group.state == "not joined":
        return group
    problem = f"tunnel {tunnel.name} is {tunnel.state}"
    state: JoinState = "expected" if group.state == "expected" else "not joined"
    return replace(group, state=state, problem=problem, problem_code="tunnel_down")


def _arriving(group: GroupStatus, streams: StreamsSnapshot) -> GroupStatus:
    """A group with what arrives of it."""
    if streams.problem is not None or group.state == "not joined" or group.problem is not None:
        return group
    state = streams.groups.get((group.tunnel, group.source, group.group))
    if state is None and (group.uptime is None or group.uptime < _JUST_JOINED):
        return group
    return replace(group, arrival=state or "never_arrived")


def _forwarded(group: GroupStatus, forwarded: Forwarded) -> GroupStatus:
    """A group with the interfaces that it is forwarded to."""
    found = forwarded.get((group.tunnel, group.source, group.group))
    return group if found is None else replace(group, forwarded_to=found.to, forwarded=found.packets)


def _stream_notes(agents: Snapshots) -> Iterator[str]:
    if agents.streams.problem is not None:
        yield f"streams are not counted: {agents.streams.problem}"
    if agents.not_measured is not None:
        what = "gaps, bursts, sequence numbers, pairs"
        yield f"not everything is measured of streams ({what}): {agents.not_measured}"


_WHY_NOT: Final[dict[NotFollowedReason, str]] = {
    "off": "tunnels.{tunnel}.follow is false",
    "excepted": "tunnels.{tunnel}.follow_except has them",
    "out_of_range": "tunnels.{tunnel}.follow has no range for them",
    "no_rp": "they have no rendezvous point there, and tunnels.{tunnel}.follow has no range for them",
    "source_specific": "they are source-specific, and were joined without a source",
    "limit": "there are more than tunnels.{tunnel}.follow_limit",
}


def _not_followed(follow: FollowSnapshot) -> Iterator[str]:
    """What applications have joined without success, by reason; that there are too many is a problem, not a note."""
    for tunnel, applications in follow.items():
        found: dict[NotFollowedReason, list[str]] = {}
        for one in applications.not_followed:
            found.setdefault(one.reason, []).append(one.group)
        for reason, groups in found.items():
            if reason != "limit":
                named = ", ".join(groups[:_NAMED]) + (", ..." if len(groups) > _NAMED else "")
                why = _WHY_NOT[reason].format(tunnel=tunnel)
                yield f"applications have joined {named} on {tunnel}, which is not joined upstream: {why}"
