"""What the previous process forwarded, as its entries in the kernel say, until hosts say again what they want. Pure.

A restart asks every host again, and the answers come within some seconds. Meanwhile what was forwarded is desired with
an origin of its own: it stays joined upstream, and goes on.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from typing import Final

from mcastd.config.downstream import Forward
from mcastd.membership import DesiredGroup
from mcastd.net.mroute import ANY, Entry

INHERITED: Final = "inherited"
"""The origin."""
_MARGIN: Final = 1.0


def hold(config: Forward) -> float:
    """Seconds in which hosts answer a start: the startup queries, and the response to the last (RFC 9776, 8.6, 8.7)."""
    return (config.robustness - 1) * config.query_interval / 4 + config.query_response_interval + _MARGIN


def desired(entries: Iterable[Entry]) -> Iterator[tuple[int, DesiredGroup]]:
    """By the outgoing VIF, what the entries of one group forward."""
    any_source: dict[int, None] = {}
    sources: dict[IPv4Address, set[int]] = {}
    for entry in entries:
        out = [vif for vif, _ in entry.out if vif != entry.parent]
        if entry.source == ANY:
            any_source |= dict.fromkeys(out)
        else:
            sources.setdefault(entry.source, set()).update(out)
    for vif in dict.fromkeys((*any_source, *(vif for out in sources.values() for vif in sorted(out)))):
        including = frozenset(source for source, out in sources.items() if vif in out)
        if vif in any_source:
            yield vif, DesiredGroup(any_source=True, excluded=frozenset(sources) - including)
        else:
            yield vif, DesiredGroup(sources=including)
