"""Rules for ``standby_for``: several gateways of one other side."""

from collections.abc import Mapping
from typing import Final

from mcastd.config.model import Config, Peer
from mcastd.config.report import Report, Table, shown
from mcastd.config.schema import keys

_STANDBY_AFTER: Final = next(key.default for key in keys(Peer) if key.name == "standby_after")


def check(config: Config, report: Report) -> None:
    """A standby names a peer with CHILD_SAs that any gateway can have, and has none itself."""
    peers = {peer.name: peer for peer in config.peers}
    for peer in config.peers:
        at = report.table("peers", peer.name)
        if peer.standby_for is not None:
            _names_the_first(peer, peers, at)
        elif not any(one.standby_for == peer.name for one in config.peers):
            if peer.standby_after != _STANDBY_AFTER:
                at.note("standby_after", f"it has no effect: no peer has standby_for = {shown(peer.name)}")
            continue
        if peer.dpd_delay == 0:
            text = "without dead peer detection a dead gateway is found by the GRE keepalives of its tunnels alone"
            at.note("dpd_delay", f"{text}; common is 30s")


def _names_the_first(peer: Peer, peers: Mapping[str, Peer], at: Table) -> None:
    first = peers.get(peer.standby_for or "")
    names = ", ".join(name for name, one in peers.items() if one is not peer and one.standby_for is None)
    if first is None or first is peer:
        at.refuse(
            "standby_for", f"there is no other peer {shown(peer.standby_for)}; allowed: {names or 'none is there'}"
        )
        return
    if first.standby_for is not None:
        text = (
            f"{first.name} is itself a standby; allowed: {names or 'none is there'}, the order of several is the file's"
        )
        at.refuse("standby_for", text, ("peers", first.name, "standby_for"))
        return
    if peer.children:
        text = f"a standby has the children of {first.name}, whose tunnels it carries, and here are others"
        at.refuse("standby_for", f"{text}; allowed: without children", "children")
    for child in first.children:
        if child.mode == "transport":
            text = f"the selectors of {child.name} are the addresses of {first.name} (transport mode)"
            where = ("peers", first.name, "children", child.name, "mode")
            at.refuse(
                "standby_for", f'{text}; allowed: mode "tunnel" or "interface", with the same selectors for all', where
            )
    if peer.remote == first.remote:
        at.refuse(
            "remote", f"it is the address of {first.name}; allowed: another gateway's", ("peers", first.name, "remote")
        )
