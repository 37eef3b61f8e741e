"""The effects of the machine, for the agent to carry out: packets to send, and events to log."""

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
    """The first Hello of a neighbour has arrived."""

    interface: str
    neighbor: IPv4Address
    generation_id: int | None


@dataclass(frozen=True, slots=True)
class NeighborRestarted:
    """A neighbour has another Generation ID: it has lost the state of our Joins."""

    interface: str
    neighbor: IPv4Address
    generation_id: int | None


@dataclass(frozen=True, slots=True)
class NeighborDown:
    """A neighbour is down; ``reason`` is a text for people."""

    interface: str
    neighbor: IPv4Address
    reason: str


@dataclass(frozen=True, slots=True)
class NeighborMissing:
    """No Hello of RPF' came in the time in which a router answers ours."""

    interface: str
    neighbor: IPv4Address | None


@dataclass(frozen=True, slots=True)
class HelloOverdue:
    """The Hello of RPF' is overdue; ``seconds`` is how long none came."""

    interface: str
    neighbor: IPv4Address
    seconds: float


@dataclass(frozen=True, slots=True)
class HelloResumed:
    """The Hello that was overdue has come."""

    interface: str
    neighbor: IPv4Address


class Entry(NamedTuple):
    """(*,G) with its rendezvous point, or (S,G)."""

    group: IPv4Address
    source: IPv4Address | None
    rp: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """The upstream neighbour has been sent a Join of entries that it had not been sent before."""

    interface: str
    upstream: IPv4Address
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Pruned:
    """The upstream neighbour has been sent a Prune of entries."""

    interface: str
    upstream: IPv4Address
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class BootstrapRouterChanged:
    """Another bootstrap router is accepted; None: there is none any more."""

    interface: str
    bootstrap_router: IPv4Address | None
    priority: int | None


@dataclass(frozen=True, slots=True)
class RpSetChanged:
    """Bootstrap messages changed which rendezvous points serve which groups: the number of ranges, and all RPs."""

    interface: str
    ranges: int
    rps: tuple[IPv4Address, ...]


@dataclass(frozen=True, slots=True)
class AutoRpChanged:
    """Auto-RP messages changed a mapping: the number of mappings, and all RPs."""

    interface: str
    ranges: int
    rps: tuple[IPv4Address, ...]


Event = (
    NeighborUp
    | NeighborRestarted
    | NeighborDown
    | NeighborMissing
    | HelloOverdue
    | HelloResumed
    | Joined
    | Pruned
    | BootstrapRouterChanged
    | RpSetChanged
    | AutoRpChanged
)
Effect = Send | Event
