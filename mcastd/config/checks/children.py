"""Rules for ``[peers.NAME.children.NAME]``."""

from collections.abc import Iterator
from ipaddress import IPv4Network
from itertools import combinations
from typing import Final, NamedTuple

from mcastd.config.checks.host import refuse, takes_everything
from mcastd.config.checks.peers import lifetime, name_for_charon
from mcastd.config.model import Child, Config, Peer
from mcastd.config.mtu import PATH_MTU, TCP_HEADER, largest_packet
from mcastd.config.proposals import esp_of_proposal
from mcastd.config.report import Report, Table
from mcastd.config.value_types import MULTICAST
from mcastd.net import ipv4

_OF_ONE_SITE: Final = 8  # bits; shorter prefixes are more than the network of one side


class Carrier(NamedTuple):
    """A child with its peer, its table, and the peers that can have it: that one, and those that stand by for it."""

    peer: Peer
    child: Child
    at: Table
    gateways: tuple[Peer, ...]


def carriers(config: Config, report: Report) -> Iterator[Carrier]:
    """Every child of every peer."""
    for peer in config.peers:
        gateways = (peer, *(one for one in config.peers if one.standby_for == peer.name))
        for child in peer.children:
            yield Carrier(peer, child, report.table("peers", peer.name, "children", child.name), gateways)


def check(config: Config, report: Report) -> None:
    """Apply every rule to every child, and to every two of them."""
    found = list(carriers(config, report))
    for peer, child, at, gateways in found:
        name_for_charon(child.name, at)
        _keys_of_the_mode(child, at)
        _selectors_of_transport_mode(peer, child, at)
        if any(takes_everything(one, child) for one in gateways):
            refuse(at, child, "all that this host sends, also to its gateway,")
        _snat_inside_selectors(child, at)
        _selectors_of_one_network(child, at)
        _mss_fits(child, at)
        _numbers_fit_the_window(child, at)
        lifetime(child.lifetime, at)
    _names_differ(found, report)
    for first, second in combinations(found, 2):
        _selectors_differ(first, second, report)
        _interfaces_differ(first, second)
        _snat_differs(first.child, second.child, second.at)


def _keys_of_the_mode(child: Child, at: Table) -> None:
    if child.mode == "interface":
        if child.if_id is None:
            text = 'it is missing; allowed: the if_id of the XFRM interface, which mode "interface" needs'
            at.refuse("if_id", text, "mode")
        return
    for key in ("if_id", "interface"):
        if getattr(child, key) is not None:
            text = f'it is for an XFRM interface, and the mode is "{child.mode}"; allowed: mode "interface"'
            at.refuse(key, text, "mode")


def _selectors_of_transport_mode(peer: Peer, child: Child, at: Table) -> None:
    ends = (("local", child.local_ts, peer.local), ("remote", child.remote_ts, peer.remote))
    for key, network, end in ends if child.mode == "transport" else ():
        if network != IPv4Network(end):
            text = f"{network} is not {key} of the peer; allowed: {end}/32, which is all that transport mode carries"
            at.refuse(f"{key}_ts", text, "mode", ("peers", peer.name, key))


def _selectors_of_one_network(child: Child, at: Table) -> None:
    if child.local_ts == child.remote_ts and child.local_ts.prefixlen >= _OF_ONE_SITE:
        text = f"it is the same as local_ts, {child.local_ts}; allowed: the network of the other side"
        at.refuse("remote_ts", text, "local_ts")


def _mss_fits(child: Child, at: Table) -> None:
    esps = [esp for proposal in child.proposals for esp in esp_of_proposal(proposal)]
    largest = min((largest_packet(PATH_MTU, esp, mode=child.mode) for esp in esps), default=PATH_MTU)
    fits = largest - ipv4.HEADER_LENGTH - TCP_HEADER
    if child.mss is not None and child.mss > fits:
        at.note("mss", f"{child.mss} does not fit a path of {PATH_MTU} bytes, where at most {fits} does", "proposals")
    elif child.mss and child.mss < fits // 2:
        at.note("mss", f"{child.mss} is less than half of what fits, {fits}", "proposals")


