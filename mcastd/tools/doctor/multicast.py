"""The hops of multicast: PIM neighbour, RP, joins, packets on the tunnel, packets at an application.

Each function is one hop: facts in, the finding or None out. A tunnel's groups are looked at in the order of the file.
"""

import errno
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from mcastd.config.model import Tunnel
from mcastd.status import GroupStatus
from mcastd.tools.doctor.advice import found
from mcastd.tools.doctor.facts import Facts, Stream, TunnelFacts
from mcastd.tools.doctor.finding import Finding
from mcastd.tools.doctor.path import no_echo
from mcastd.tools.doctor.wire import LOOPBACK

_STRICT, _LOOSE = 1, 2
_ANY: Final = IPv4Address(0)
_SOME: Final = 5
_AT = "packets_at_an_application"
_ERRNOS: Final = frozenset(errno.errorcode.values())


def neighbor(facts: Facts) -> Finding | None:
    """The upstream PIM neighbour is heard on every tunnel with PIM."""
    for tunnel in facts.configured():
        told = facts.told(tunnel.name)
        if tunnel.pim is None or told is None or told.pim is None:
            continue
        pim, name, wanted = told.pim, tunnel.name, tunnel.pim.neighbor
        heard = {address for one in pim.neighbors for address in (one.address, *one.secondary_addresses)}
        if wanted is not None and heard and str(wanted) not in heard:
            saw = f"{', '.join(sorted(heard))} is heard on {name}, the configured neighbour {wanted} is not"
            return found("neighbor", "wrong_neighbor", saw, tunnel=name)
        if pim.running and pim.problem is not None:
            saw = f"PIM cannot send on {name}: {pim.problem}"
            return found("neighbor", "sending_refused", saw, tunnel=name)
        if heard:
            continue
        if not pim.running:
            why = f": {pim.problem}" if pim.problem else ""
            return found("neighbor", "pim_not_running", f"PIM does not run on {name}{why}")
        if _still_expected(facts, tunnel):
            continue
        # Errors of this host are counted there, too: a link that came and went leaves some, and they are no message.
        dropped = {reason: count for reason, count in pim.dropped.items() if reason.upper() not in _ERRNOS}
        if dropped:
            reason = max(dropped, key=lambda one: dropped[one])
            saw = f"PIM messages come in on {name} and are dropped: {reason} ({dropped[reason]} times)"
            return found("neighbor", "hello_refused", saw)
        packets = facts.tunnels.get(name, TunnelFacts()).received.get("rx_packets", 0)
        who = f"no Hello from {wanted}" if wanted else "no Hello from anybody"
        saw = f"{who} is heard on {name}; {packets} packets came in on it in {facts.seconds:.1f} s"
        return found("neighbor", "no_neighbor", saw)
    return None


def _still_expected(facts: Facts, tunnel: Tunnel) -> bool:
    """Whether the daemon still waits for the first Hello, which counts a join as joined meanwhile."""
    groups = facts.groups(tunnel.name)
    return bool(groups) and all(group.state == "joined" for group in groups)


def rendezvous_point(facts: Facts) -> Finding | None:
    """Every (*,G) has a rendezvous point."""
    for tunnel, group in _groups(facts):
        if group.source is None and group.rp is None:
            saw = f"{tunnel.name}: {group.problem or f'no rendezvous point for {group.group}'}"
            if tunnel.pim is not None and tunnel.pim.bootstrap:
                saw += "; no Bootstrap message has named one"
            return found("rp", "no_rp", saw, group=group.group, tunnel=tunnel.name)
    return None


def joins(facts: Facts) -> Finding | None:
    """Every group that is wanted has been joined."""
    lost = [(tunnel, group) for tunnel, group in _groups(facts) if group.state != "joined"]
    if not lost:
        return None
    tunnel, group = lost[0]
    problem = group.problem or "the Join has not been sent yet"
    return found("joins", "not_joined", f"{_entry(group)}{_more(len(lost))} on {tunnel.name}: {problem}")


