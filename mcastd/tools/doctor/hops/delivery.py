"""The hop from the tunnel to an application: what arrives for a join is delivered to a socket on this host."""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from mcastd.status import GroupStatus
from mcastd.tools.doctor.facts import Facts, Stream, TunnelView
from mcastd.tools.doctor.finding import Cause, Note, about, either, here
from mcastd.tools.doctor.hops import LOOPBACK, Found, dropping
from mcastd.tools.doctor.hops.pim import entry_of, with_streams
from mcastd.tools.doctor.proc import UdpSocket

_STRICT, _LOOSE = 1, 2  # rp_filter
_ANY: Final = IPv4Address(0)
_SOME: Final = 5  # packets


class Delivery(Cause):
    """What the hop to an application can find."""

    RP_FILTER = here(
        "the kernel drops the packets without a message: tcpdump shows them, applications do not get them",
        'set tunnels.{tunnel}.rp_filter = "loose" and net.ipv4.conf.all.rp_filter to a value other than 1 (the larger '
        'of the two applies), or route the sources through the tunnel: tunnels.{tunnel}.routes = ["groups", '
        '"{source}/32"]',
    )
    MARTIAN_SOURCE = here(
        "the kernel drops packets from outside whose source is one of its own addresses (a martian)",
        "ip address; ip route get {source}: remove the address from this host, or ask for another source",
    )
    WRONG_INTERFACE = here(
        "membership is per interface: the application does not get what arrives on the tunnel",
        'let it join on {tunnel} (address {address}), or route the group there: "groups" in tunnels.{tunnel}.routes',
    )
    NOBODY_JOINED = here(
        "the stream arrives at this host, and no socket has joined the group",
        "start the application, in this network namespace; it must join {group} (IP_ADD_MEMBERSHIP) on {tunnel}; for "
        "more than 20 groups per socket, raise net.ipv4.igmp_max_memberships",
    )
    BOUND_TO_UNICAST = here(
        "a socket that is bound to a unicast address, or to another group, does not get this one",
        "let the application bind to 0.0.0.0 or to {group}, port {port}",
    )
    WRONG_PORT = either(
        "an application has joined the group, but listens on another port",
        "let the application bind to port {port}, or ask the other side which port was meant",
    )
    SOCKET_FULL = here(
        "the application reads more slowly than the stream arrives, or its receive buffer is too small for the bursts",
        "a larger SO_RCVBUF in the application (net.core.rmem_max must allow it), or a faster application; one that is "
        "stopped (SIGSTOP, a debugger) goes on after kill -CONT",
    )
    SOURCE_FILTERED = here(
        "an application that joins with sources gets packets from those sources only",
        "let it join {group} with the source that sends, or without one (IP_ADD_MEMBERSHIP)",
    )
    FRAGMENTS_LOST = either(
        "a datagram that lacks a fragment is lost: some are lost on the path, or this host's firewall drops them",
        "look for drops in `nft list ruleset` (later fragments have no ports); better, ask for smaller datagrams",
    )
    DROPPED_HERE = here(
        "joins and routes are right, but one in twenty or more is lost here: by the firewall (PREROUTING, INPUT)",
        "look for drops in `nft list ruleset` and `iptables -L -v -t raw` (mangle, filter); allow UDP to {group}",
    )
    UDP_CHECKSUM = either(
        "the kernel drops a datagram whose checksum is wrong: the source or something on the path is at fault",
        "ask the other side to check a packet at the source; a checksum of 0 (none) is accepted",
    )
    UDP_MEMORY = here(
        "the memory that all UDP sockets of this host may use together is full, so the kernel drops datagrams",
        "raise net.ipv4.udp_mem, or find the socket with much waiting: ss -uanm",
    )
    NO_SOCKET_TAKES_IT = here(
        "an application has joined, but its socket is bound to another interface (SO_BINDTODEVICE), or connected, or "
        "takes only what comes by the interface that it has joined on (IP_MULTICAST_ALL = 0)",
        "ss -ulnp: let it bind to {tunnel} or no interface, and not connect; with IP_MULTICAST_ALL = 0 it has to join "
        "on {tunnel}, too",
    )


