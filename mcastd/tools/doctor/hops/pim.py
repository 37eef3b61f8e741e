"""The hops of PIM: neighbour, rendezvous point, joins, packets on the tunnel."""

import errno
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Final

from msgspec.structs import replace

from mcastd.config.model import Tunnel
from mcastd.status import GroupStatus, TunnelStatus
from mcastd.tools.doctor import firewall
from mcastd.tools.doctor.facts import Facts, Stream, TunnelView
from mcastd.tools.doctor.finding import Cause, Note, Side, Silent, about, either, here, there
from mcastd.tools.doctor.hops import INCOMING, OUTGOING, Found, dropping
from mcastd.tools.doctor.hops.gre import NO_ECHO, Gre

_LISTED: Final = 5
_PIM: Final = ("pim", "103")  # as rules name its protocol
_ALL_ROUTERS: Final = IPv4Address("224.0.0.13")  # to which PIM is sent (RFC 7761, section 4.3.1)
_ERRNOS: Final = frozenset(errno.errorcode.values())
_FRESH: Final = (
    75.0  # seconds left of a Holdtime of 105, with which the next Hello, 30 s after the last, is not overdue
)


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
    PIM_DROPPED_HERE = here(
        "PIM of the neighbour arrives on the tunnel, and the firewall of this host drops it (protocol 103): without "
        "Hellos the neighbour is lost when its Holdtime ends",
        "allow protocol 103 on {tunnel} in the firewall of this host",
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
    for view in facts.views():
        yield from about(_neighbor(facts, view), view.tunnel.name)


def _neighbor(facts: Facts, view: TunnelView) -> Found:
    tunnel, status, seen, _ = view
    if tunnel.pim is None or status.pim is None:
        return
    pim, name, configured = status.pim, tunnel.name, tunnel.pim.neighbor
    heard = {address for one in pim.neighbors for address in (one.address, *one.secondary_addresses)}
    if configured is not None and heard and str(configured) not in heard:
        saw = f"{', '.join(sorted(heard))} is heard on {name}, the configured neighbour {configured} is not"
        yield Pim.WRONG_NEIGHBOR.found(saw, tunnel=name)
    if configured is not None and not heard and (others := pim.dropped.get("neighbor_not_accepted")):
        saw = f"{others} Hellos of other routers are heard on {name}, none of the configured neighbour {configured}"
        yield Pim.WRONG_NEIGHBOR.found(saw, tunnel=name)
    if pim.running and pim.problem is not None:
        rule = firewall.naming(facts.rules, OUTGOING, _PIM, _ALL_ROUTERS, name)
        why = f"; {firewall.described(rule)} drops PIM" if rule is not None else ""
        yield Gre.SENDING_REFUSED.found(f"PIM cannot send on {name}: {pim.problem}{why}", tunnel=name)
    if not pim.running and not heard:
        yield Pim.PIM_NOT_RUNNING.found(f"PIM does not run on {name}" + (f": {pim.problem}" if pim.problem else ""))
    yield from _dropped_here(facts, view)
    if not heard and not _still_expected(facts, tunnel):
        # Errors of this host, counted with them, are left by a link that came and went: those are not messages.
        dropped = {reason: count for reason, count in pim.dropped.items() if reason.upper() not in _ERRNOS}
        if dropped:
            reason = max(dropped, key=lambda one: dropped[one])
            saw = f"PIM messages arrive on {name} and are dropped: {reason} ({dropped[reason]} times)"
            yield Pim.HELLO_REFUSED.found(saw)
        hello = f"no Hello from {configured}" if configured else "no Hello"
        saw = f"{hello} is heard on {name}; {seen.received} packets arrived on it in {facts.seconds:.1f} s"
        saw += dropping(facts, 1)
        yield Pim.NO_NEIGHBOR.found(saw)
    if not pim.neighbors:
        yield Note(text=f"no Hello has been heard on {name} yet; run the doctor again in a few seconds")
    if name in facts.proc.multicast_routers and name not in facts.forwarded_from:
        why = "its Hellos have the address of mcastd's, and the other side takes both for one router that restarts"
        yield Note(text=f"another multicast routing daemon uses {name}: {why}; configure it without {name}")


def _dropped_here(facts: Facts, view: TunnelView) -> Found:
    """PIM that arrives and is not delivered; or a Hello that is late while a rule drops PIM."""
    name = view.tunnel.name
    arrived = {one: count for one, count in facts.control.arrived.items() if one[0::2] == ("pim", name)}
    if arrived and not any(facts.control.of("delivered", "pim", one.address) for one in arrived):
        count = sum(arrived.values())
        saw = f"{count} PIM messages arrived on {name} in {facts.seconds:.1f} s, and none was delivered"
        yield Pim.PIM_DROPPED_HERE.found(saw + dropping(facts, count), tunnel=name)
    late = facts.is_reported("hello_overdue", "pim_neighbor_missing", subject=name)
    late = late or view.status.pim is None or not view.status.pim.neighbors
    rule = firewall.naming(facts.rules, INCOMING, _PIM, view.tunnel.address.ip, name)
    if rule is not None and (late or rule.total):
        counted = f", {rule.total} packets so far" if rule.total else ""
        saw = f"{firewall.described(rule)} drops PIM{counted}"
        saw = f"no Hello is heard on {name} in time, and {saw}" if late else saw
        yield Pim.PIM_DROPPED_HERE.found(saw, tunnel=name)
    elif rule is not None:
        drops = f"{firewall.described(rule)} drops PIM, if no rule before it accepts that"
        yield Note(text=f"{drops}: then the neighbour on {name} is lost when its Holdtime ends")


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
            found = Pim.NO_RP.found(saw, group=group.group, tunnel=tunnel.name)
            yield found.on(tunnel.name, entry_of(group))


def joins(facts: Facts) -> Found:
    """Every group of the configuration and of `mcastd join` has been joined."""
    for _, group in facts.groups():
        if group.state == "not joined":
            saw = f"{entry_of(group)} on {group.tunnel}: {group.problem or 'the Join has not been sent yet'}"
            yield Pim.NOT_JOINED.found(saw).on(group.tunnel, entry_of(group))


def packets_on_the_tunnel(facts: Facts) -> Found:
    """Packets of what is joined arrive on the tunnel."""
    for view, group, streams in with_streams(facts):
        if not (streams or view.seen.arrived.capped or facts.is_new(group)):
            yield from _silent(facts, view, group)
    if new := sum(facts.is_new(group) for _, group in facts.groups()):
        yield Note(text=f"{new} groups were joined during the observation, and are not judged; run the doctor again")


def with_streams(facts: Facts) -> Iterator[tuple[TunnelView, GroupStatus, dict[Stream, int]]]:
    """The joins, each with the packets that arrived of its streams."""
    for view in facts.views():
        by_group: dict[str, dict[Stream, int]] = {}
        for stream, count in view.seen.arrived.streams.items():
            by_group.setdefault(str(stream.group), {})[stream] = count
        for group in facts.joins(view.tunnel.name):
            streams = by_group.get(group.group, {})
            yield view, group, {one: count for one, count in streams.items() if matches(group, one)}


def _silent(facts: Facts, view: TunnelView, group: GroupStatus) -> Found:
    tunnel, status, seen, child = view
    saw = f"no packet of {entry_of(group)} arrived on {tunnel.name} in {facts.seconds:.1f} s"
    echo = NO_ECHO if seen.unanswered else ""
    came_out = facts.passed(child)[0] if child else 0
    is_late, life = _is_late(facts, view, group), sign_of_life(status)
    if child is not None and not came_out and echo and (is_late or life is None):
        saw += f"; nothing at all came out of CHILD_SA {child.name}{echo}"
        yield Gre.NOTHING_COMES_BACK.found(saw, local=tunnel.local, remote=tunnel.remote).on(tunnel.name)
        return
    if is_late and echo and seen.received and not (seen.arrived.streams or is_answered(status)):
        saw += f"; {seen.received} other packets did{echo}"
        yield Gre.ONE_WAY.found(saw).on(tunnel.name)
        return
    others = sorted({str(one.source) for one in seen.arrived.streams if str(one.group) == group.group})
    if others:
        saw += f"; packets from {', '.join(others[:_LISTED])} did"
    if child is not None:
        saw += f"; {came_out} packets came out of CHILD_SA {child.name} meanwhile{echo}"
        saw += f"; {life}" if life and echo and not came_out else ""
    own = int(child.spi_in, 16) if child is not None and child.spi_in else None
    if missing := sum(one.missing for spi, one in facts.wire_in.sas.items() if spi == own):
        saw += f"; {missing} ESP packets did not arrive"
    where = f"is the source {group.source} reachable from it" if group.source else f"is {group.rp} its RP, too"
    # An RP of the file may be a wrong one; what the other side has announced is not.
    ours = tunnel.pim is not None and group.rp in {str(one.address) for one in tunnel.pim.rp}
    where += f" (if not, correct tunnels.{tunnel.name}.pim.rp)" if ours and not group.source else ""
    if echo:
        where += "; is their tunnel up, and do packets of ours arrive on it (`show crypto ipsec sa`: decaps)"
    found = Pim.SILENT.found(saw, group=group.group, upstream=group.upstream or "their router", where=where)
    if is_late:
        found = replace(found, side=Side.EITHER) if ours and not group.source else found
        yield found.on(tunnel.name, entry_of(group))
    else:
        saw += _hours(facts, view, group)
        yield Silent(subject=tunnel.name, groups=(entry_of(group),), saw=saw, ask=found.change)


def _hours(facts: Facts, view: TunnelView, group: GroupStatus) -> str:
    """When a group is expected, by its [[groups]], its [[feeds]] or [streams], to end a sentence."""
    if facts.config is None or facts.moment is None:
        return ""
    address, moment = IPv4Address(group.group), facts.moment
    name = view.tunnel.name
    joined = [one.hours for one in facts.config.groups if one.group == address and name in one.tunnels]
    feeds = [one.hours for one in facts.config.feeds if any(address in groups for groups, _ in one.places)]
    hours = next(filter(None, (*joined, *feeds)), facts.config.streams.hours)
    if not hours:
        return ""
    now = "now" if any(one.contain(moment) for one in hours) else "not now"
    return f"; it is expected {', '.join(map(str, hours))}, {now}"


def _is_late(facts: Facts, view: TunnelView, group: GroupStatus) -> bool:
    """Whether the daemon, which knows hours, limits, and what arrived before, reports that a group is silent."""
    name, config = view.tunnel.name, facts.config
    child = view.tunnel.child or ""
    if facts.is_reported("all_silent", "nothing_ever_arrived", subject=name):
        return True
    if facts.is_reported("child_sa_silent", subject=child) or group.arrival == "arriving" or config is None:
        return facts.is_reported("child_sa_silent", subject=child)
    address = IPv4Address(group.group)
    limited = any(one.group == address and name in one.tunnels and one.max_silence for one in config.groups)
    feeds = (one.label for one in config.feeds if any(address in groups for groups, _ in one.places))
    return (limited and facts.is_reported("group_silent", subject=name)) or any(
        facts.is_reported("feed_silent", subject=feed) for feed in feeds
    )


def sign_of_life(status: TunnelStatus) -> str | None:
    """When the far end of a tunnel was heard last, if that is so lately that it need not have been heard since."""
    alive, pim = status.keepalive, status.pim
    if alive is not None and not alive.stopped and alive.path != "dead" and alive.last_age is not None:
        return f"the last keepalive came {alive.last_age:.0f} s ago"
    heard = [one for one in (pim.neighbors if pim else ()) if not one.static and (one.expires_in or 0.0) > _FRESH]
    return (
        f"{heard[0].address} is a PIM neighbour for {heard[0].uptime:.0f} s, and its Hello not due" if heard else None
    )


def is_answered(status: TunnelStatus) -> bool:
    """Whether the far end answers our keepalives, so that what we send gets there."""
    return status.keepalive is not None and status.keepalive.path == "alive"


def matches(group: GroupStatus, stream: Stream) -> bool:
    """Whether a stream belongs to a join."""
    return str(stream.group) == group.group and group.source in (None, str(stream.source))


def entry_of(group: GroupStatus) -> str:
    """A join in the notation of PIM."""
    return f"({group.source or '*'}, {group.group})"
