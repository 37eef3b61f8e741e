"""Several gateways of one other side: a peer, and those that stand by for it. Pure.

One of them is active at a time. It has the CHILD_SAs of the first, under the same names, so that nothing but IPsec has
to know which one it is.
"""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from mcastd.config.model import Config, Peer


def by_first(peers: Iterable[Peer]) -> dict[str, tuple[Peer, ...]]:
    """By the name of a peer that others stand by for, its gateways: itself, then these in the order of the file."""
    peers = tuple(peers)
    found = {peer.name: [peer] for peer in peers if peer.standby_for is None}
    for peer in peers:
        if peer.standby_for in found:
            found[peer.standby_for].append(_with_children(peer, found[peer.standby_for][0]))
    return {name: tuple(gateways) for name, gateways in found.items() if len(gateways) > 1}


def in_use(peers: Iterable[Peer], active: Mapping[str, str]) -> tuple[Peer, ...]:
    """The peers without those that stand by; ``active`` has by the first gateway's name that of the active one.

    Where it has none that exists, the first is. The active one has the children.
    """
    peers = tuple(peers)
    gateways = by_first(peers)
    return tuple(
        next((one for one in gateways.get(peer.name, ()) if one.name == active.get(peer.name)), peer)
        for peer in peers
        if peer.standby_for is None
    )


def config_in_use(config: Config, active: Mapping[str, str]) -> Config:
    """The configuration as if the file had no gateways but the active ones."""
    return replace(config, peers=in_use(config.peers, active)) if by_first(config.peers) else config


def complete(peer: Peer, peers: Iterable[Peer]) -> Peer:
    """A peer with the CHILD_SAs that it has when it is active."""
    first = next((one for one in peers if one.name == peer.standby_for), None)
    return peer if first is None else _with_children(peer, first)


def _with_children(peer: Peer, first: Peer) -> Peer:
    return replace(peer, standby_for=None, children=first.children)
