"""Rules about the networks of this host: selectors and routes that would take its own traffic into a tunnel. Pure.

In tunnel mode the kernel encrypts all that matches the selectors, whatever its route. With the host's address in
``local_ts`` and its gateway, or a connected network, in ``remote_ts``, the host loses both when the SA comes up. It
loses them too to a route through the tunnel that is as long as that of the connected network or longer.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import msgspec

from mcastd.config.line_numbers import KeyPath
from mcastd.config.model import Child, Config, Peer, Tunnel
from mcastd.config.report import Report, Table


class OwnNetwork(msgspec.Struct, frozen=True):
    """A network that is connected to this host, or its gateway (a /32), and the host's address towards it."""

    interface: str
    network: IPv4Network
    address: IPv4Address
    is_gateway: bool = False

    def __str__(self) -> str:
        what = f"the gateway {self.network[0]}" if self.is_gateway else f"the network {self.network}"
        return f"{what} of {self.interface}"


class Host(msgspec.Struct, frozen=True):
    """What this host has. The rules apply to peers whose ``local`` is one of ``addresses``: the file is for it."""

    addresses: frozenset[IPv4Address] = frozenset()
    networks: tuple[OwnNetwork, ...] = ()


def check(config: Config, host: Host, report: Report) -> None:
    """Refuse selectors and routes that would take what this host sends to its gateway or to a connected network.

    The far end is no address of a whole network.
    """
    ours = {tunnel.name for tunnel in config.tunnels}
    ours |= {child.interface for peer in config.peers for child in peer.children if child.interface}
    networks = [one for one in host.networks if one.interface not in ours]
    for peer in config.peers:
        _is_a_host(peer.remote, ("peers", peer.name, "remote"), networks, report)
        for child in peer.children if peer.local in host.addresses else ():
            taken = next(_taken(peer, child, networks), None)
            if taken is not None and not takes_everything(peer, child):
                at = report.table("peers", peer.name, "children", child.name)
                refuse(at, child, f"{taken}, to which this host sends from {taken.address}")
    for overlay in config.overlay:
        for index, member in enumerate(overlay.members):
            if member.prefixlen == member.max_prefixlen:
                _is_a_host(member[0], ("overlay", overlay.name, "members", index), networks, report)
    for tunnel in config.tunnels if any(peer.local in host.addresses for peer in config.peers) else ():
        _routes(tunnel, networks, report.table("tunnels", tunnel.name))


def _is_a_host(address: IPv4Address, path: KeyPath, networks: list[OwnNetwork], report: Report) -> None:
    for network in (one.network for one in networks if one.network.prefixlen < 31 and one.address in one.network):
        if address in (network.network_address, network.broadcast_address):
            text = f"{address} is the network or broadcast address of {network}; allowed: the address of a host"
            report.refuse(path, text)


def _routes(tunnel: Tunnel, networks: list[OwnNetwork], at: Table) -> None:
    if tunnel.rule_from:  # what others send does not use these routes
        return
    for index, route in enumerate(tunnel.routes):
        taken = next(_routed(route, networks), None) if isinstance(route, IPv4Network) else None
        if taken is not None:
            text = f"{route} takes {taken}, which this host reaches directly, into the tunnel; allowed: other networks"
            at.refuse(("routes", index), text, "rule_from")


def _routed(route: IPv4Network, networks: list[OwnNetwork]) -> Iterator[OwnNetwork]:
    """Networks that lose their own route to this one. A shorter one does no harm.

    Where this host has no address in the network, it is a route like ours, perhaps ours by an earlier name of a tunnel.
    """
    for one in networks:
        if one.network == route and one.address in route:
            yield one
        elif one.is_gateway and one.network.subnet_of(route):
            direct = (own.network for own in networks if not own.is_gateway and own.interface == one.interface)
            if any(route.subnet_of(own) and route != own for own in direct):
                yield one


def _taken(peer: Peer, child: Child, networks: list[OwnNetwork]) -> Iterator[OwnNetwork]:
    if child.mode != "tunnel" or child.protocol != "any":
        return
    if child.remote_ts == IPv4Network(peer.remote):
        return  # the peer alone, which IKE and ESP still reach; it may be the gateway or on a connected network
    for one in networks:
        if one.address in child.local_ts and one.network.subnet_of(child.remote_ts):
            yield one


def takes_everything(peer: Peer, child: Child) -> bool:
    """Whether the selectors take all that a host with ``local`` sends, whatever its networks are."""
    everything = peer.local in child.local_ts and child.remote_ts.prefixlen == 0
    return everything and child.mode == "tunnel" and child.protocol == "any"


def refuse(at: Table, child: Child, what: str) -> None:
    """Report selectors that take ``what``."""
    text = f'{child.remote_ts} from {child.local_ts} takes {what} into the CHILD_SA; allowed: mode = "interface" with '
    text += 'an if_id, narrower selectors, or protocol = "gre"'
    at.refuse("remote_ts", text, "local_ts", "mode", "protocol")
