"""What cannot work of the ways through IPsec: tunnel mode, transport mode, XFRM interfaces with GRE and without."""

import re
from ipaddress import IPv4Network
from itertools import combinations
from typing import Final

from msgspec.structs import fields

from mcastd.config.lines import KeyPath
from mcastd.config.model import Child, Config, Peer, Tunnel
from mcastd.config.peers import children_of
from mcastd.config.report import Report, dotted, shown
from mcastd.config.value_types import MULTICAST
from mcastd.net.gre import GreOptions

_LINK_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,14}")
_RESERVED_LINKS: Final = frozenset(("all", "default", "erspan0", "gre0", "gretap0", "ip_vti0", "ipsec0", "lo", "tunl0"))
_TAKEN_TABLES: Final = {220: "charon's", 253: "the default", 254: "the main", 255: "the local"}


def find(config: Config, report: Report) -> None:
    """Report every contradiction of tunnels with the children that carry them."""
    carriers = {child.name: (path, child) for path, child in children_of(config.peers)}
    peers = {child.name: peer for peer in config.peers for child in peer.children}
    for tunnel in config.tunnels:
        path: KeyPath = ("tunnels", tunnel.name)
        carrier = carriers.get(tunnel.child or "")
        _routes(tunnel, path, peers.get(tunnel.child or ""), report)
        if tunnel.encapsulation == "none":
            _without_gre(tunnel, path, carrier, report)
        if carrier is not None:
            _ends(tunnel, path, carrier, peers[carrier[1].name], report)
            _datapath(tunnel, path, carrier, config.daemon.datapath == "userspace", report)
    _interfaces(config, report)


def _without_gre(tunnel: Tunnel, path: KeyPath, carrier: tuple[KeyPath, Child] | None, report: Report) -> None:
    where = (*path, "encapsulation")
    if carrier is None or carrier[1].mode != "interface":
        involved = [(*path, "child"), *([(*carrier[0], "mode")] if carrier else [])]
        text = 'multicast needs an interface; allowed: "gre", or "none" with a child of mode "interface"'
        report.contradiction(where, text, *involved)
    given = [field.name for field in fields(GreOptions) if getattr(tunnel.gre, field.name) != field.default]
    given += ["keepalive"] if tunnel.keepalive.period > 0 or tunnel.keepalive.inner_addresses else []
    for key in given:
        text = 'it is a part of GRE, and encapsulation is "none"; allowed: leave it out'
        report.contradiction((*path, key), text, where)
    if carrier is None:
        return
    for key, selector in (("local_ts", carrier[1].local_ts), ("remote_ts", carrier[1].remote_ts)):
        if not MULTICAST.subnet_of(selector):
            text = f"{selector} holds no multicast, and {tunnel.name} has no GRE around it; allowed: 0.0.0.0/0"
            report.contradiction((*carrier[0], key), text, where, (*path, "child"))


def _ends(tunnel: Tunnel, path: KeyPath, carrier: tuple[KeyPath, Child], peer: Peer, report: Report) -> None:
    if tunnel.encapsulation == "none":
        return
    child_path, child = carrier
    mode = (*child_path, "mode")
    for key, end, outer in (("local", tunnel.local, peer.local), ("remote", tunnel.remote, peer.remote)):
        involved = ((*path, "child"), mode, (*child_path[:2], key))
        if child.mode == "transport" and end != outer:
            text = f"{end} is not {key} of peer {peer.name}, and transport mode carries nothing else; allowed: {outer}"
            report.contradiction((*path, key), text, *involved)
    if child.mode == "interface" and tunnel.remote == peer.remote:
        text = f"{tunnel.remote} is remote of peer {peer.name}: ESP itself would go into the XFRM interface"
        report.contradiction((*path, "remote"), f"{text}; allowed: another address of theirs", (*path, "child"), mode)


