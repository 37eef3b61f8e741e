"""What one link should be, what the host shows, and the actions that make one the other. Pure."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Literal

from mcastd.config.model import Tunnel
from mcastd.links import Gre, Xfrm

Backend = Literal["kernel", "userspace"]
_Address = tuple[IPv4Interface, IPv4Address | None]


@dataclass(frozen=True, slots=True)
class Pumped:
    """A TUN with a pump that does what a link of kind ``gre`` does."""

    gre: Gre


Shape = Gre | Pumped | Xfrm


@dataclass(frozen=True, slots=True)
class Wanted:
    """One link as configured, with what is known by now. ``up`` is whether it may be set up.

    ``endpoint`` is the GRE endpoint that has to be an address of this host; ``addresses`` are the tunnel's, the primary
    one first, with the far end's. An XFRM interface below GRE has neither.
    """

    name: str
    shape: Shape
    mtu: int
    up: bool
    endpoint: IPv4Address | None = None
    addresses: tuple[_Address, ...] = ()
    rp_filter: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What the host shows. ``shape`` is that of a link of the kinds that we make, None for another one.

    ``ours`` says that the link of that name was made by us, in this life or one before, and ``pump_left`` that an
    earlier one left what it carried packets with; ``addresses`` are in the kernel's order, of which the first is the
    primary one of the link.
    """

    exists: bool = False
    ours: bool = False
    shape: Shape | None = None
    pump_left: bool = False
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

    shape: Shape


@dataclass(frozen=True, slots=True)
class AdoptLink:
    """Carry packets on the TUN that an earlier life made, and lose none."""

    gre: Gre


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


Action = Refuse | AddEndpoint | DeleteLink | CreateLink | AdoptLink | AddAddress | DeleteAddress | SetRpFilter | SetLink


def gre(tunnel: Tunnel) -> Gre:
    """The GRE link of a tunnel."""
    return Gre(tunnel.local, tunnel.remote, tunnel.gre)


def addresses(tunnel: Tunnel) -> tuple[_Address, ...]:
    """The addresses of a tunnel, the primary one first, each with the far end's."""
    return (tunnel.address, tunnel.peer_address), *((address, None) for address in tunnel.addresses)


def plan(wanted: Wanted, found: Found) -> list[Action]:
    """The actions, in order, that make what is found what is wanted; none when it is so already."""
    actions: list[Action] = []
    if found.exists and not found.ours:
        return [
            Refuse(f"an interface {wanted.name} exists and mcastd did not make it; remove it, or choose a new name")
        ]
    if wanted.endpoint is not None and not found.endpoint_present:
        actions.append(AddEndpoint(IPv4Interface(wanted.endpoint)))
    fresh = not found.exists
    if found.exists and found.shape is None and found.pump_left and isinstance(wanted.shape, Pumped):
        actions.append(AdoptLink(wanted.shape.gre))
    elif found.exists and found.shape != wanted.shape:
        actions.append(DeleteLink())
        fresh = True
    if fresh:
        actions.append(CreateLink(wanted.shape))
        found = Found()
    if wanted.rp_filter is not None and found.rp_filter != wanted.rp_filter:
        actions.append(SetRpFilter(wanted.rp_filter))
    if wanted.addresses:
        actions += _addresses(wanted.addresses, found.addresses)
    mtu = wanted.mtu if found.mtu != wanted.mtu else None
    multicast = not found.multicast
    # An interface once up stays up while its child is away: setting it down would throw applications' routes away.
    up = True if wanted.up and not found.up else None
    if mtu is not None or multicast or up is not None:
        actions.append(SetLink(mtu, multicast, up))
    return actions


def _addresses(wanted: tuple[_Address, ...], found: tuple[_Address, ...]) -> list[Action]:
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
