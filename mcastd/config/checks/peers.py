"""Rules for ``[peers.NAME]``."""

import re
from typing import Final

from mcastd.config.model import Config, Peer
from mcastd.config.report import Report, Table, dotted, shown
from mcastd.config.value_types import spell

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,62}")
_PATTERN: Final = re.compile(r"[*%]|^[\d.]+[/-][\d.]+$")
_SHORT: Final = 60.0
"""Seconds; a shorter lifetime is probably a mistake in the unit."""
_CERTIFICATES: Final = ("local_cert", "local_key", "ca_certs", "remote_cert")


def check(config: Config, report: Report) -> None:
    """Apply every rule to every peer."""
    for peer in config.peers:
        at = report.table("peers", peer.name)
        name_for_charon(peer.name, at)
        _ends_differ(peer, at)
        _credentials(peer, at)
        _retry_pauses(peer, at)
        lifetime(peer.lifetime, at)
        _identities(peer, at)
        if peer.standby_for is None and not peer.children:
            text = "it is missing, so that nothing is established"
            text += f"; allowed: at least one [{dotted((*at.path, 'children', 'NAME'))}]"
            at.refuse("children", text, "standby_for")
    _identities_differ(config.peers, report)


def name_for_charon(name: str, at: Table) -> None:
    """The name of a peer or a child is one that a connection of charon can have."""
    if not _NAME.fullmatch(name):
        text = f"{shown(name)} is not a usable name; allowed: up to 63 letters, digits, '_', '-' and '.', not '.' first"
        at.refuse((), text)


def _ends_differ(peer: Peer, at: Table) -> None:
    if peer.local == peer.remote:
        text = f"it is the same as local, {peer.local}; allowed: the other side's address"
        at.refuse("remote", text, "local")


def _credentials(peer: Peer, at: Table) -> None:
    if peer.psk_encoding != "text" and peer.psk_file is None:
        at.refuse("psk_encoding", "there is no psk_file; allowed: only together with psk_file", "psk_file")
    if peer.psk_file is not None:
        if any(getattr(peer, key) for key in _CERTIFICATES):
            text = "there are certificates as well; allowed: a pre-shared key or certificates, not both"
            at.refuse("psk_file", text, *_CERTIFICATES)
    elif not any(getattr(peer, key) for key in _CERTIFICATES):
        text = f"it is missing from [{dotted(at.path)}]; allowed: a pre-shared key, or local_cert and local_key"
        at.refuse("psk_file", text, *_CERTIFICATES)
    else:
        for key in ("local_cert", "local_key"):
            if getattr(peer, key) is None:
                text = "it is missing; allowed: local_cert and local_key together, for authentication by certificate"
                at.refuse(key, text, *_CERTIFICATES, "psk_file")
        if not peer.ca_certs and peer.remote_cert is None:
            text = "it is missing; allowed: ca_certs that issued the other side's certificate, or remote_cert itself"
            at.refuse("ca_certs", text, *_CERTIFICATES, "psk_file")


def _retry_pauses(peer: Peer, at: Table) -> None:
    if peer.retry_min > peer.retry_max:
        text = f"{peer.retry_min:g} s is more than retry_max, {peer.retry_max:g} s; allowed: at most that"
        at.refuse("retry_min", text, "retry_max")


def lifetime(seconds: float, at: Table) -> None:
    """Keys that are renewed every few seconds load both sides, and each renewal may fail."""
    if seconds < _SHORT:
        text = f"the keys are negotiated again every {spell(seconds)}; common are 1h to 24h"
        at.note("lifetime", text)


def _identities(peer: Peer, at: Table) -> None:
    if peer.local_id == str(peer.local) and peer.local.is_private and peer.remote.is_global:
        text = f"{peer.local} is a private address; behind a 1:1 NAT the other side expects the public one"
        at.note("local_id", text, "local", "remote")
    elif peer.local_id in ("%any", "0.0.0.0", "*"):
        at.note("local_id", f"{peer.local_id} stands for {peer.local}, which the other side does not know behind a NAT")
    elif _PATTERN.search(peer.local_id):
        text = f"{shown(peer.local_id)} is a pattern; the other side gets it as it is, and expects one identity"
        at.note("local_id", text)
    elif peer.local_id == peer.remote_id:
        at.note("local_id", f"it is the same as remote_id, {shown(peer.remote_id)}", "remote_id")


def _identities_differ(peers: tuple[Peer, ...], report: Report) -> None:
    keys = ("local", "remote", "local_id", "remote_id")
    found: dict[tuple[object, ...], Table] = {}
    for peer in peers:
        at = report.table("peers", peer.name)
        other = found.setdefault(tuple(getattr(peer, key) for key in keys), at)
        if other != at:
            text = f"it has the addresses and identities of {dotted(other.path)}; allowed: one peer for all children"
            at.refuse((), text, *keys, *other.keys(*keys))
