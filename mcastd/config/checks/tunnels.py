"""Rules for ``[tunnels.NAME]``: its ends, its addresses, its child, its MTU and its routes."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import combinations, product
from typing import Final

from msgspec.structs import fields

from mcastd.config.checks.children import Carrier, carriers
from mcastd.config.checks.names import interface_name
from mcastd.config.line_numbers import KeyPath
from mcastd.config.model import Config, Tunnel
from mcastd.config.mtu import PATH_MTU, USERSPACE_LINK_MTU, gre_header, largest_mtu
from mcastd.config.proposals import esp_of_proposal
from mcastd.config.report import Report, Table, dotted, shown
from mcastd.config.value_types import MULTICAST
from mcastd.net.gre import GreOptions

_RESERVED_TABLES: Final = {220: "charon's", 253: "the default", 254: "the main", 255: "the local"}


def check(config: Config, report: Report) -> None:
    """Apply every rule to every tunnel, and to every two of them."""
    children: dict[str, Carrier] = {}
    for one in carriers(config, report):
        children.setdefault(one.child.name, one)
    userspace = config.daemon.datapath == "userspace"
    for tunnel in config.tunnels:
        at, carrier = report.table("tunnels", tunnel.name), children.get(tunnel.child or "")
        interface_name(tunnel.name, at)
        _ends_differ(tunnel, at)
        _child_exists(tunnel, at, children)
        _own_addresses_differ(tunnel, at)
        _peer_address(tunnel, at)
        _networks_avoid_the_ends(tunnel, at, carrier)
        _mtu_fits(tunnel, at, carrier, userspace=userspace)
        _route_table(tunnel, at)
        _routes_avoid_the_ends(tunnel, at, carrier)
        _strict_filter_has_routes(tunnel, at)
        if tunnel.encapsulation == "none":
            _without_gre(tunnel, at, carrier)
        elif carrier is not None:
            _ends_inside_selectors(tunnel, at, carrier)
        if carrier is not None and userspace:
            _mode_in_userspace(tunnel, at, carrier)
    _ends_and_keys_differ(config.tunnels, report)
    _interfaces(config, report)
    for first, second in combinations(config.tunnels, 2):
        _networks_differ(first, second, report)
        _xfrm_interfaces_differ(first, second, report)


def _ends_differ(tunnel: Tunnel, at: Table) -> None:
    if tunnel.local == tunnel.remote:
        at.refuse("remote", f"it is the same as local, {tunnel.local}; allowed: the other side's GRE endpoint", "local")


def _child_exists(tunnel: Tunnel, at: Table, children: Mapping[str, Carrier]) -> None:
    if tunnel.child is None:
        at.note((), "it has no child: GRE is not encrypted", "child")
    elif tunnel.child not in children:
        names = ", ".join(sorted(children)) or "none is defined"
        at.refuse("child", f"there is no child {shown(tunnel.child)}; allowed: {names}")


def _own_addresses_differ(tunnel: Tunnel, at: Table) -> None:
    taken: dict[IPv4Address, KeyPath] = {tunnel.address.ip: at["address"]}
    for place, address in enumerate(tunnel.addresses):
        where: KeyPath = ("addresses", place)
        first = taken.setdefault(address.ip, at[where])
        if first != at[where]:
            text = f"{address.ip} is {dotted(first)} already; allowed: further addresses, each once"
            at.refuse(where, text, first)


def _peer_address(tunnel: Tunnel, at: Table) -> None:
    peer, network = tunnel.peer_address, tunnel.address.network
    if peer is None:
        return
    if peer in (own.ip for own in tunnel.own_addresses):
        text = f"{peer} is our own address; allowed: the other side's"
        at.refuse("peer_address", text, "address", "addresses")
    elif network.prefixlen < 32 and peer not in network:
        at.refuse("peer_address", f"{peer} is outside {network}; allowed: an address in it", "address")
    elif network.prefixlen < 31 and peer in (network.network_address, network.broadcast_address):
        text = f"{peer} is the network or broadcast address of {network}; allowed: an address between"
        at.refuse("peer_address", text, "address")


def _networks_avoid_the_ends(tunnel: Tunnel, at: Table, carrier: Carrier | None) -> None:
    """What carries the tunnel would be routed into it."""
    ends: list[tuple[str, IPv4Address, KeyPath]] = [("remote", tunnel.remote, at["remote"])]
    gateways = () if carrier is None else carrier.gateways
    ends += [(f"remote of peer {peer.name}", peer.remote, ("peers", peer.name, "remote")) for peer in gateways]
    keys: list[KeyPath] = [("address",), *(("addresses", place) for place in range(len(tunnel.addresses)))]
    for key, own in zip(keys, tunnel.own_addresses, strict=True):
        for what, end, end_at in ends:
            if own.network.prefixlen < 32 and end in own.network:
                text = f"{own.network} contains {what}, {end}, to which the packets of the tunnel itself go"
                at.refuse(key, f"{text}; allowed: another network", end_at)
        for peer in {one.local: one for one in reversed(gateways)}.values():  # most have the same
            local: KeyPath = ("peers", peer.name, "local")
            if own.ip == peer.local:
                text = f"{own.ip} is local of peer {peer.name} already; allowed: an address of the tunnel's own"
                at.refuse(key, text, local)
            elif own.network.prefixlen < 32 and peer.local in own.network:
                text = f"{own.network} contains local of peer {peer.name}, {peer.local}, whose own network it may take"
                at.note(key, text, local)


def _mtu_fits(tunnel: Tunnel, at: Table, carrier: Carrier | None, *, userspace: bool) -> None:
    if tunnel.mtu is None or (tunnel.child is not None and carrier is None):
        return
    gre, involved = gre_header(tunnel), at.keys("child", "encapsulation", *GreOptions.__struct_fields__)
    if carrier is None:
        largest, why = largest_mtu(PATH_MTU, None, gre=gre), "GRE without IPsec"
    else:
        child = carrier.child
        involved += carrier.at.keys("proposals", "mode")
        esp = [esp for proposal in child.proposals for esp in esp_of_proposal(proposal)]
        largest = min((largest_mtu(PATH_MTU, one, mode=child.mode, encap=True, gre=gre) for one in esp), default=0)
        why = f"{child.mode} mode, {' or '.join(child.proposals)}, ESP in UDP"
        if userspace and largest > (lower := largest_mtu(USERSPACE_LINK_MTU, None, gre=gre)):
            largest, why = lower, f"ESP in user space, whose link has {USERSPACE_LINK_MTU}"
    if tunnel.mtu < largest // 2:
        text = f"{tunnel.mtu} is less than half of what fits, {largest}; packets of a feed are larger"
        at.note("mtu", text, *involved)
    if tunnel.mtu > largest:
        text = f'{tunnel.mtu} does not fit a path of {PATH_MTU} bytes ({why}); allowed: at most {largest}, or "auto"'
        at.refuse("mtu", text, *involved)


def _route_table(tunnel: Tunnel, at: Table) -> None:
    if tunnel.rule_from and tunnel.route_table is None:
        at.refuse("rule_from", "there is no route_table; allowed: only together with route_table", "route_table")
    for place, source in enumerate(tunnel.rule_from):
        if source.subnet_of(MULTICAST):
            text = f"{source} is multicast, which is no source; allowed: prefixes of machines"
            at.refuse(("rule_from", place), text)
    if tunnel.route_table in _RESERVED_TABLES:
        text = f"it is {_RESERVED_TABLES[tunnel.route_table]} table; allowed: any other number, or leave it out"
        at.refuse("route_table", text)


def _routes_avoid_the_ends(tunnel: Tunnel, at: Table, carrier: Carrier | None) -> None:
    if tunnel.rule_from:  # other packets, also those that carry the tunnel, do not use these routes
        return
    ends = {tunnel.remote, *(peer.remote for peer in (carrier.gateways if carrier is not None else ()))}
    for index, route in enumerate(tunnel.routes):
        inside = [end for end in ends if isinstance(route, IPv4Network) and end in route]
        if inside:
            text = f"{route} contains {min(inside)}, to which the packets of the tunnel itself go; allowed: others"
            at.refuse(("routes", index), text, "remote")


def _strict_filter_has_routes(tunnel: Tunnel, at: Table) -> None:
    """The kernel looks for the way back to the source of each packet, also of multicast."""
    to_sources = any(route == "sources" or isinstance(route, IPv4Network) for route in tunnel.routes)
    if tunnel.rp_filter == "strict" and not to_sources:
        text = (
            'with "strict" only what comes from where a route leads through the tunnel is received, and routes has none'
        )
        at.note("rp_filter", f'{text} to sources; better: "loose", or "sources" among routes', "routes")


def _without_gre(tunnel: Tunnel, at: Table, carrier: Carrier | None) -> None:
    if carrier is None or carrier.child.mode != "interface":
        text = 'multicast needs an interface; allowed: "gre", or "none" with a child of mode "interface"'
        at.refuse("encapsulation", text, "child", *([carrier.at["mode"]] if carrier else []))
    given = [field.name for field in fields(GreOptions) if getattr(tunnel.gre, field.name) != field.default]
    given += ["keepalive"] if tunnel.keepalive.period > 0 or tunnel.keepalive.inner_addresses else []
    for key in given:
        at.refuse(key, 'it is a part of GRE, and encapsulation is "none"; allowed: leave it out', "encapsulation")
    if carrier is None:
        return
    for key in ("local_ts", "remote_ts"):
        selector = getattr(carrier.child, key)
        if not MULTICAST.subnet_of(selector):
            text = f"{selector} contains no multicast, and {tunnel.name} has no GRE around it; allowed: 0.0.0.0/0"
            carrier.at.refuse(key, text, at["encapsulation"], at["child"])


def _ends_inside_selectors(tunnel: Tunnel, at: Table, carrier: Carrier) -> None:
    peer, child = carrier.peer, carrier.child
    for key in ("local", "remote"):
        end, outer, selector = getattr(tunnel, key), getattr(peer, key), getattr(child, f"{key}_ts")
        if child.mode == "transport" and end != outer:
            text = f"{end} is not {key} of peer {peer.name}, and transport mode carries nothing else; allowed: {outer}"
            at.refuse(key, text, "child", carrier.at["mode"], ("peers", peer.name, key))
        elif child.mode != "transport" and end not in selector:
            text = f"{end} is outside {key}_ts of {child.name}; allowed: an address in {selector}"
            at.refuse(key, text, carrier.at[f"{key}_ts"])
    for one in carrier.gateways if child.mode == "interface" else ():
        if tunnel.remote == one.remote:
            text = f"{tunnel.remote} is remote of peer {one.name}: ESP itself would go into the XFRM interface"
            at.refuse("remote", f"{text}; allowed: another address of theirs", "child", carrier.at["mode"])


def _mode_in_userspace(tunnel: Tunnel, at: Table, carrier: Carrier) -> None:
    if carrier.child.mode != "tunnel":
        text = f'ESP in user space has no such mode, and daemon.datapath is "userspace" for {tunnel.name}'
        allowed = 'allowed: "tunnel", or datapath = "auto" on a kernel with ESP'
        carrier.at.refuse("mode", f"{text}; {allowed}", ("daemon", "datapath"), at["child"])


def _ends_and_keys_differ(tunnels: tuple[Tunnel, ...], report: Report) -> None:
    keys = ("local", "remote", "key")
    found: dict[tuple[object, ...], Table] = {}
    for tunnel in tunnels:
        at = report.table("tunnels", tunnel.name)
        ends = (tunnel.local, tunnel.remote, tunnel.gre.key)
        first = found.setdefault(ends, at) if tunnel.encapsulation == "gre" else at
        if first != at:
            text = f"it has the same local, remote and key as {dotted(first.path)}; allowed: tunnels that differ in one"
            at.refuse((), text, *keys, *first.keys(*keys))


def _networks_differ(first: Tunnel, second: Tunnel, report: Report) -> None:
    for (first_at, theirs), (at, ours) in product(_networks(first, report), _networks(second, report)):
        if theirs.network.overlaps(ours.network):
            text = f"{ours} overlaps {dotted(first_at)}, {theirs}; allowed: a network of its own"
            report.refuse(at, text, first_at)


def _networks(tunnel: Tunnel, report: Report) -> list[tuple[KeyPath, IPv4Interface]]:
    at = report.table("tunnels", tunnel.name)
    further = [(at["addresses", place], address) for place, address in enumerate(tunnel.addresses)]
    return [(at["address"], tunnel.address), *further]


def _interfaces(config: Config, report: Report) -> None:
    """The interfaces of tunnels and children have names, which differ."""
    named = {tunnel.name: report.table("tunnels", tunnel.name).path for tunnel in config.tunnels}
    is_interface = {tunnel.child: tunnel for tunnel in config.tunnels if tunnel.encapsulation == "none"}
    for _, child, at, _ in carriers(config, report):
        tunnel = is_interface.get(child.name)
        if child.interface is None:
            if child.mode == "interface" and tunnel is None:
                text = 'it is missing; allowed: the name of the XFRM interface, or a tunnel with encapsulation = "none"'
                at.refuse("interface", text, "mode", ("tunnels",))
            continue
        interface_name(child.interface, at, "interface")
        first = named.setdefault(child.interface, at["interface"])
        if first != at["interface"]:
            text = f"{child.interface} is the name of {dotted(first)} too; allowed: a name of its own"
            at.refuse("interface", text)
        if tunnel is not None:
            text = f'tunnel {tunnel.name} is the interface, since its encapsulation is "none"; allowed: leave it out'
            at.refuse("interface", text, ("tunnels", tunnel.name, "encapsulation"))


def _xfrm_interfaces_differ(first: Tunnel, second: Tunnel, report: Report) -> None:
    if first.encapsulation == second.encapsulation == "none" and first.child == second.child:
        text = f"{first.name} is its XFRM interface already; allowed: a child of its own"
        report.table("tunnels", second.name).refuse("child", text, ("tunnels", first.name, "child"))
