"""What the machine asks of its agent: packets to send, and changes of state to tell people of."""

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

from mcastd.pim.packet import MessageType


@dataclass(frozen=True, slots=True)
class Send:
    """Send ``payload``, a whole PIM message, out of ``interface``."""

    interface: str
    destination: IPv4Address
    payload: bytes
    kind: MessageType


@dataclass(frozen=True, slots=True)
class NeighborUp:
    """A neighbour's first Hello."""

    interface: str
    neighbor: IPv4Address
    generation_id: int | None


@dataclass(frozen=True, slots=True)
class NeighborRestarted:
    """A neighbour's new generation id: it has forgotten what it was told."""

    interface: str
    neighbor: IPv4Address
    generation_id: int | None


@dataclass(frozen=True, slots=True)
class NeighborDown:
    """A neighbour is gone; ``reason`` in words."""

    interface: str
    neighbor: IPv4Address
    reason: str


class Entry(NamedTuple):
    """(*,G) with its rendezvous point, or (S,G)."""

    group: IPv4Address
    source: IPv4Address | None
    rp: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """The upstream neighbour has been sent a Join for entries that it did not have."""

    interface: str
    upstream: IPv4Address
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Pruned:
    """The upstream neighbour has been sent a Prune for entries."""

    interface: str
    upstream: IPv4Address
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class BootstrapRouterChanged:
    """Another bootstrap router is believed now; None if there is none any more."""

    interface: str
    bootstrap_router: IPv4Address | None
    priority: int | None


@dataclass(frozen=True, slots=True)
class RpSetChanged:
    """Bootstrap messages changed which rendezvous points serve which groups."""

    interface: str
    ranges: int
    rps: tuple[IPv4Address, ...]


@dataclass(frozen=True, slots=True)
class AutoRpChanged:
    """Auto-RP messages changed a mapping: how many there are now, and their rendezvous points."""

    interface: str
    ranges: int
    rps: tuple[IPv4Address, ...]


Event = (
    NeighborUp
    | NeighborRestarted
    | NeighborDown
    | Joined
    | Pruned
    | BootstrapRouterChanged
    | RpSetChanged
    | AutoRpChanged
)
Effect = Send | Event
