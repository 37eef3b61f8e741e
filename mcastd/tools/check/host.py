"""Rules about what this host has: addresses, interfaces, ports, charon. Pure.

They apply to a file that is for this host: it is the one that the service reads, or an address in it is here.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address

from mcastd.config.downstream import Overlay
from mcastd.config.line_numbers import KeyPath
from mcastd.config.model import Config, Peer, Tunnel
from mcastd.config.mtu import VXLAN_HEADERS as HEADERS
from mcastd.config.proposal_words import needs_charon_6
from mcastd.config.report import Report, Table
from mcastd.tools.check.facts import Facts, Interface


def check(config: Config, facts: Facts, report: Report) -> None:
    """Apply every rule."""
    _charon_knows(config, facts, report)
    for peer in config.peers if facts.interfaces else ():
        _local_is_here(peer, facts, report)
    if not (facts.is_installed or any(peer.local in facts.addresses for peer in config.peers)):
        return
    if config.peers and facts.has_vici is False:
        text = f"{config.daemon.vici_socket} does not exist: strongSwan does not run, or has it elsewhere"
        report.table("daemon").note("vici_socket", text)
    interfaces = {one.name: one for one in facts.interfaces}
    ours = set(_names(config))
    for name, path in _names(config).items():
        found = interfaces.get(name)
        if found is not None and not found.is_ours:
            text = f"{name} is an interface of this host, which mcastd has not made and does not touch"
            report.refuse(path, f"{text}; allowed: another name, or remove it first: ip link del {name}")
    others = [one for one in facts.interfaces if one.name not in ours]
    for tunnel in config.tunnels:
        _addresses_are_new(tunnel, others, report.table("tunnels", tunnel.name))
        if tunnel.child is None and facts.interfaces and tunnel.local not in facts.addresses:
            text = f"{tunnel.local} is no address of this host; allowed: {_allowed(facts)}"
            report.table("tunnels", tunnel.name).refuse("local", text, "child")
    for forward in config.forward:
        if facts.interfaces and forward.name not in interfaces:
            at = report.table("forward", forward.name)
            at.note((), f"this host has no interface {forward.name} yet; it has {', '.join(sorted(interfaces))}")
    for overlay in config.overlay if facts.interfaces else ():
        _carries(overlay, others, facts, report.table("overlay", overlay.name))
    _metrics(config, facts, report)


def _names(config: Config) -> dict[str, KeyPath]:
    """The interfaces that mcastd is to make, by name."""
    found: dict[str, KeyPath] = {tunnel.name: ("tunnels", tunnel.name) for tunnel in config.tunnels}
    for peer in config.peers:
        for child in peer.children:
            if child.interface is not None:
                found.setdefault(child.interface, ("peers", peer.name, "children", child.name, "interface"))
    for overlay in config.overlay:
        found.setdefault(overlay.name, ("overlay", overlay.name))
    return found


def _local_is_here(peer: Peer, facts: Facts, report: Report) -> None:
    if peer.local in facts.addresses:
        return
    at = report.table("peers", peer.name)
    text = f"{peer.local} is no address of this host"
    if peer.local.is_global and not any(address.is_global for address in facts.addresses):
        text += ", whose addresses are private: an Elastic IP or the like belongs into local_id"
    text += f"; allowed: {_allowed(facts)}"
    if facts.is_installed:
        at.refuse("local", text)
    else:
        at.note("local", f"{text}, if the file is for this host")


def _allowed(facts: Facts) -> str:
    """The addresses that can be reached from elsewhere, each with its interface."""
    found = [f"{one} ({link.name})" for link in facts.interfaces if not link.is_ours for one in link.addresses]
    return ", ".join(one for one in found if not one.startswith("127.")) or "an address of this host, which has none"


def _addresses_are_new(tunnel: Tunnel, others: list[Interface], at: Table) -> None:
    keys: list[KeyPath] = [("address",), *(("addresses", place) for place in range(len(tunnel.addresses)))]
    for key, own in zip(keys, tunnel.own_addresses, strict=True):
        for other in others:
            if own.ip in other.addresses:
                text = f"{own.ip} is an address of {other.name} already; allowed: one that this host does not have yet"
                at.refuse(key, text)
            elif inside := [one for one in other.addresses if own.network.prefixlen < 32 and one in own.network]:
                at.note(key, f"{own.network} contains {inside[0]}, the address of {other.name}")
    if tunnel.peer_address in {one for other in others for one in other.addresses}:
        text = f"{tunnel.peer_address} is an address of this host; allowed: the other side's"
        at.refuse("peer_address", text)


def _carries(overlay: Overlay, others: list[Interface], facts: Facts, at: Table) -> None:
    """An interface of this host carries the overlay, and has room for its packets."""
    below = next((one for one in facts.interfaces if not one.is_ours and overlay.local in one.addresses), None)
    if below is None:
        at.refuse("local", f"{overlay.local} is no address of this host; allowed: {_allowed(facts)}")
    elif below.mtu is not None and overlay.mtu is not None and overlay.mtu > below.mtu - HEADERS:
        most = below.mtu - HEADERS
        text = f"packets above {most} bytes are fragmented: MTU of {below.name} is {below.mtu}, VXLAN adds {HEADERS}"
        at.note("mtu", f"{text}; some clouds drop fragments")
    for one in others:
        if overlay.address.ip in one.addresses:
            at.refuse("address", f"{overlay.address.ip} is an address of {one.name} already; allowed: one that is free")


def _metrics(config: Config, facts: Facts, report: Report) -> None:
    listen, at = config.metrics.listen, report.table("metrics")
    if listen is None:
        return
    if listen.port < facts.lowest_port:
        text = f"a service may listen on port {listen.port} as root alone; allowed: {facts.lowest_port} to 65535"
        at.refuse("listen", text)
    if facts.interfaces and listen.address not in {*facts.addresses, IPv4Address(0)} and not listen.address.is_loopback:
        text = f"{listen.address} is no address of this host; allowed: 127.0.0.1, 0.0.0.0 for all, {_allowed(facts)}"
        at.refuse("listen", text)


def _charon_knows(config: Config, facts: Facts, report: Report) -> None:
    for path, word in _of_charon_6(config):
        if facts.charon is None:
            report.note(path, f"{word} needs strongSwan 6.0 or newer, and charon cannot be asked for its version here")
        elif _version(facts.charon) < 6:
            text = f"{word} needs strongSwan 6.0 or newer, and this is {facts.charon}"
            report.refuse(path, f"{text}; allowed: Diffie-Hellman groups (e.g. modp2048, x25519)")


def _of_charon_6(config: Config) -> Iterator[tuple[KeyPath, str]]:
    for peer in config.peers:
        tables: list[tuple[KeyPath, tuple[str, ...]]] = [(("peers", peer.name), peer.proposals)]
        tables += [(("peers", peer.name, "children", one.name), one.proposals) for one in peer.children]
        for table, proposals in tables:
            for number, proposal in enumerate(proposals):
                if word := needs_charon_6(proposal):
                    yield (*table, "proposals", number), word


def _version(text: str) -> int:
    major = text.partition(".")[0]
    return int(major) if major.isdecimal() else 0
