"""A ``Config`` as tables of agreed parameters, with our values and those of the other side. Has no secret. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from mcastd.config import other_side
from mcastd.config.group_ranges import spelled
from mcastd.config.model import Child, Config, Group, Keepalive, Peer, Pim, Tunnel
from mcastd.config.other_side import carrier, far_address, far_mtu, far_selectors, public_address
from mcastd.config.proposal_words import GROUPS
from mcastd.config.proposals import by_kind
from mcastd.config.value_types import spell
from mcastd.tools.peerconfig import CISCO_PERIOD, CISCO_RETRIES

SAME: Final = "same"
UNKNOWN: Final = "to be filled in"
_NONE: Final = "none"


@dataclass(frozen=True)
class Row:
    """One parameter: our value, and that of the other side."""

    name: str
    ours: str
    theirs: str


@dataclass(frozen=True)
class Table:
    """The parameters of a peer, a CHILD_SA, a tunnel, or multicast on a tunnel."""

    title: str
    rows: tuple[Row, ...]


def tables(config: Config) -> tuple[Table, ...]:
    """All parameters that the two sides have to agree on, in the order of the file."""
    found = []
    for peer in config.peers:
        found.append(Table(f"IPsec peer {peer.name} (phase 1)", tuple(_peer(peer))))
        found += [Table(f"CHILD_SA {child.name} (phase 2)", tuple(_child(peer, child))) for child in peer.children]
    for tunnel in config.tunnels:
        found.append(Table(f"Tunnel {tunnel.name}", tuple(_tunnel(config, tunnel))))
        groups = [group for group in config.groups if tunnel.name in group.tunnels]
        if tunnel.pim is not None:
            found.append(Table(f"Multicast on {tunnel.name}", tuple(_pim(tunnel, tunnel.pim, groups))))
        elif groups or tunnel.upstream is not None:
            found.append(Table(f"Multicast on {tunnel.name}", tuple(_without_pim(tunnel, groups))))
    return tuple(found)


def _peer(peer: Peer) -> Iterator[Row]:
    public = public_address(peer)
    ours = UNKNOWN if public is None else str(public)
    if other_side.behind_nat(peer):
        ours += f" (NAT 1:1, the host has {peer.local})"
    yield Row("Public peer address", ours, str(peer.remote))
    yield Row("IKE identity", peer.local_id, peer.remote_id)
    yield Row("IKE version", f"IKEv{peer.version}", SAME)
    by_key = peer.psk_file is not None
    yield Row("Authentication", "pre-shared key, exchanged separately" if by_key else "certificate", SAME)
    yield Row("IKE algorithms (phase 1)", " or ".join(peer.proposals), SAME)
    yield Row("Other algorithms", "none are accepted (strict)", SAME)
    renewed = "reauthenticated" if peer.reauthentication or peer.version == 1 else "rekeyed"
    yield Row("IKE SA lifetime", f"{spell(peer.lifetime)}, then {renewed}", SAME)
    transport = (
        "in UDP port 4500 (NAT traversal)"
        if other_side.esp_in_udp(peer)
        else "IP protocol 50, in UDP port 4500 behind a NAT"
    )
    yield Row("ESP is carried", transport, SAME)
    detection = f"after {spell(peer.dpd_delay)} without packets" if peer.dpd_delay else "off"
    yield Row("Dead peer detection", detection, "any")


def _child(peer: Peer, child: Child) -> Iterator[Row]:
    yield Row("Interesting traffic", *(str(one) for one in far_selectors(peer, child)))
    yield Row("Protocol", "GRE only" if child.protocol == "gre" else "any", SAME)
    if child.snat is not None:
        yield Row("Source address of what we send", f"{child.snat} alone (SNAT)", "")
    modes = {"transport": "transport", "tunnel": "tunnel", "interface": "tunnel, route-based (an interface)"}
    yield Row("Mode", modes[child.mode], SAME)
    yield Row("ESP algorithms (phase 2)", " or ".join(child.proposals), SAME)
    groups = {word for proposal in child.proposals for word in by_kind(proposal).get("group", ())}
    yield Row("PFS", ", ".join(map(_group, sorted(groups))) or "no", SAME)
    yield Row("ESP SA lifetime", spell(child.lifetime), SAME)


def _tunnel(config: Config, tunnel: Tunnel) -> Iterator[Row]:
    carried = carrier(config, tunnel)
    yield Row("Carried by", "nothing: unencrypted" if carried is None else f"CHILD_SA {carried[1].name}", SAME)
    if tunnel.encapsulation == "gre":
        yield Row("GRE endpoint", str(other_side.endpoint_seen(carried, tunnel.local) or UNKNOWN), str(tunnel.remote))
        yield Row("GRE key", _NONE if tunnel.gre.key is None else str(tunnel.gre.key), SAME)
        named = ("checksums", tunnel.gre.checksum), ("sequence numbers", tunnel.gre.sequence)
        options = [name for name, on in named if on]
        yield Row("GRE options", ", ".join(options) or _NONE, SAME)
    else:
        yield Row("Encapsulation", "none: IP directly on the IPsec interface", SAME)
    theirs = far_address(tunnel)
    yield Row("Tunnel address", str(tunnel.address), UNKNOWN if theirs is None else str(theirs))
    mtu = far_mtu(config, tunnel)
    yield Row("Tunnel MTU", str(mtu), f"{mtu} (ip mtu {mtu})")
    if tunnel.encapsulation == "gre":
        yield from _keepalive(tunnel.keepalive, protected=carried is not None and carried[1].mode == "interface")


def _keepalive(keepalive: Keepalive, *, protected: bool) -> Iterator[Row]:
    theirs = f"sent, for instance every {CISCO_PERIOD} s, {CISCO_RETRIES} retries"
    theirs = "not possible with tunnel protection" if protected else theirs
    yield Row("GRE keepalives of yours", "answered" if keepalive.reply else "not answered", theirs)
    ours = f"every {spell(keepalive.period)}, {keepalive.retries} retries" if keepalive.period else "none are sent"
    yield Row("GRE keepalives of ours", ours, "answered" if keepalive.period else "")


def _pim(tunnel: Tunnel, pim: Pim, groups: list[Group]) -> Iterator[Row]:
    theirs = far_address(tunnel)
    neighbor = pim.neighbor or (None if theirs is None else theirs.ip)
    yield Row("PIM sparse mode, neighbour", str(tunnel.address.ip), UNKNOWN if neighbor is None else str(neighbor))
    for rp in pim.rp:
        yield Row("Rendezvous point", "", f"{rp.address} for {_list(rp.groups)}")
    if pim.bootstrap:
        yield Row("Bootstrap (RFC 5059)", "received", "sent")
    if pim.auto_rp:
        yield Row("Auto-RP", "received", "sent")
    yield Row("SSM ranges", _list(pim.ssm_ranges) or _NONE, SAME)
    yield Row("PIM Hello", f"every {spell(pim.hello_period)}, holdtime {spell(pim.hello_holdtime)}", "any")
    yield Row("Groups", _joined(groups), "forwarded when joined")


def _without_pim(tunnel: Tunnel, groups: list[Group]) -> Iterator[Row]:
    by_igmp = tunnel.upstream_protocol == "igmp"
    if by_igmp:
        yield Row("IGMP, version 3", "joins and answers queries", "querier on the tunnel, without PIM from our side")
    yield Row("Groups", _joined(groups), "forwarded when joined" if by_igmp else "sent unasked")


def _joined(groups: list[Group]) -> str:
    """The groups, those with the same sources together, as ranges where they follow one another."""
    found: dict[tuple[IPv4Address, ...], list[IPv4Address]] = {}
    for group in groups:
        found.setdefault(group.sources, []).append(group.group)
    listed = (
        f"{', '.join(spelled(same))}{f' from {_list(sources)}' if sources else ''}" for sources, same in found.items()
    )
    return "; ".join(listed) or "no groups are configured"


def _list(items: tuple[object, ...]) -> str:
    return ", ".join(map(str, items))


def _group(word: str) -> str:
    return f"{word} (group {GROUPS[word]})" if word in GROUPS else word
