"""The effects of the machine, for the agent to carry out: packets to send, and events to log."""

from ipaddress import IPv4Address
from typing import NamedTuple

import msgspec

from mcastd.pim.packet import MessageType


class Send(msgspec.Struct, frozen=True):
    """Send ``payload``, a whole PIM message, out of ``interface``."""

    interface: str
    destination: IPv4Address
    payload: bytes
    kind: MessageType


class NeighborUp(msgspec.Struct, frozen=True):
    """The first Hello of a neighbour has arrived."""

    interface: str
    neighbor: IPv4Address
    generation_id: int | None


class NeighborRestarted(msgspec.Struct, frozen=True):
    """A neighbour has another Generation ID: it has lost the state of our Joins."""

    interface: str
    neighbor: IPv4Address
    generation_id: int | None


class NeighborDown(msgspec.Struct, frozen=True):
    """A neighbour is down; ``reason`` is a text for people."""

    interface: str
    neighbor: IPv4Address
    reason: str


class NeighborMissing(msgspec.Struct, frozen=True):
    """No Hello of RPF' came in the time in which a router answers ours."""

    interface: str
    neighbor: IPv4Address | None


class HelloOverdue(msgspec.Struct, frozen=True):
    """The Hello of RPF' is overdue; ``seconds`` is how long none came."""

    interface: str
    neighbor: IPv4Address
    seconds: float


class HelloResumed(msgspec.Struct, frozen=True):
    """The Hello that was overdue has come."""

    interface: str
    neighbor: IPv4Address


class Entry(NamedTuple):
    """(*,G) with its rendezvous point, or (S,G)."""

    group: IPv4Address
    source: IPv4Address | None
    rp: IPv4Address | None = None


class Joined(msgspec.Struct, frozen=True):
    """The upstream neighbour has been sent a Join of entries that it had not been sent before."""

    interface: str
    upstream: IPv4Address
    entries: tuple[Entry, ...]


class Pruned(msgspec.Struct, frozen=True):
    """The upstream neighbour has been sent a Prune of entries."""

    interface: str
    upstream: IPv4Address
    entries: tuple[Entry, ...]


class BootstrapRouterChanged(msgspec.Struct, frozen=True):
    """Another bootstrap router is accepted; None: there is none any more."""

    interface: str
    bootstrap_router: IPv4Address | None
    priority: int | None


class RpSetChanged(msgspec.Struct, frozen=True):
    """Bootstrap messages changed which rendezvous points serve which groups: the number of ranges, and all RPs."""

    interface: str
    ranges: int
    rps: tuple[IPv4Address, ...]


class AutoRpChanged(msgspec.Struct, frozen=True):
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
