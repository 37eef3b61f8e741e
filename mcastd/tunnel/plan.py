"""What one tunnel should be, what the host shows, and the actions that make one the other. Pure."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Literal

from mcastd.config.model import Tunnel

Backend = Literal["kernel", "userspace"]
_Address = tuple[IPv4Interface, IPv4Address | None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One tunnel as configured, with what is known by now. ``up`` is whether its child, if it has one, is."""

    tunnel: Tunnel
    backend: Backend
    mtu: int
    up: bool
    rp_filter: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """What the host shows. ``gre`` is (local, remote, ttl, key) of a kernel link; None for another kind.

    ``ours`` says that the link of that name was made by us, in this life or one before; ``addresses`` are in the
    kernel's order, of which the first is the primary one of the link.
    """

    exists: bool = False
    ours: bool = False
    kind: str | None = None
    gre: tuple[IPv4Address, IPv4Address, int, int | None] | None = None
    pump_running: bool = False
    mtu: int = 0
    up: bool = False
    multicast: bool = False
    addresses: tuple[_Address, ...] = ()
    endpoint_present: bool = False
    rp_filter: str | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """The name is taken by something that is not ours."""

    reason: str


@dataclass(frozen=True, slots=True)
class AddEndpoint:
    """Put the local endpoint's /32 on the loopback."""

    address: IPv4Interface


@dataclass(frozen=True, slots=True)
class DeleteLink:
    """Remove our link, because what it is cannot be changed in place, or it is no longer wanted."""


@dataclass(frozen=True, slots=True)
class CreateLink:
    """Make the link, down and quiet."""

    backend: Backend


@dataclass(frozen=True, slots=True)
class AddAddress:
    """Put a tunnel address on the link."""

    address: IPv4Interface
    peer: IPv4Address | None


@dataclass(frozen=True, slots=True)
class DeleteAddress:
    """Take an address off the link that is no longer wanted there."""

    address: IPv4Interface
    peer: IPv4Address | None


@dataclass(frozen=True, slots=True)
class SetRpFilter:
    """Set the link's reverse path filter."""

    value: str


@dataclass(frozen=True, slots=True)
class SetLink:
    """Set MTU, MULTICAST flag and state, each only where it is not None or False."""

    mtu: int | None
    multicast: bool
    up: bool | None


Action = Refuse | AddEndpoint | DeleteLink | CreateLink | AddAddress | DeleteAddress | SetRpFilter | SetLink


def plan(wanted: Wanted, found: Found) -> list[Action]:
    """The actions, in order, that make what is found what is wanted; none when it is so already."""
    tunnel = wanted.tunnel
    actions: list[Action] = []
    if found.exists and not found.ours:
        return [Refuse(f"an interface {tunnel.name} exists and mcastd did not make it; remove it or rename the tunnel")]
    if not found.endpoint_present:
        actions.append(AddEndpoint(IPv4Interface(tunnel.local)))
    fresh = not found.exists
    if found.exists and not _same_link(wanted, found):
        actions.append(DeleteLink())
        fresh = True
    if fresh:
        actions.append(CreateLink(wanted.backend))
        found = Found()
    if wanted.rp_filter is not None and found.rp_filter != wanted.rp_filter:
        actions.append(SetRpFilter(wanted.rp_filter))
    further: list[_Address] = [(address, None) for address in tunnel.addresses]
    actions += _addresses([(tunnel.address, tunnel.peer_address), *further], found.addresses)
    mtu = wanted.mtu if found.mtu != wanted.mtu else None
    multicast = not found.multicast
    # An interface once up stays up while its child is away: setting it down would throw applications' routes away.
    up = True if wanted.up and not found.up else None
    if mtu is not None or multicast or up is not None:
        actions.append(SetLink(mtu, multicast, up))
    return actions


def _addresses(wanted: list[_Address], found: tuple[_Address, ...]) -> list[Action]:
    """``wanted`` has the primary address first, and so has the link in the end."""
    others = [other for other in found if other not in wanted]
    subnets = {_subnet(address) for address in wanted}
    # Within one subnet the kernel takes two that differ in the peer alone for the same, and with the first address it
    # removes every later one: there the old ones go first. Elsewhere the new ones come first.
    first = [other for other in others if _subnet(other) in subnets]
    ahead = found[: found.index(wanted[0])] if wanted[0] in found else found
    first += [other for other in ahead if other in wanted]
    disturbed = {_subnet(other) for other in first}
    actions: list[Action] = [DeleteAddress(*other) for other in first]
    actions += [AddAddress(*one) for one in wanted if one not in found or _subnet(one) in disturbed]
    return actions + [DeleteAddress(*other) for other in others if other not in first]


def _subnet(address: _Address) -> IPv4Network:
    interface, peer = address
    return IPv4Network((peer or interface.ip, interface.network.prefixlen), strict=False)


def _same_link(wanted: Wanted, found: Found) -> bool:
    tunnel = wanted.tunnel
    if wanted.backend == "userspace":
        return found.kind == "tun" and found.pump_running
    return found.gre == (tunnel.local, tunnel.remote, tunnel.ttl, tunnel.key)
