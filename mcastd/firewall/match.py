"""Parts of rules in the language of nft(8), and what of a configuration they are made from. Pure."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import Final

from mcastd.config.model import Child, Config

USERSPACE_ESP: Final = "ipsec0"
"""The interface of charon's ESP in user space (kernel-libipsec)."""


def field(name: str, network: IPv4Network) -> str:
    """A match of addresses, followed by a blank; empty if all addresses match."""
    return f"ip {name} {network} " if network.prefixlen else ""


def one_of(members: Iterable[object]) -> str:
    """One member, or a set of several."""
    texts = list(map(str, members))
    return texts[0] if len(texts) == 1 else f"{{ {', '.join(texts)} }}"


def protocol(child: Child) -> str:
    """The protocol that the selectors of a CHILD_SA are limited to, followed by a blank, or nothing."""
    return "ip protocol 47 " if child.protocol == "gre" else ""


def children(config: Config) -> dict[str, Child]:
    """All CHILD_SAs by name."""
    return {child.name: child for peer in config.peers for child in peer.children}


def link(config: Config, child: Child) -> str | None:
    """The XFRM interface that a CHILD_SA is bound to, if any."""
    alone = {tunnel.child: tunnel.name for tunnel in config.tunnels if tunnel.encapsulation == "none"}
    return (child.interface or alone.get(child.name)) if child.mode == "interface" else None


def snat_sources(config: Config, child: Child) -> str:
    """The sources that ``snat`` of a CHILD_SA is for; without ``snat_from`` those that no CHILD_SA has inside."""
    # nft refuses a set with overlapping members.
    if child.snat_from:
        return one_of(collapse_addresses(child.snat_from))
    return f"!= {one_of(inside(config, child))}"


def inside(config: Config, child: Child) -> Iterator[IPv4Network]:
    """The local selectors of all CHILD_SAs towards the same addresses."""
    others = children(config).values()
    return collapse_addresses(one.local_ts for one in others if one.remote_ts.overlaps(child.remote_ts))


def is_between_gateways(config: Config, child: Child) -> bool:
    """Whether a CHILD_SA is for the peer's own address alone, as in transport mode."""
    return any(child.remote_ts == IPv4Network(peer.remote) for peer in config.peers)


def ike_and_esp(peers: Iterable[IPv4Address]) -> Iterator[str]:
    """Matches of what carries the SAs themselves, which selectors that cover a peer's address must not take."""
    for peer in peers:
        yield f"ip daddr {peer} udp dport {{ 500, 4500 }}"
        yield f"ip daddr {peer} udp sport {{ 500, 4500 }}"  # a peer behind a NAT has other ports
        yield f"ip daddr {peer} ip protocol 50"


def peers_within(config: Config, found: Iterable[Child]) -> list[IPv4Address]:
    """The addresses of peers that the remote selectors of CHILD_SAs cover."""
    networks = [child.remote_ts for child in found]
    remotes = {peer.remote for peer in config.peers}
    return sorted(remote for remote in remotes if any(remote in network for network in networks))