def _datapath(tunnel: Tunnel, path: KeyPath, carrier: tuple[KeyPath, Child], userspace: bool, report: Report) -> None:
    child_path, child = carrier
    if userspace and child.mode != "tunnel":
        text = (
            f'ESP in user space has no such mode, and daemon.datapath is "userspace" for {tunnel.name}; '
            'allowed: "tunnel", or datapath = "auto" on a kernel with ESP'
        )
        report.contradiction((*child_path, "mode"), text, ("daemon", "datapath"), (*path, "child"))


def _routes(tunnel: Tunnel, path: KeyPath, peer: Peer | None, report: Report) -> None:
    table = (*path, "route_table")
    if tunnel.rule_from and tunnel.route_table is None:
        report.contradiction((*path, "rule_from"), "there is no route_table; allowed: with route_table alone", table)
    if tunnel.route_table in _TAKEN_TABLES:
        text = f"it is {_TAKEN_TABLES[tunnel.route_table]} table; allowed: any other number, or leave it out"
        report.contradiction(table, text)
    if tunnel.rule_from:  # other packets, those that carry the tunnel among them, do not see these routes
        return
    ends = {tunnel.remote} | ({peer.remote} if peer is not None else set())
    for index, route in enumerate(tunnel.routes):
        if isinstance(route, IPv4Network) and any(end in route for end in ends):
            end = min(end for end in ends if end in route)
            text = f"{route} holds {end}, the way to which would lead through the tunnel itself; allowed: others"
            report.contradiction((*path, "routes", index), text, (*path, "remote"))


def _interfaces(config: Config, report: Report) -> None:
    children = list(children_of(config.peers))
    named: dict[str, KeyPath] = {}
    for tunnel in config.tunnels:
        _link_name(tunnel.name, ("tunnels", tunnel.name), report)
        named[tunnel.name] = ("tunnels", tunnel.name)
    straight = {tunnel.child: tunnel for tunnel in config.tunnels if tunnel.encapsulation == "none"}
    for path, child in children:
        where = (*path, "interface")
        is_one = straight.get(child.name)
        if child.interface is not None:
            _link_name(child.interface, where, report)
            first = named.setdefault(child.interface, where)
            if first != where:
                text = f"{child.interface} is the name of {dotted(first)} too; allowed: a name of its own"
                report.contradiction(where, text)
            if is_one is not None:
                text = f'tunnel {is_one.name} is the interface, its encapsulation is "none"; allowed: leave it out'
                report.contradiction(where, text, ("tunnels", is_one.name, "encapsulation"))
        elif child.mode == "interface" and is_one is None:
            text = 'it is missing; allowed: the name of the XFRM interface, or a tunnel with encapsulation = "none"'
            report.contradiction(where, text, (*path, "mode"), ("tunnels",))
    for (first_path, one), (path, other) in combinations(children, 2):
        if one.if_id is not None and one.if_id == other.if_id:
            text = f"{one.name} has it already; allowed: a number of its own"
            report.contradiction((*path, "if_id"), text, (*first_path, "if_id"))
    for one_tunnel, other_tunnel in combinations(config.tunnels, 2):
        if one_tunnel.encapsulation == other_tunnel.encapsulation == "none" and one_tunnel.child == other_tunnel.child:
            text = f"{one_tunnel.name} is the XFRM interface of it already; allowed: a child of its own"
            report.contradiction(("tunnels", other_tunnel.name, "child"), text, ("tunnels", one_tunnel.name, "child"))


def _link_name(name: str, path: KeyPath, report: Report) -> None:
    if not _LINK_NAME.fullmatch(name):
        text = f"{shown(name)} is no interface name; allowed: up to 15 letters, digits, '_', '-' and '.', not '.' first"
        report.contradiction(path, text)
    elif name in _RESERVED_LINKS:
        text = f"the name is taken by the system; allowed: any but {', '.join(sorted(_RESERVED_LINKS))}"
        report.contradiction(path, text)
