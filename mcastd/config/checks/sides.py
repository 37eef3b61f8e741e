"""An address is on one side: ours, or the other one's."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Final, TypeAlias

from mcastd.config.line_numbers import KeyPath
from mcastd.config.model import Child, Config
from mcastd.config.report import Report, dotted
from mcastd.config.value_types import MULTICAST

_LOOPBACK: Final = IPv4Network("127.0.0.0/8")
_Address: TypeAlias = tuple[IPv4Address, KeyPath]


def check(config: Config, report: Report) -> None:
    """Refuse what is on both sides, and selectors and routes of addresses that are on none."""
    ours: dict[IPv4Address, KeyPath] = {}
    for address, path in _ours(config):
        ours.setdefault(address, path)
    for address, path in _theirs(config):
        first = ours.get(address)
        if first is not None and not _is_one_table(first, path):
            text = f"{address} is {dotted(first)}, so it is ours; allowed: an address of the other side"
            report.refuse(path, text, first)
    for prefix, path in _prefixes(config):
        if prefix.subnet_of(_LOOPBACK):
            report.refuse(path, f"{prefix} never leaves a host; allowed: prefixes outside {_LOOPBACK}")
        elif path[-1] in ("local_ts", "remote_ts") and prefix.subnet_of(MULTICAST):
            text = f'{prefix} is multicast, which arrives in tunnels: by GRE, or by a child of mode "interface"'
            report.note(path, text)


def _ours(config: Config) -> Iterator[_Address]:
    for peer in config.peers:
        yield peer.local, ("peers", peer.name, "local")
        for child in peer.children:
            if child.snat is not None:
                yield child.snat, ("peers", peer.name, "children", child.name, "snat")
    for tunnel in config.tunnels:
        at: KeyPath = ("tunnels", tunnel.name)
        yield tunnel.local, (*at, "local")
        yield tunnel.address.ip, (*at, "address")
        yield from ((one.ip, (*at, "addresses", place)) for place, one in enumerate(tunnel.addresses))
    for overlay in config.overlay:
        yield overlay.local, ("overlay", overlay.name, "local")
        yield overlay.address.ip, ("overlay", overlay.name, "address")


def _theirs(config: Config) -> Iterator[_Address]:
    for peer in config.peers:
        yield peer.remote, ("peers", peer.name, "remote")
        for child in peer.children:
            if child.remote_ts.prefixlen == 32 and child.mode == "tunnel":
                yield child.remote_ts[0], ("peers", peer.name, "children", child.name, "remote_ts")
    for tunnel in config.tunnels:
        at: KeyPath = ("tunnels", tunnel.name)
        yield tunnel.remote, (*at, "remote")
        if tunnel.peer_address is not None:
            yield tunnel.peer_address, (*at, "peer_address")
        if tunnel.pim is not None:
            if tunnel.pim.neighbor is not None:
                yield tunnel.pim.neighbor, (*at, "pim", "neighbor")
            yield from ((rp.address, (*at, "pim", "rp", place, "address")) for place, rp in enumerate(tunnel.pim.rp))
    for index, group in enumerate(config.groups):
        yield from ((source, ("groups", index, "sources", place)) for place, source in enumerate(group.sources))


def _is_one_table(ours: KeyPath, theirs: KeyPath) -> bool:
    """Whether both are of one peer or tunnel, for which there are rules that say more."""
    one = len(ours) == 3 or ours[2] == "addresses"
    return ours[:2] == theirs[:2] and one and (len(theirs) == 3 or (ours[2] != "local" and theirs[0] == "tunnels"))


def _prefixes(config: Config) -> Iterator[tuple[IPv4Network, KeyPath]]:
    for peer in config.peers:
        for child in peer.children:
            at: KeyPath = ("peers", peer.name, "children", child.name)
            yield from _of_child(child, at)
    for tunnel in config.tunnels:
        for place, route in enumerate(tunnel.routes):
            if isinstance(route, IPv4Network):
                yield route, ("tunnels", tunnel.name, "routes", place)


def _of_child(child: Child, at: KeyPath) -> Iterator[tuple[IPv4Network, KeyPath]]:
    yield child.local_ts, (*at, "local_ts")
    yield child.remote_ts, (*at, "remote_ts")
    yield from ((one, (*at, "snat_from", place)) for place, one in enumerate(child.snat_from))