def packets_at_an_application(facts: Facts) -> Found:
    """What arrives is delivered to the applications on this host that have joined it."""
    behind = {one.name for one in facts.config.downstream} if facts.config else set()
    tunnels, joined = {view.tunnel.name for view in facts.views()}, _by_applications(facts)
    for view, group, streams in with_streams(facts):
        yield from about(_reverse_path(facts, view, streams), view.tunnel.name, entry_of(group))
        if group.origins and behind.issuperset(group.origins):
            continue  # it is joined for machines behind this host alone
        interfaces = joined.get(IPv4Address(group.group), frozenset())
        if interfaces & tunnels or behind.isdisjoint(group.origins):
            delivered = _delivered(facts, view, group, streams, interfaces)
            yield from about(delivered, view.tunnel.name, entry_of(group))
    for view in facts.views():
        name = view.tunnel.name
        for prefix in _taken(facts, view):
            led = f"a route of another program leads {prefix} elsewhere than to {name}"
            text = f"{led}, also for joins that name no interface; remove it, or let them name {name}"
            yield Note(text=text, subject=name)


def _delivered(
    facts: Facts, view: TunnelView, group: GroupStatus, streams: dict[Stream, int], interfaces: Collection[str]
) -> Found:
    yield from _membership(facts, view, group, streams, interfaces)
    yield from _socket(facts, group, streams)
    yield from _dropped(facts, view, group, streams, interfaces)


def _by_applications(facts: Facts) -> dict[IPv4Address, frozenset[str]]:
    """On which interfaces applications have joined each group.

    Of a group on several tunnels mcastd has a membership of its own on each, which alone is no application's.
    """
    several = [group for group in facts.config.groups if len(group.tunnels) > 1] if facts.config else []
    ours = {(name, one.group) for one in several for name in one.tunnels if one.group in facts.proc.alone.get(name, ())}
    found: dict[IPv4Address, set[str]] = {}
    for name, groups in facts.proc.memberships.items():
        for group in groups:
            if (name, group) not in ours:
                found.setdefault(group, set()).add(name)
    return {group: frozenset(names) for group, names in found.items()}


def _taken(facts: Facts, view: TunnelView) -> list[str]:
    """The prefixes of the tunnel for which another program has a route; of several tunnels, one has ours."""
    ours = {route.prefix for other in facts.views() for route in other.status.routes if route.state == "up"}
    return [one.prefix for one in view.status.routes if one.state == "taken" and one.prefix not in ours]


def _reverse_path(facts: Facts, view: TunnelView, streams: dict[Stream, int]) -> Found:
    """rp_filter drops what arrives on another interface than that of the route back to its source (RFC 3704)."""
    tunnel, rp_filter = view.tunnel, facts.proc.rp_filter.get(view.tunnel.name, 0)
    for source in sorted({stream.source for stream in streams}):
        way = view.seen.route_to.get(source)
        if way == LOOPBACK:
            saw = f"packets from {source} arrive on {tunnel.name}, and {source} is an address of this host"
            yield Delivery.MARTIAN_SOURCE.found(saw, source=source)
        if (rp_filter == _STRICT and way != tunnel.name) or (rp_filter == _LOOSE and way is None):
            mode = "strict (1)" if rp_filter == _STRICT else "loose (2)"
            route = f"the route to {source} is by {way}" if way else f"there is no route to {source}"
            saw = f"packets from {source} arrive on {tunnel.name}, where rp_filter is {mode}, and {route}"
            yield Delivery.RP_FILTER.found(saw, tunnel=tunnel.name, source=source)


def _membership(
    facts: Facts, view: TunnelView, group: GroupStatus, streams: dict[Stream, int], joined_on: Collection[str]
) -> Found:
    name, address = view.tunnel.name, IPv4Address(group.group)
    # A membership of ours on this tunnel makes the kernel deliver it to who has joined on another one.
    is_member = address in facts.proc.memberships.get(name, ()) and joined_on
    if is_member or not streams:
        return
    arrived = f"{sum(streams.values())} packets of {group.group} arrived on {name}"
    if joined_on:
        where = f"{', '.join(sorted(joined_on))}{_led_away(facts, view, address)}"
        saw = f"{arrived}, and an application has joined it on {where}"
        yield Delivery.WRONG_INTERFACE.found(saw, tunnel=name, address=view.tunnel.address.ip)
    yield Delivery.NOBODY_JOINED.found(
        f"{arrived}, and no application on this host has joined it", tunnel=name, group=address
    )


def _led_away(facts: Facts, view: TunnelView, group: IPv4Address) -> str:
    """A route that leads the group, and so joins that name no interface, away from the tunnel; ends a sentence."""
    way = view.seen.route_to.get(group)
    for prefix in _taken(facts, view):
        if group in IPv4Network(prefix):
            return f"; a route of another program leads {prefix} {f'to {way}' if way else 'elsewhere'}"
    return f"; the route to it leads to {way}" if way not in (None, view.tunnel.name) else ""


