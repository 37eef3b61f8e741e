"""Rules for ``[overlay.NAME]`` beside those of ``[forward.NAME]``."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from typing import Final

from mcastd.config.downstream import ASKED_UNSEEN, Overlay
from mcastd.config.line_numbers import KeyPath
from mcastd.config.model import Config
from mcastd.config.report import Report, Table, dotted

_PORTS_OF_IKE: Final = (500, 4500)
_THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")


def check(config: Config, report: Report) -> None:
    """Apply every rule to every overlay, and to every two of them."""
    forwards = {one.name for one in config.forward}
    known: dict[tuple[int, int], KeyPath] = {}
    for overlay in config.overlay:
        at, path = report.table("overlay", overlay.name), ("overlay", overlay.name)
        if overlay.name in forwards:
            there = ("forward", overlay.name)
            at.refuse((), f"{dotted(there)} is the same interface; allowed: one of the two tables", there)
        other = known.setdefault((overlay.vni, overlay.port), path)
        if other != path:
            text = f"{dotted(other)} has VNI {overlay.vni} on port {overlay.port} already; allowed: another VNI or port"
            at.refuse("vni", text, other)
        if overlay.port in _PORTS_OF_IKE:
            at.refuse("port", f"{overlay.port} is IKE's, which charon has; allowed: another port, 4789 is common")
        _addresses(overlay, config, at)
        _members(overlay, at)
        _way_to_members(overlay, config, at)
        for tunnel in config.tunnels:
            if tunnel.name in overlay.from_ and tunnel.mtu and overlay.mtu and overlay.mtu < tunnel.mtu:
                text = (
                    f"packets of {tunnel.name} may have {tunnel.mtu} bytes, and do not fit if they may not be divided"
                )
                at.note("mtu", text, ("tunnels", tunnel.name, "mtu"))
    for first, second in combinations(config.overlay, 2):
        if first.address.network.overlaps(second.address.network):
            taken = ("overlay", first.name, "address")
            text = f"{second.address} overlaps {dotted(taken)}, {first.address}; allowed: a network of its own"
            report.refuse(("overlay", second.name, "address"), text, taken)


def _addresses(overlay: Overlay, config: Config, at: Table) -> None:
    """The network of an overlay is that of no tunnel, and nothing that the host reaches otherwise is in it."""
    network = overlay.address.network
    if overlay.local in network:
        text = f"{network} has local, {overlay.local}: VXLAN would be sent into itself; allowed: a network of its own"
        at.refuse("address", text, "local")
    for tunnel in config.tunnels:
        keys: list[KeyPath] = [("address",), *(("addresses", place) for place in range(len(tunnel.addresses)))]
        for key, own in zip(keys, tunnel.own_addresses, strict=True):
            there = ("tunnels", tunnel.name, *key)
            if own.network.overlaps(network):
                text = f"{overlay.address} overlaps {dotted(there)}, {own}; allowed: a network of its own"
                at.refuse("address", text, there)
            if own.ip == overlay.local:
                text = f"{own.ip} is {dotted(there)}, and VXLAN is not carried by a tunnel"
                at.refuse("local", f"{text}; allowed: our address towards the members", there)
    for end, path in _ends(config):
        if network.prefixlen < 32 and end in network:
            text = f"{network} contains {dotted(path)}, {end}, which would be sent into the overlay"
            at.refuse("address", f"{text}; allowed: a network of its own", path)


def _ends(config: Config) -> Iterator[tuple[IPv4Address, KeyPath]]:
    """The addresses to which the packets go that carry tunnels."""
    yield from ((peer.remote, ("peers", peer.name, "remote")) for peer in config.peers)
    yield from ((tunnel.remote, ("tunnels", tunnel.name, "remote")) for tunnel in config.tunnels)


def _members(overlay: Overlay, at: Table) -> None:
    for index, member in enumerate(overlay.members):
        key, first = ("members", index), member.network_address
        if member.prefixlen == 0:
            at.note(key, "every address may take part: each that can reach this host receives and sends")
        elif first.is_multicast or first.is_reserved or first.is_loopback or first in _THIS_NETWORK:
            at.refuse(key, f"{member} has no addresses of other machines; allowed: unicast prefixes, or 0.0.0.0/0")
        elif member == IPv4Network(overlay.local):
            at.refuse(key, f"{overlay.local} is local, this host itself; allowed: other machines", "local")
        elif member.overlaps(overlay.address.network):
            text = f"{member} is in the network of address, {overlay.address.network}; allowed: addresses outside"
            at.refuse(key, text, "address")
        elif member.num_addresses > ASKED_UNSEEN:
            text = f"{member} has too many addresses to ask them all: a machine that joined before a start of this host"
            at.note(key, f"{text} gets nothing until it joins again; write the /24s that have machines")


def _way_to_members(overlay: Overlay, config: Config, at: Table) -> None:
    """What goes to the members is taken by no CHILD_SA, and probably by no tunnel."""
    for index, member in enumerate(overlay.members):
        key: KeyPath = ("members", index)
        for peer in config.peers:
            for child in peer.children:
                takes = child.mode == "tunnel" and child.protocol == "any" and overlay.local in child.local_ts
                if takes and member.subnet_of(child.remote_ts):
                    text = f"what {overlay.local} sends to {member} is encrypted by {child.name}, to the other side"
                    there = ("peers", peer.name, "children", child.name)
                    at.refuse(key, f"{text}; allowed: machines outside {child.remote_ts}", "local", there)
        for tunnel in config.tunnels if member.prefixlen else ():
            if any(member.subnet_of(own.network) for own in tunnel.own_addresses):
                text = f"{member} is in the network of {tunnel.name}, and VXLAN is not carried by a tunnel"
                at.refuse(key, f"{text}; allowed: machines of this side", ("tunnels", tunnel.name, "address"))
            for route in () if tunnel.rule_from else tunnel.routes:
                if isinstance(route, IPv4Network) and member.subnet_of(route):
                    text = f"{route} of {tunnel.name} leads there, unless a longer route of this host leads elsewhere"
                    at.note(key, text, ("tunnels", tunnel.name, "routes"))
