"""The hops of PIM: neighbour, rendezvous point, joins, packets on the tunnel."""

import errno
from typing import Final

from mcastd.config.model import Tunnel
from mcastd.status import GroupStatus
from mcastd.tools.doctor.facts import Facts, Stream, TunnelView
from mcastd.tools.doctor.finding import Cause, Note, either, here, there
from mcastd.tools.doctor.hops import Found, dropping
from mcastd.tools.doctor.hops.gre import NO_ECHO, Gre

_LISTED: Final = 5
_ERRNOS: Final = frozenset(errno.errorcode.values())


class Pim(Cause):
    """What the hops of PIM can find."""

    WRONG_NEIGHBOR = either(
        "Joins are addressed to the configured neighbour, which is not on the link, so no router processes them",
        "set tunnels.{tunnel}.pim.neighbor to the address that is heard (`mcastd trace` shows it) or remove it; or ask "
        "for the agreed address",
    )
    PIM_NOT_RUNNING = here(
        "the socket of PIM could not be opened", "journalctl -u mcastd says why; CAP_NET_RAW is needed"
    )
    HELLO_REFUSED = either(
        "PIM messages arrive, but none is accepted as a Hello of the neighbour",
        "for neighbor_not_accepted extend pim.accept_neighbors; docs/pim.md has the other reasons",
    )
    NO_NEIGHBOR = either(
        "the other side does not run PIM on its tunnel, its side of the tunnel is down (unanswered keepalives do "
        "that), or PIM (protocol 103) is not permitted on it, or into this host",
        "look for drops of protocol 103 in `nft list ruleset`; ask for `ip pim sparse-mode` on the tunnel, for `show "
        "ip pim interface` and `show interface tunnel`, and whether an access list on it permits pim",
    )
    NO_RP = either(
        "a group that is joined for every source, as (*,G), needs a rendezvous point",
        "ask the other side for the RP of {group} (`show ip pim rp mapping`) and set it in tunnels.{tunnel}.pim.rp; "
        "or set bootstrap = true, or auto_rp = true, if they announce it that way; or join with sources",
    )
    NOT_JOINED = either(
        "the group has not been requested from the upstream neighbour",
        "wait for the neighbour's next Hello (30 s), or set the right one in pim.neighbor",
    )
    SILENT = there(
        "the source does not send, or less often than the doctor observes; or the other side has another RP for the "
        "group, no route to the source, or a router without the tunnel among its outgoing interfaces",
        "ask the other side: is the source sending now, with a sufficient TTL, and datagrams no larger than the `ip "
        "mtu` of their tunnel? Does `show ip mroute {group}` on {upstream} list the tunnel as outgoing, and {where}?",
    )


def neighbor(facts: Facts) -> Found:
    """The upstream PIM neighbour is heard on every tunnel with PIM."""
    for tunnel, status, seen, _ in facts.views():
        if tunnel.pim is None or status.pim is None:
            continue
        pim, name, configured = status.pim, tunnel.name, tunnel.pim.neighbor
        heard = {address for one in pim.neighbors for address in (one.address, *one.secondary_addresses)}
        if configured is not None and heard and str(configured) not in heard:
            saw = f"{', '.join(sorted(heard))} is heard on {name}, the configured neighbour {configured} is not"
            yield Pim.WRONG_NEIGHBOR.found(saw, tunnel=name)
        if configured is not None and not heard and (others := pim.dropped.get("neighbor_not_accepted")):
            saw = f"{others} Hellos of other routers are heard on {name}, none of the configured neighbour {configured}"
            yield Pim.WRONG_NEIGHBOR.found(saw, tunnel=name)
        if pim.running and pim.problem is not None:
            yield Gre.SENDING_REFUSED.found(f"PIM cannot send on {name}: {pim.problem}", tunnel=name)
        if not pim.running and not heard:
            yield Pim.PIM_NOT_RUNNING.found(f"PIM does not run on {name}" + (f": {pim.problem}" if pim.problem else ""))
        if not heard and not _still_expected(facts, tunnel):
            # Errors of this host, counted with them, are left by a link that came and went: those are not messages.
            dropped = {reason: count for reason, count in pim.dropped.items() if reason.upper() not in _ERRNOS}
            if dropped:
                reason = max(dropped, key=lambda one: dropped[one])
                saw = f"PIM messages arrive on {name} and are dropped: {reason} ({dropped[reason]} times)"
                yield Pim.HELLO_REFUSED.found(saw)
            hello = f"no Hello from {configured}" if configured else "no Hello"
            saw = f"{hello} is heard on {name}; {seen.received} packets arrived on it in {facts.seconds:.1f} s"
            saw += dropping(facts)
            yield Pim.NO_NEIGHBOR.found(saw)
        if not pim.neighbors:
            yield Note(text=f"no Hello has been heard on {name} yet; run the doctor again in a few seconds")
        if name in facts.proc.multicast_routers and name not in facts.forwarded_from:
            why = "its Hellos have the address of mcastd's, and the other side takes both for one router that restarts"
            yield Note(text=f"another multicast routing daemon uses {name}: {why}; configure it without {name}")


