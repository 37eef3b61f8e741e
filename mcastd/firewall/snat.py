"""SNAT into the selectors of a CHILD_SA, before all NAT of other programs. Pure."""

from collections.abc import Iterator
from typing import Final

from mcastd.config.model import Child, Config
from mcastd.firewall.match import (
    children,
    field,
    ike_and_esp,
    is_between_gateways,
    link,
    peers_within,
    protocol,
    snat_sources,
)

SNAT: Final = "snat-"
"""Prefix of the counters' names; the CHILD_SA's name follows."""

PRIORITY: Final = "srcnat - 10"
"""Of chains with equal priority the kernel asks the one that was registered last first, and the first that translates
decides; other programs have theirs at ``srcnat``."""


def snat(config: Config) -> Iterator[str]:
    """The rules of the chain of type nat, which sees the first packet of each connection.

    What the selectors cover already keeps its source: translated to the one that it has, it is left alone by the rules
    of other programs, such as one that masquerades everything that leaves by an interface.
    """
    natted = [child for child in children(config).values() if child.snat is not None]
    bound = [child for child in natted if link(config, child)]
    between_gateways = [child for child in natted if child not in bound and is_between_gateways(config, child)]
    wide = [child for child in natted if child not in bound and child not in between_gateways]
    yield from (_snat(config, child) for child in bound)
    yield from (f"{match} accept" for match in ike_and_esp(peers_within(config, between_gateways + wide)))
    yield from (_snat(config, child) for child in between_gateways)
    yield from (f"ip daddr {peer} accept" for peer in peers_within(config, wide))
    yield from (_snat(config, child) for child in wide)
    if config.firewall.guard:
        for child in (one for one in children(config).values() if one.mode == "tunnel"):
            ends = field("saddr", child.local_ts) + field("daddr", child.remote_ts)
            yield f"{ends}{protocol(child)}snat to ip saddr"


def counted(config: Config) -> Iterator[str]:
    """Count every packet whose source was translated."""
    for child in children(config).values():
        if child.snat is not None:
            yield (
                f"{_leaving_by(config, child)}ip saddr {child.snat} {field('daddr', child.remote_ts)}ct status snat "
                f"counter name {SNAT}{child.name}"
            )


def _snat(config: Config, child: Child) -> str:
    there = f"{_leaving_by(config, child)}{field('daddr', child.remote_ts)}"
    return f"{there}ip saddr {snat_sources(config, child)} {protocol(child)}snat to {child.snat}"


def _leaving_by(config: Config, child: Child) -> str:
    name = link(config, child)
    return f'oifname "{name}" ' if name else ""
