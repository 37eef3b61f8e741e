"""Which packets are shown: those of the configuration or of one of its tunnels, of some kinds. Pure."""

from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Final, Literal, NamedTuple, get_args

from mcastd.config.gateways import complete
from mcastd.config.model import Config

Kind = Literal["ike", "keepalive", "pim", "igmp"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_UDP, _GRE = 17, 47


class Scope(NamedTuple):
    """Interfaces on which every packet is shown, and remote ends whose IKE or GRE is shown on any interface."""

    interfaces: frozenset[str]
    peers: frozenset[bytes]
    ends: frozenset[bytes]
    kinds: tuple[str, ...] = KINDS
    group: IPv4Address | None = None
    """Only what PIM and IGMP say of it is shown"""

    def holds(self, interface: str, packet: bytes) -> bool:
        """Whether an IPv4 packet that passed there is in scope."""
        if len(packet) < 20:
            return False
        if interface in self.interfaces:
            return True
        far = {_UDP: self.peers, _GRE: self.ends}.get(packet[9], frozenset())
        return packet[12:16] in far or packet[16:20] in far


def scope_of(
    config: Config, tunnel: str | None = None, kinds: tuple[str, ...] = KINDS, group: IPv4Address | None = None
) -> Scope:
    """The scope of a configuration, or of one tunnel with its peer. Raises KeyError if there is no such tunnel."""
    tunnels = {each.name: each for each in config.tunnels}
    chosen = list(tunnels.values()) if tunnel is None else [tunnels[tunnel]]
    children = {each.child for each in chosen}
    peers = [complete(peer, config.peers) for peer in config.peers]
    peers = [peer for peer in peers if tunnel is None or any(child.name in children for child in peer.children)]
    return Scope(
        frozenset(each.name for each in chosen),
        _packed(peer.remote for peer in peers),
        _packed(each.remote for each in chosen if each.encapsulation == "gre"),
        kinds if group is None else tuple(kind for kind in kinds if kind in ("pim", "igmp")),
        group,
    )


def _packed(addresses: Iterable[IPv4Address]) -> frozenset[bytes]:
    return frozenset(address.packed for address in addresses)