def _still_expected(facts: Facts, tunnel: Tunnel) -> bool:
    """Whether the daemon still waits for the first Hello, during which it shows a group as joined."""
    return {group.state for view, group in facts.groups() if view.tunnel is tunnel} == {"joined"}


def rendezvous_point(facts: Facts) -> Found:
    """Every (*,G) has a rendezvous point."""
    for (tunnel, *_), group in facts.groups():
        if tunnel.pim is not None and group.source is None and group.rp is None:
            saw = f"{tunnel.name}: {group.problem or f'no rendezvous point for {group.group}'}"
            if tunnel.pim.bootstrap:
                saw += "; no Bootstrap message has announced one"
            yield Pim.NO_RP.found(saw, group=group.group, tunnel=tunnel.name)


def joins(facts: Facts) -> Found:
    """Every group of the configuration and of `mcastd join` has been joined."""
    lost = [group for _, group in facts.groups() if group.state == "not joined"]
    for group in lost[:1]:
        problem = group.problem or "the Join has not been sent yet"
        yield Pim.NOT_JOINED.found(f"{_entry(group, len(lost))} on {group.tunnel}: {problem}")


def packets_on_the_tunnel(facts: Facts) -> Found:
    """Packets of what is joined arrive on the tunnel."""
    silent = [
        (view, group)
        for view, group in facts.groups()
        if not view.seen.arrived.capped
        and not facts.is_new(group)
        and not any(matches(group, stream) for stream in view.seen.arrived.streams)
    ]
    for view, group in silent[:1]:
        yield from _silent(facts, view, group, len(silent))
    if new := sum(facts.is_new(group) for _, group in facts.groups()):
        yield Note(text=f"{new} groups were joined during the observation, and are not judged; run the doctor again")


def _silent(facts: Facts, view: TunnelView, group: GroupStatus, count: int) -> Found:
    tunnel, _, seen, child = view
    saw = f"no packet of {_entry(group, count)} arrived on {tunnel.name} in {facts.seconds:.1f} s"
    echo = NO_ECHO if seen.unanswered else ""
    came_out = facts.passed(child)[0] if child else 0
    if child is not None and not came_out and echo:
        saw += f"; nothing at all came out of CHILD_SA {child.name}{echo}"
        yield Gre.NOTHING_COMES_BACK.found(saw, local=tunnel.local, remote=tunnel.remote)
    others = sorted({str(one.source) for one in seen.arrived.streams if str(one.group) == group.group})
    if others:
        saw += f"; packets from {', '.join(others[:_LISTED])} did"
    if child is not None:
        saw += f"; {came_out} packets came out of CHILD_SA {child.name} meanwhile{echo}"
    if missing := sum(one.missing for one in facts.wire_in.sas.values()):
        saw += f"; {missing} ESP packets did not arrive"
    where = f"is the source {group.source} reachable from it" if group.source else f"is {group.rp} its RP, too"
    if echo:
        where += "; is their tunnel up, and do packets of ours arrive on it (`show crypto ipsec sa`: decaps)"
    yield Pim.SILENT.found(saw, group=group.group, upstream=group.upstream or "their router", where=where)


def matches(group: GroupStatus, stream: Stream) -> bool:
    """Whether a stream belongs to a join."""
    return str(stream.group) == group.group and group.source in (None, str(stream.source))


def _entry(group: GroupStatus, count: int) -> str:
    """A join in the notation of PIM, as the first of ``count``."""
    return f"({group.source or '*'}, {group.group})" + (f" (and {count - 1} more)" if count > 1 else "")