def _numbers_fit_the_window(child: Child, at: Table) -> None:
    """The kernel keeps extended sequence numbers in the replay window (RFC 4303, section 2.2.1)."""
    if not child.replay_window and any("esn" in proposal.split("-") for proposal in child.proposals):
        text = "without a replay window charon sets no extended sequence numbers (esn): what arrives is not decrypted"
        at.note("replay_window", text, "proposals")


def _snat_inside_selectors(child: Child, at: Table) -> None:
    if child.snat is None:
        for key in ("snat_from", "snat_loopback"):
            if getattr(child, key):
                text = "there is no snat; allowed: with snat, the source address that these packets get"
                at.refuse(key, text, "snat")
        return
    for place, source in enumerate(child.snat_from):
        if source.subnet_of(MULTICAST):
            text = f"{source} is multicast, which is no source; allowed: prefixes of machines behind this host"
            at.refuse(("snat_from", place), text)
        elif source.subnet_of(child.local_ts):
            text = f"it has no effect: {source} is in local_ts, {child.local_ts}, already"
            at.note(("snat_from", place), text, "local_ts")
    if child.snat not in child.local_ts:
        text = f"{child.snat} is outside local_ts of {child.name}: packets with it are not encrypted"
        at.refuse("snat", f"{text}; allowed: an address in {child.local_ts}", "local_ts")
    if not child.snat_from and child.local_ts.prefixlen == 0:
        text = "every address is in local_ts, so that snat applies to none; allowed: the prefixes that it is for"
        at.refuse("snat_from", text, "local_ts")


def _names_differ(found: list[Carrier], report: Report) -> None:
    named: dict[str, Table] = {}
    for _, child, at, _ in found:
        first = named.setdefault(child.name, at)
        if first != at:
            line = report.line(first.path)
            at.refuse((), f"a child of this name is at {line} already; allowed: names that no other peer uses")


def _selectors_differ(first: Carrier, second: Carrier, report: Report) -> None:
    """Two children of a peer differ in their selectors or their interface; an overlap is noted."""
    (one_peer, one, one_at, _), (other_peer, other, at, _) = first, second
    keys = ("local_ts", "remote_ts")
    if not (one.local_ts.overlaps(other.local_ts) and one.remote_ts.overlaps(other.remote_ts)):
        return
    if any(report.is_wrong(key) for key in (*at.keys(*keys), *one_at.keys(*keys))):
        return
    same_peer = one_peer is other_peer
    overlap = f"its traffic selectors overlap those of {one.name}"
    if one.if_id != other.if_id:  # each has the packets of its own XFRM interface, whatever their addresses
        if same_peer:
            at.note((), f"{overlap}: by them the other side cannot distinguish the two")
    elif same_peer and (one.local_ts, one.remote_ts) == (other.local_ts, other.remote_ts):
        at.refuse((), f"it has the same traffic selectors as {one.name}; allowed: one child for each pair")
    else:
        at.note((), f"{overlap}: only one of the two carries what both match")


def _interfaces_differ(first: Carrier, second: Carrier) -> None:
    if first.child.if_id is not None and first.child.if_id == second.child.if_id:
        text = f"{first.child.name} has it already; allowed: a number of its own"
        second.at.refuse("if_id", text, first.at["if_id"])


def _snat_differs(first: Child, second: Child, at: Table) -> None:
    if first.snat is None or second.snat is None or not first.remote_ts.overlaps(second.remote_ts):
        return
    pairs = ((one, other) for one in first.snat_from for other in second.snat_from)
    if not (first.snat_from and second.snat_from) or any(one.overlaps(other) for one, other in pairs):
        text = f"packets to {second.remote_ts} may match the SNAT of {first.name} as well, which comes first"
        at.note("snat", text)