def packets_on_the_tunnel(facts: Facts) -> Finding | None:
    """What is joined arrives on the tunnel."""
    heard = {name: seen.heard for name, seen in facts.tunnels.items()}
    silent = [
        (tunnel, group)
        for tunnel, group in _groups(facts)
        if not heard[tunnel.name].capped
        and not is_new(facts, group)
        and not any(_matches(group, stream) for stream in heard[tunnel.name].streams)
    ]
    if not silent:
        return None
    tunnel, group = silent[0]
    seen = facts.tunnels[tunnel.name]
    saw = f"no packet of {_entry(group)}{_more(len(silent))} came in on {tunnel.name} in {facts.seconds:.1f} s"
    if tunnel.child is not None and not facts.risen(tunnel.child)[0] and no_echo(seen):
        saw += f"; nothing at all came out of child {tunnel.child}{no_echo(seen)}"
        return found("packets_on_the_tunnel", "nothing_comes_back", saw, local=tunnel.local, remote=tunnel.remote)
    others = sorted({str(one.source) for one in heard[tunnel.name].streams if str(one.group) == group.group})
    if others:
        saw += f"; from {', '.join(others[:_SOME])} there are some"
    if tunnel.child is not None:
        saw += f"; {facts.risen(tunnel.child)[0]} packets came out of child {tunnel.child} meanwhile{no_echo(seen)}"
    if missing := sum(one.missing for one in facts.wire_in.sas.values()):
        saw += f"; {missing} ESP packets did not come"
    where = (
        f"is the source {group.source} reachable there" if group.source else f"is {group.rp} the RP of it there, too"
    )
    if no_echo(seen):
        where += "; is their tunnel up, and does anything of ours arrive there (`show crypto ipsec sa`: decaps)"
    words = {"group": group.group, "upstream": group.upstream or "their router", "where": where}
    return found("packets_on_the_tunnel", "silent", saw, **words)


def is_new(facts: Facts, group: GroupStatus) -> bool:
    """Whether a group was only joined during the look."""
    return group.uptime is not None and group.uptime < facts.seconds


def packets_at_an_application(facts: Facts) -> Finding | None:
    """What arrives reaches who has joined it on this host."""
    for tunnel, group in _groups(facts):
        heard = facts.tunnels[tunnel.name].heard.streams
        streams = {stream: count for stream, count in heard.items() if _matches(group, stream)}
        finding = (
            _reverse_path(facts, tunnel, streams)
            or _membership(facts, tunnel, group, streams)
            or _socket(facts, group, streams)
            or _dropped(facts, tunnel, group, streams)
        )
        if finding is not None:
            return finding
    return None


def _reverse_path(facts: Facts, tunnel: Tunnel, streams: dict[Stream, int]) -> Finding | None:
    """rp_filter drops what comes in by another way than the route back to its source (RFC 3704)."""
    seen = facts.tunnels[tunnel.name]
    for source in sorted({stream.source for stream in streams}):
        way = seen.way_to.get(source)
        if way == LOOPBACK:
            saw = f"packets from {source} come in on {tunnel.name}, and {source} is an address of this host"
            return found(_AT, "martian_source", saw, source=source)
        if (seen.rp_filter == _STRICT and way != tunnel.name) or (seen.rp_filter == _LOOSE and way is None):
            mode = "strict (1)" if seen.rp_filter == _STRICT else "loose (2)"
            route = f"the route to {source} is by {way}" if way else f"there is no route to {source}"
            saw = f"packets from {source} come in on {tunnel.name}, where rp_filter is {mode}, and {route}"
            return found(_AT, "rp_filter", saw, tunnel=tunnel.name, source=source)
    return None


def _membership(facts: Facts, tunnel: Tunnel, group: GroupStatus, streams: dict[Stream, int]) -> Finding | None:
    joined_on = sorted(name for name, found_ in facts.memberships.items() if IPv4Address(group.group) in found_)
    if tunnel.name in joined_on or not streams:
        return None
    came = f"{sum(streams.values())} packets of {group.group} came in on {tunnel.name}"
    if joined_on:
        saw = f"{came}, and an application has joined it on {', '.join(joined_on)}{_led_away(facts, tunnel, group)}"
        return found(_AT, "wrong_interface", saw, tunnel=tunnel.name, address=tunnel.address.ip)
    saw = f"{came}, and no application on this host has joined it"
    return found(_AT, "nobody_joined", saw, tunnel=tunnel.name, group=group.group)