def _socket(facts: Facts, group: GroupStatus, streams: dict[Stream, int]) -> Found:
    """A socket has the port of the stream and the group's address or any, and room in its receive buffer."""
    for port in sorted({stream.port for stream in streams}):
        on_port = [one for one in facts.proc.sockets if one.port == port]
        remotes = {None, *(stream.source for stream in streams)}
        good = [one for one in on_port if one.remote in remotes and one.address in (_ANY, IPv4Address(group.group))]
        connected = ", ".join(sorted({str(one.remote) for one in on_port if one.remote is not None}))
        arrives = f"{group.group} arrives for UDP port {port}"
        if not good and connected:
            saw = f"{arrives}, whose sockets are connected to {connected}, and get only what comes from there"
            yield Delivery.NO_SOCKET_TAKES_IT.found(saw, tunnel=group.tunnel)
        if not good and on_port:
            bound = ", ".join(sorted({str(one.address) for one in on_port}))
            yield Delivery.BOUND_TO_UNICAST.found(
                f"{arrives}, whose sockets are bound to {bound}", group=group.group, port=port
            )
        if not good:
            yield Delivery.WRONG_PORT.found(f"{arrives}, where no application listens", port=port)
        for one in good:
            full = f"was full for {one.drops} packets in {facts.seconds:.1f} s" if one.drops else "is not read"
            if one.drops > 0 or (one.waiting and one.inode in facts.stopped):
                saw = (
                    f"a socket of {group.group} on port {port}{_of(facts, one)} {full}, {one.waiting} bytes wait in it"
                )
                yield Delivery.SOCKET_FULL.found(saw)


def _of(facts: Facts, one: UdpSocket) -> str:
    """Whose socket it is, as far as that is known."""
    stopped = ", which is stopped," if one.inode in facts.stopped else ""
    return f" of {facts.holders[one.inode]}{stopped}" if one.inode in facts.holders else ""


def _dropped(
    facts: Facts, view: TunnelView, group: GroupStatus, streams: dict[Stream, int], joined_on: Collection[str]
) -> Found:
    """Joins, routes and sockets are right, and most packets are delivered; otherwise this host drops them."""
    name, counters = view.tunnel.name, facts.proc.counters
    names: dict[str, object] = {"tunnel": name, "group": group.group}
    for stream, count in ((one, count) for one, count in streams.items() if count >= _SOME):
        arrived = f"{count} packets of {group.group} from {stream.source} arrived on {name}"
        delivered = view.seen.delivered.get(stream, 0)
        if view.seen.lacks(count, delivered):
            if counters.get("TcpExt.IPReversePathFilter", 0) >= count // 2:
                saw = f"{arrived}, and the kernel counted as many that failed the reverse path filter"
                yield Delivery.RP_FILTER.found(saw, source=stream.source, **names)
            saw = f"{arrived}, and {delivered} of them were delivered{dropping(facts, count - delivered)}"
            sources = facts.proc.source_filters.get((name, stream.group), frozenset())
            if sources and stream.source not in sources:
                listed = ", ".join(map(str, sorted(sources)[:_SOME]))
                yield Delivery.SOURCE_FILTERED.found(f"{saw}; the application has joined it for {listed} only", **names)
            if counters.get("Ip.ReasmReqds", 0) and not counters.get("Ip.ReasmOKs", 0):
                yield Delivery.FRAGMENTS_LOST.found(
                    f"{saw}, since they arrive in fragments, of which some are missing", **names
                )
            yield Delivery.DROPPED_HERE.found(saw, **names)
        if (lost := counters.get("Udp.MemErrors", 0)) >= count // 2:
            yield Delivery.UDP_MEMORY.found(f"{arrived}, and the kernel counted {lost} that UDP had no memory for")
        if (wrong := counters.get("Udp.InCsumErrors", 0)) >= count // 2:
            yield Delivery.UDP_CHECKSUM.found(f"{arrived}, and the kernel counted {wrong} wrong UDP checksums")
    everything = sum(sum(seen.arrived.streams.values()) for seen in facts.tunnels.values())
    if everything >= _SOME and (ignored := counters.get("Udp.IgnoredMulti", 0)) >= everything * 3 // 4:
        saw = f"{group.group} is delivered, and the kernel counted {ignored} packets that no socket accepts"
        if name not in joined_on:
            where = ", ".join(sorted(joined_on))
            saw += f"; applications have joined it on {where}, and with IP_MULTICAST_ALL = 0 get nothing of {name}"
        yield Delivery.NO_SOCKET_TAKES_IT.found(saw, **names)
