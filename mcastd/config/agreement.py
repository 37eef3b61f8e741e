"""What was agreed on with the other side, where the file says it only by implication. Pure."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import msgspec

from mcastd.config.model import Child, Config, Peer, Tunnel
from mcastd.config.mtu import PATH_MTU, gre_header, largest_mtu
from mcastd.config.proposals import esp_of_proposal


def with_peer(config: Config, name: str) -> Config:
    """What is agreed on with one of the peers: it, the tunnels that its children carry, and their groups."""
    peers = tuple(peer for peer in config.peers if peer.name == name)
    children = {child.name for peer in peers for child in peer.children}
    tunnels = tuple(tunnel for tunnel in config.tunnels if tunnel.child in children)
    names = {tunnel.name for tunnel in tunnels}
    groups = tuple(group for group in config.groups if group.tunnel in names)
    return msgspec.structs.replace(config, peers=peers, tunnels=tunnels, groups=groups)


def as_address(identity: str) -> IPv4Address | None:
    """An IKE identity that is an address, or None."""
    try:
        return IPv4Address(identity)
    except ValueError:
        return None


def public_address(peer: Peer) -> IPv4Address | None:
    """Our own address as the other side sees it; None where the file does not tell.

    Behind a 1:1 NAT the identity is that address.
    """
    if peer.local.is_global:
        return peer.local
    identity = as_address(peer.local_id)
    if identity is not None:
        return identity
    return None if peer.remote.is_global else peer.local


def behind_nat(peer: Peer) -> bool:
    """Whether the other side sees another address than the one we have."""
    return public_address(peer) != peer.local


def in_udp(peer: Peer) -> bool:
    """Whether ESP travels in UDP (RFC 3948)."""
    return peer.encap or behind_nat(peer)


def carrier(config: Config, tunnel: Tunnel) -> tuple[Peer, Child] | None:
    """The child that carries a tunnel and its peer; None for GRE in the clear."""
    for peer in config.peers:
        for child in peer.children:
            if child.name == tunnel.child:
                return peer, child
    return None


def seen(carried: tuple[Peer, Child] | None, address: IPv4Address) -> IPv4Address | None:
    """A GRE endpoint of ours as the other side has it; None where the file does not tell.

    In transport mode a NAT changes it as it changes the peer's address; in tunnel mode it does not see it.
    """
    if carried is None or carried[1].mode != "transport" or address != carried[0].local:
        return address
    return public_address(carried[0])


def far_selectors(peer: Peer, child: Child) -> tuple[IPv4Network, IPv4Network]:
    """A child's traffic selectors, ours and theirs, as the other side has them, as far as the file tells."""
    if child.local_ts == IPv4Network(peer.local):
        return IPv4Network(seen((peer, child), peer.local) or peer.local), child.remote_ts
    return child.local_ts, child.remote_ts


def far_address(tunnel: Tunnel) -> IPv4Interface | None:
    """The other side's address on the tunnel; None where the file does not tell."""
    network = tunnel.address.network
    known = tunnel.peer_address or (tunnel.pim.neighbor if tunnel.pim is not None else None)
    if known is None and network.prefixlen in (30, 31):
        known = next(host for host in network.hosts() if host != tunnel.address.ip)
    return None if known is None else IPv4Interface((known, network.prefixlen))


def far_mtu(config: Config, tunnel: Tunnel) -> int:
    """The MTU that the other side should give its end: ours where it is a number, else what fits, in bytes."""
    if tunnel.mtu is not None:
        return tunnel.mtu
    gre, carried = gre_header(tunnel), carrier(config, tunnel)
    if carried is None:
        return largest_mtu(PATH_MTU, None, gre=gre)
    peer, child = carried
    transforms = [esp for proposal in child.proposals for esp in esp_of_proposal(proposal)]
    return min(largest_mtu(PATH_MTU, esp, mode=child.mode, encap=in_udp(peer), gre=gre) for esp in transforms)