def _led_away(facts: Facts, tunnel: Tunnel, group: GroupStatus) -> str:
    """Words for a route that leads the group, and so who joins without naming an interface, away from the tunnel."""
    address, told = IPv4Address(group.group), facts.told(tunnel.name)
    way = facts.tunnels[tunnel.name].way_to.get(address)
    taken = [route.prefix for route in (told.routes if told else ()) if route.state == "taken"]
    prefix = next((prefix for prefix in taken if address in IPv4Network(prefix)), None)
    if prefix is not None:
        return f"; a route that is not mcastd's leads {prefix} {f'to {way}' if way else 'elsewhere'}"
    return f"; the route to it leads to {way}" if way not in (None, tunnel.name) else ""


def _socket(facts: Facts, group: GroupStatus, streams: dict[Stream, int]) -> Finding | None:
    """There is a socket for the stream: its port, any address or the group's, and not full."""
    able = (_ANY, IPv4Address(group.group))
    for port in sorted({stream.port for stream in streams}):
        on_port = [sock for sock in facts.sockets if sock.port == port]
        good = [sock for sock in on_port if sock.address in able]
        words = {"group": group.group, "port": port}
        if not good and on_port:
            bound = ", ".join(sorted({str(sock.address) for sock in on_port}))
            saw = f"{group.group} comes in for UDP port {port}, whose sockets are bound to {bound}"
            return found(_AT, "bound_to_unicast", saw, **words)
        if not good:
            saw = f"{group.group} comes in for UDP port {port}, where no application listens"
            return found(_AT, "wrong_port", saw, **words)
        full = next((sock for sock in good if facts.socket_drops.get(sock.inode, 0) > 0), None)
        if full is not None:
            drops = f"was full for {facts.socket_drops[full.inode]} packets in {facts.seconds:.1f} s"
            saw = f"a socket of {group.group} on port {port} {drops}, {full.waiting} bytes wait in it"
            return found(_AT, "socket_full", saw)
    return None


def _dropped(facts: Facts, tunnel: Tunnel, group: GroupStatus, streams: dict[Stream, int]) -> Finding | None:
    """All is as it should be, and yet next to nothing is delivered: this host drops it."""
    delivered = facts.tunnels[tunnel.name].delivered
    words = {"tunnel": tunnel.name, "group": group.group}
    for stream, count in streams.items():
        came = f"{count} packets of {group.group} from {stream.source} came in on {tunnel.name}"
        if count >= _SOME and delivered.get(stream, 0) < count * 3 // 4:
            if facts.counters.get("TcpExt.IPReversePathFilter", 0) >= count // 2:
                saw = f"{came}, and the kernel counted as many that failed the reverse path filter"
                return found(_AT, "rp_filter", saw, tunnel=tunnel.name, source=stream.source)
            saw = f"{came}, and {delivered.get(stream, 0)} of them were delivered to anybody"
            wanted = facts.source_filters.get((tunnel.name, stream.group), frozenset())
            if wanted and stream.source not in wanted:
                saw += f"; who has joined it wants {', '.join(map(str, sorted(wanted)[:_SOME]))} only"
                return found(_AT, "source_filtered", saw, group=group.group)
            if facts.counters.get("Ip.ReasmReqds", 0) and not facts.counters.get("Ip.ReasmOKs", 0):
                saw += ", since they come in fragments, of which some are missing"
                return found(_AT, "fragments_lost", saw, **words)
            return found(_AT, "dropped_here", saw, **words)
        if count >= _SOME and (bad := facts.counters.get("Udp.InCsumErrors", 0)) >= count // 2:
            return found(_AT, "udp_checksum", f"{came}, and the kernel counted {bad} wrong UDP checksums", **words)
    everything = sum(sum(seen.heard.streams.values()) for seen in facts.tunnels.values())
    if everything >= _SOME and (left := facts.counters.get("Udp.IgnoredMulti", 0)) >= everything * 3 // 4:
        saw = f"{group.group} is delivered, and the kernel counted {left} packets that no socket takes"
        return found(_AT, "no_socket_takes_it", saw, tunnel=tunnel.name)
    return None


def _matches(group: GroupStatus, stream: Stream) -> bool:
    return str(stream.group) == group.group and group.source in (None, str(stream.source))


def _groups(facts: Facts) -> Iterator[tuple[Tunnel, GroupStatus]]:
    for tunnel in facts.configured():
        for group in facts.groups(tunnel.name):
            yield tunnel, group


def _entry(group: GroupStatus) -> str:
    return f"({group.source or '*'}, {group.group})"


def _more(count: int) -> str:
    return f" (and {count - 1} more)" if count > 1 else ""
