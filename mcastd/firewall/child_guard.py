"""The guard of a CHILD_SA: what it is for does not leave unencrypted, whether its SA is up or not. Pure.

A packet is for a CHILD_SA if its destination is in ``remote_ts``, and its source in ``local_ts`` or one that ``snat``
is for. The source that counts is that of the packet as it leaves and, since a NAT rule of another program may have
replaced it, that of the connection's first packet. SNAT does not see what belongs to no connection; such a packet of a
source of ``snat`` is dropped, too. Answers to connections from the other side are for the CHILD_SA if their source is.

An XFRM interface gets what the routes lead to it, so its selectors may be wider than what is sent to it. They say
nothing where ``remote_ts`` is everything, or where they cover this host's own address at both ends.
"""

from collections.abc import Iterable, Iterator

from mcastd.config.model import Child, Config
from mcastd.firewall.match import (
    USERSPACE_ESP,
    children,
    field,
    ike_and_esp,
    is_between_gateways,
    link,
    one_of,
    peers_within,
    protocol,
    snat_sources,
)

LEAK_CHILD, LEAK_INVALID = "leak-child-", "leak-invalid-"
"""Prefixes of the counters' names; the CHILD_SA's name follows. The second is of what belongs to no connection."""


def child_guards(configs: Iterable[Config]) -> list[str]:
    """The rules for the CHILD_SAs of configurations with the guard, after SNAT.

    What carries the SAs, and the peer itself unless a CHILD_SA is for its address alone, is exempt.
    """
    exempt: list[str] = []
    between_gateways: list[str] = []
    peers: list[str] = []
    others: list[str] = []
    for config in (one for one in configs if one.firewall.guard):
        found = [child for child in children(config).values() if is_meant(config, child)]
        wide = [child for child in found if not is_between_gateways(config, child)]
        links = one_of(f'"{name}"' for name in _encrypted(config))
        exempt += [f"{match} accept" for match in ike_and_esp(peers_within(config, found))]
        between_gateways += [rule for child in found if child not in wide for rule in _guard(config, child, links)]
        peers += [f"ip daddr {peer} accept" for peer in peers_within(config, wide)]
        others += [rule for child in wide for rule in _guard(config, child, links)]
    return list(dict.fromkeys((*exempt, *between_gateways, *peers, *others)))


def is_meant(config: Config, child: Child) -> bool:
    """Whether the selectors say what a CHILD_SA is for."""
    if child.mode != "interface":
        return True
    own = [peer.local for peer in config.peers if child in peer.children]
    swallows = any(address in child.local_ts and address in child.remote_ts for address in own)
    return child.remote_ts.prefixlen > 0 and not swallows


def _encrypted(config: Config) -> Iterator[str]:
    """The interfaces whose packets do not leave this host, or are encrypted later."""
    yield "lo"
    found = children(config).values()
    if any(child.mode == "tunnel" for child in found):
        yield USERSPACE_ESP
    tunnels = (tunnel.name for tunnel in config.tunnels if tunnel.child is not None)
    yield from sorted({*tunnels, *filter(None, (link(config, child) for child in found))})


def _guard(config: Config, child: Child, links: str) -> Iterator[str]:
    unencrypted = f"{protocol(child)}rt ipsec missing oifname != {links} counter name"
    there = field("daddr", child.remote_ts)
    dropped = f"{unencrypted} {LEAK_CHILD}{child.name} drop"
    yield f"{there}{field('saddr', child.local_ts)}{dropped}"
    if child.protocol == "gre":
        return  # the guard of GRE asks for no source
    if child.local_ts.prefixlen:
        yield f"{there}ct direction original ct original ip saddr {child.local_ts} {dropped}"
    if child.snat is not None:
        sources = snat_sources(config, child)
        yield f"{there}ct direction original ct original ip saddr {sources} {dropped}"
        yield f"{there}ct state invalid,untracked ip saddr {sources} {unencrypted} {LEAK_INVALID}{child.name} drop"
