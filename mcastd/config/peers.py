"""What does not go together among peers and their children, whose values are each fine by themselves."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Network
from itertools import combinations
from typing import Final

from mcastd.config.lines import KeyPath
from mcastd.config.model import Child, Config, Peer
from mcastd.config.proposals import by_kind
from mcastd.config.report import Report, dotted, shown

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,62}")


def find(config: Config, report: Report) -> None:
    """Report every contradiction; values that are wrong by themselves take no part."""
    _peers(config.peers, report)
    _selectors(dict(children_of(config.peers)), report)
    for peer in config.peers:
        for child in peer.children:
            _mode(child, peer, ("peers", peer.name, "children", child.name), report)


def children_of(peers: tuple[Peer, ...]) -> Iterator[tuple[KeyPath, Child]]:
    """Every child of every peer, by its path."""
    for peer in peers:
        for child in peer.children:
            yield ("peers", peer.name, "children", child.name), child


def paths(path: KeyPath, *keys: str) -> Iterator[KeyPath]:
    """The paths of several keys of one table."""
    return ((*path, key) for key in keys)


def _peers(peers: tuple[Peer, ...], report: Report) -> None:
    named: dict[str, KeyPath] = {}
    alike: dict[tuple[object, ...], KeyPath] = {}
    for peer in peers:
        path: KeyPath = ("peers", peer.name)
        _name(peer.name, path, report)
        _credentials(peer, path, report)
        ends = tuple(paths(path, "local", "remote", "local_id", "remote_id"))
        identity = (peer.local, peer.remote, peer.local_id, peer.remote_id)
        other = alike.setdefault(identity, path)
        if other != path:
            text = f"it has the addresses and identities of {dotted(other)}; allowed: one peer for all children"
            report.contradiction(path, text, *ends, *paths(other, "local", "remote", "local_id", "remote_id"))
        if peer.local == peer.remote:
            text = f"it is the same as local, {peer.local}; allowed: the other side's address"
            report.contradiction((*path, "remote"), text, *ends)
        for number, proposal in enumerate(peer.proposals if peer.version == 1 else ()):
            if "aead" in by_kind(proposal):
                text = f"{proposal}: IKEv1 has no such ciphers for itself; allowed: another one, or version = 2"
                report.contradiction((*path, "proposals", number), text, (*path, "version"))
        if peer.retry_min > peer.retry_max:
            text = f"{peer.retry_min:g} s is more than retry_max, {peer.retry_max:g} s; allowed: at most that"
            report.contradiction((*path, "retry_min"), text, (*path, "retry_max"))
    for path, child in children_of(peers):
        _name(child.name, path, report)
        first = named.setdefault(child.name, path)
        if first != path:
            text = (
                f"a child of this name is at line {report.line(first)} already; allowed: names that no other peer uses"
            )
            report.contradiction(path, text)


def _credentials(peer: Peer, path: KeyPath, report: Report) -> None:
    by_certificate = tuple(paths(path, "local_cert", "local_key", "ca_certs", "remote_cert"))
    if peer.psk_file is not None:
        if peer.local_cert or peer.local_key or peer.ca_certs or peer.remote_cert:
            text = "there are certificates as well; allowed: a pre-shared key or certificates, not both"
            report.contradiction((*path, "psk_file"), text, *by_certificate)
        return
    if not (peer.local_cert or peer.local_key or peer.ca_certs or peer.remote_cert):
        text = f"it is missing from [{dotted(path)}]; allowed: a pre-shared key, or local_cert and local_key"
        report.contradiction((*path, "psk_file"), text, *by_certificate)
        return
    for key, value in (("local_cert", peer.local_cert), ("local_key", peer.local_key)):
        if value is None:
            text = "it is missing; allowed: local_cert and local_key together, for authentication by certificate"
            report.contradiction((*path, key), text, *by_certificate, (*path, "psk_file"))
    if not peer.ca_certs and peer.remote_cert is None:
        text = "it is missing; allowed: ca_certs that issued the other side's certificate, or remote_cert itself"
        report.contradiction((*path, "ca_certs"), text, *by_certificate, (*path, "psk_file"))


def _name(name: str, path: KeyPath, report: Report) -> None:
    if not _NAME.fullmatch(name):
        text = f"{shown(name)} is no usable name; allowed: up to 63 letters, digits, '_', '-' and '.', not '.' first"
        report.contradiction(path, text)


def _mode(child: Child, peer: Peer, path: KeyPath, report: Report) -> None:
    mode = (*path, "mode")
    if child.mode == "interface":
        if child.if_id is None:
            text = 'it is missing; allowed: the if_id of the XFRM interface, which mode "interface" needs'
            report.contradiction((*path, "if_id"), text, mode)
    else:
        for key, value in (("if_id", child.if_id), ("interface", child.interface)):
            if value is not None:
                text = f'it is for an XFRM interface, and the mode is "{child.mode}"; allowed: mode "interface"'
                report.contradiction((*path, key), text, mode)
    if child.mode != "transport":
        return
    peer_path = path[:2]
    for key, network, end in (("local", child.local_ts, peer.local), ("remote", child.remote_ts, peer.remote)):
        if network != IPv4Network(end):
            text = f"{network} is not {key} of the peer; allowed: {end}/32, which is all that transport mode carries"
            report.contradiction((*path, f"{key}_ts"), text, mode, (*peer_path, key))


def _selectors(children: dict[KeyPath, Child], report: Report) -> None:
    for (first_path, first), (path, second) in combinations(children.items(), 2):
        if not (first.local_ts.overlaps(second.local_ts) and first.remote_ts.overlaps(second.remote_ts)):
            continue
        apart = first.if_id != second.if_id  # each has the packets of its own XFRM interface, whatever their addresses
        if apart and first_path[:2] != path[:2]:
            continue
        selectors = (*paths(path, "local_ts", "remote_ts"), *paths(first_path, "local_ts", "remote_ts"))
        if any(report.is_wrong(one) for one in selectors):
            continue
        same = (first.local_ts, first.remote_ts) == (second.local_ts, second.remote_ts)
        if apart:
            text = (
                f"its traffic selectors overlap those of {first.name}: the other side cannot tell by them which "
                "of the two we mean"
            )
            report.note(path, text)
        elif same and first_path[:2] == path[:2]:
            text = f"it has the same traffic selectors as {first.name}; allowed: one child for each pair"
            report.contradiction(path, text)
        else:
            text = f"its traffic selectors overlap those of {first.name}: only one of the two carries what both match"
            report.note(path, text)
