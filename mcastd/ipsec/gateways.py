"""Which peers charon gets: the active gateways, with the CHILD_SAs that they have while they are active. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from mcastd.config.gateways import in_use
from mcastd.config.model import Peer
from mcastd.ipsec.messages import PeerWithKey


def used_and_idle(
    peers: tuple[PeerWithKey, ...], active: Mapping[str, str]
) -> tuple[tuple[PeerWithKey, ...], tuple[Peer, ...]]:
    """The peers that are used, and the gateways that stand by; ``active`` is as ``in_use`` takes it."""
    keys = {one.peer.name: one for one in peers}
    used = in_use((one.peer for one in peers), active)
    names = {peer.name for peer in used}
    idle = tuple(one.peer for one in peers if one.peer.name not in names)
    return tuple(replace(keys[peer.name], peer=peer) for peer in used), idle
