"""The parameters as the other side has them, as far as the file implies them."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import msgspec

from mcastd.config.gateways import complete
from mcastd.config.model import Child, Config, Peer, Tunnel
from mcastd.config.mtu import PATH_MTU, gre_header, largest_mtu
from mcastd.config.proposals import esp_of_proposal


def with_peer(config: Config, name: str) -> Config:
    """The part of one peer: the peer, the tunnels that its children carry, and the groups on them."""
    peers = tuple(complete(peer, config.peers) for peer in config.peers if peer.name == name)
    children = {child.name for peer in peers for child in peer.children}
    tunnels = tuple(tunnel for tunnel in config.tunnels if tunnel.child in children)
    names = {tunnel.name for tunnel in tunnels}
    groups = tuple(group for group in config.groups if names.intersection(group.tunnels))
    return msgspec.structs.replace(config, peers=peers, tunnels=tunnels, groups=groups)


def as_address(identity: str) -> IPv4Address | None:
    """An IKE identity that is an address, or None."""
    try:
        return IPv4Address(identity)
    except ValueError:
        return None


def public_address(peer: Peer) -> IPv4Address | None:
    """Our address as the other side sees it; None if the file does not imply it.

    Behind a 1:1 NAT the identity is that address.
    """
    if peer.local.is_global:
        return peer.local
    identity = as_address(peer.local_id)
    if identity is not None:
        return identity
    return None if peer.remote.is_global else peer.local


def behind_nat(peer: Peer) -> bool:
    """Whether the other side sees another address than our own."""
    return public_address(peer) != peer.local


def esp_in_udp(peer: Peer) -> bool:
    """Whether ESP travels in UDP (RFC 3948)."""
    return peer.encap or behind_nat(peer)


def carrier(config: Config, tunnel: Tunnel) -> tuple[Peer, Child] | None:
    """The peer and the child that carry a tunnel; None for GRE without IPsec."""
    for peer in config.peers:
        for child in peer.children:
            if child.name == tunnel.child:
                return peer, child
    return None


def endpoint_seen(carried: tuple[Peer, Child] | None, address: IPv4Address) -> IPv4Address | None:
    """Our GRE endpoint as the other side has it; None if the file does not imply it.

    In transport mode a NAT translates it together with the address of the peer; in tunnel mode it is inside ESP.
    """
    if carried is None or carried[1].mode != "transport" or address != carried[0].local:
        return address
    return public_address(carried[0])


def far_selectors(peer: Peer, child: Child) -> tuple[IPv4Network, IPv4Network]:
    """The traffic selectors of a child, ours and theirs, as the other side has them."""
    if child.local_ts == IPv4Network(peer.local):
        return IPv4Network(endpoint_seen((peer, child), peer.local) or peer.local), child.remote_ts
    return child.local_ts, child.remote_ts


def far_address(tunnel: Tunnel) -> IPv4Interface | None:
    """The other side's address on the tunnel; None if the file does not imply it."""
    network = tunnel.address.network
    known = tunnel.peer_address or (tunnel.pim.neighbor if tunnel.pim is not None else None)
    if known is None and network.prefixlen in (30, 31):
        known = next(host for host in network.hosts() if host != tunnel.address.ip)
    return None if known is None else IPv4Interface((known, network.prefixlen))


def far_mtu(config: Config, tunnel: Tunnel) -> int:
    """The MTU in bytes that the other side should configure: ours if it is a number, else what fits."""
    if tunnel.mtu is not None:
        return tunnel.mtu
    gre, carried = gre_header(tunnel), carrier(config, tunnel)
    if carried is None:
        return largest_mtu(PATH_MTU, None, gre=gre)
    peer, child = carried
    transforms = [esp for proposal in child.proposals for esp in esp_of_proposal(proposal)]
    return min(largest_mtu(PATH_MTU, esp, mode=child.mode, encap=esp_in_udp(peer), gre=gre) for esp in transforms)
