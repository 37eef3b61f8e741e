"""Which connections were translated otherwise than the rules do it now, because they began before. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Final

import msgspec

from mcastd.config.model import Config
from mcastd.firewall.child_guard import LEAK_CHILD, is_meant
from mcastd.firewall.match import children, inside
from mcastd.firewall.snat import SNAT
from mcastd.net.flow import Flow

_GRE: Final = 47


class Translation(msgspec.Struct, frozen=True):
    """What SNAT does for a CHILD_SA to sources in ``sources``, or in ``but`` not: ``to`` None keeps the source."""

    child: str
    only_gre: bool
    destination: IPv4Network
    peers: tuple[IPv4Address, ...]
    sources: tuple[IPv4Network, ...]
    but: tuple[IPv4Network, ...]
    to: IPv4Address | None

    def misses(self, flow: Flow) -> bool:
        """Whether a connection is for the CHILD_SA and was not translated so."""
        if not _within(flow.destination, (self.destination,)) or (self.only_gre and flow.protocol != _GRE):
            return False
        if any(flow.destination == int(peer) for peer in self.peers):
            return False
        if not _within(flow.source, self.sources) or _within(flow.source, self.but):
            return False
        return flow.answers_to != (flow.source if self.to is None else int(self.to))


def translations(config: Config) -> Iterator[Translation]:
    """What the rules of SNAT do, of each connection the first that concerns it."""
    peers = tuple(peer.remote for peer in config.peers)
    everything = (IPv4Network("0.0.0.0/0"),)
    for child in (one for one in children(config).values() if is_meant(config, one)):
        only_gre = child.protocol == "gre"
        if child.snat is not None:
            sources = child.snat_from or everything
            but = () if child.snat_from else tuple(inside(config, child))
            yield Translation(child.name, only_gre, child.remote_ts, peers, sources, but, child.snat)
        if config.firewall.guard and child.mode == "tunnel":
            yield Translation(child.name, only_gre, child.remote_ts, peers, (child.local_ts,), child.snat_from, to=None)


def new(
    wanted: Collection[Translation], before: Iterable[Translation], counts: Mapping[str, object]
) -> tuple[Translation, ...]:
    """Those that were not there ``before``, nor in a table of the previous process that had these counters."""
    known = set(before)
    counted = {
        one for one in wanted if not counts.keys().isdisjoint((f"{SNAT}{one.child}", f"{LEAK_CHILD}{one.child}"))
    }
    return tuple(one for one in wanted if one not in known | counted)


def _within(address: int, networks: Iterable[IPv4Network]) -> bool:
    return any(address & int(one.netmask) == int(one.network_address) for one in networks)
