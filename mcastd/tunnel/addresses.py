"""The addresses of a tunnel's link, and the difference to those that it has. Pure."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import msgspec

from mcastd.config.model import Config, Tunnel

Entry = tuple[IPv4Interface, IPv4Address | None]
"""An address, and the far end of a point-to-point address."""


class AddressPlan(msgspec.Struct, frozen=True):
    """The changes, in their order."""

    delete_first: tuple[Entry, ...]
    add: tuple[Entry, ...]
    delete_last: tuple[Entry, ...]


def addresses(tunnel: Tunnel) -> tuple[Entry, ...]:
    """The addresses of a tunnel, the primary one first."""
    return (tunnel.address, tunnel.peer_address), *((address, None) for address in tunnel.addresses)


def snat(config: Config) -> set[IPv4Address]:
    """The addresses of SNAT that are to be on the loopback."""
    children = (child for peer in config.peers for child in peer.children)
    return {child.snat for child in children if child.snat is not None and child.snat_loopback}


def loopbacks(config: Config) -> set[IPv4Address]:
    """The addresses that may be mcastd's on the loopback: of SNAT, and the tunnels' endpoints."""
    return snat(config) | {tunnel.local for tunnel in config.tunnels if tunnel.encapsulation == "gre"}


def plan(desired: Sequence[Entry], found: Sequence[Entry]) -> AddressPlan:
    """The difference. ``desired`` has the primary address first, and the kernel lists it first in ``found``.

    New addresses are added before old ones are deleted, except within one subnet: there the kernel takes two addresses
    that differ in the far end alone for the same, and deletes the later ones of the subnet together with the first.
    """
    undesired = [entry for entry in found if entry not in desired]
    subnets = {_subnet(entry) for entry in desired}
    first = [entry for entry in undesired if _subnet(entry) in subnets]
    ahead = found[: found.index(desired[0])] if desired[0] in found else found
    first += [entry for entry in ahead if entry in desired]
    disturbed = {_subnet(entry) for entry in first}
    return AddressPlan(
        delete_first=tuple(first),
        add=tuple(entry for entry in desired if entry not in found or _subnet(entry) in disturbed),
        delete_last=tuple(entry for entry in undesired if entry not in first),
    )


def _subnet(entry: Entry) -> IPv4Network:
    """What the kernel compares: the prefix length, and the network of the far end."""
    interface, peer = entry
    return IPv4Network((peer or interface.ip, interface.network.prefixlen), strict=False)
