"""The article's agreement, and variations of it."""

from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from mcastd.config.load import load
from mcastd.config.model import Config, UpstreamProtocol

EXAMPLE = Path(__file__).parents[3] / "etc" / "mcastd.toml"


def example() -> Config:
    return load(EXAMPLE, check_files=False).config


def with_peer(config: Config, **changes: Any) -> Config:
    return replace(config, peers=(replace(config.peers[0], **changes), *config.peers[1:]))


def with_child(config: Config, **changes: Any) -> Config:
    """The child that carries GRE, changed."""
    first, *others = config.peers[0].children
    return with_peer(config, children=(replace(first, **changes), *others))


def with_tunnel(config: Config, **changes: Any) -> Config:
    return replace(config, tunnels=(replace(config.tunnels[0], **changes),))


def with_pim(config: Config, **changes: Any) -> Config:
    pim = config.tunnels[0].pim
    assert pim is not None
    return with_tunnel(config, pim=replace(pim, **changes))


def transport() -> Config:
    """Classic GRE over IPsec, behind the 1:1 NAT."""
    config = example()
    peer = config.peers[0]
    ends = {"local_ts": IPv4Network(peer.local), "remote_ts": IPv4Network(peer.remote)}
    config = with_child(config, mode="transport", protocol="gre", **ends)
    return with_tunnel(config, local=peer.local, remote=peer.remote)


def route_based(*, gre: bool) -> Config:
    """An XFRM interface, with GRE in it or not."""
    everything = IPv4Network("0.0.0.0/0")
    config = with_child(
        example(), mode="interface", if_id=7, interface="ipsec7", local_ts=everything, remote_ts=everything
    )
    return config if gre else with_tunnel(config, encapsulation="none")


def without_pim(upstream: UpstreamProtocol | None) -> Config:
    """The example, with this in the place of PIM."""
    found = example()
    return replace(found, tunnels=(replace(found.tunnels[0], pim=None, upstream=upstream),))
