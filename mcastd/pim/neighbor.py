"""Neighbours on one link (RFC 7761, section 4.3): who they are, and what the link's effective timers are."""

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from ipaddress import IPv4Address
from math import inf
from typing import Final

from mcastd.pim.packet import DEFAULT_HELLO_HOLDTIME, FOREVER, Hello, LanPruneDelay

MAX_NEIGHBORS: Final = 64
MAX_ADDRESSES: Final = 250  # secondary ones of a neighbour: what a packet of 1,500 bytes can list, and some more
DEFAULT_PROPAGATION_DELAY: Final = 0.5
DEFAULT_OVERRIDE_INTERVAL: Final = 2.5


@dataclass(slots=True)
class Neighbor:
    """A router whose Hello was heard. ``expires`` is a deadline, infinite for a holdtime of 0xffff."""

    address: IPv4Address
    since: float
    expires: float
    hello: Hello = field(default_factory=Hello)

    def is_at(self, address: IPv4Address) -> bool:
        """Whether ``address`` is the neighbour's primary address or a secondary one."""
        return address == self.address or address in self.hello.addresses


class Change(Enum):
    """What a Hello changed."""

    NONE = auto()
    NEW = auto()
    RESTARTED = auto()
    GONE = auto()
    REFUSED = auto()


class Neighbors:
    """The neighbours of one interface, at most MAX_NEIGHBORS besides a configured one."""

    def __init__(self) -> None:
        self._all: dict[IPv4Address, Neighbor] = {}

    def __len__(self) -> int:
        return len(self._all)

    def all(self) -> list[Neighbor]:
        """The neighbours, in the order they came."""
        return list(self._all.values())

    def get(self, address: IPv4Address) -> Neighbor | None:
        """The neighbour whose primary address it is."""
        return self._all.get(address)

    def find(self, address: IPv4Address) -> Neighbor | None:
        """The neighbour known by a primary or, failing that, a secondary address (NBR(I,A) of section 4.1.5)."""
        found = self._all.get(address)
        return found or next((other for other in self._all.values() if other.is_at(address)), None)

    def hello(
        self, source: IPv4Address, hello: Hello, now: float, always: IPv4Address | None = None
    ) -> tuple[Change, list[Neighbor]]:
        """Take a Hello in (section 4.3.1); ``always`` is let in when the table is full.

        Returns what changed, and neighbours that the sender replaces because it lists their address as its own.
        """
        holdtime = DEFAULT_HELLO_HOLDTIME if hello.holdtime is None else hello.holdtime
        known = self._all.get(source)
        if holdtime == 0:
            return (Change.GONE if self._all.pop(source, None) else Change.NONE), []
        if known is None and len(self._all) >= MAX_NEIGHBORS and source != always:
            return Change.REFUSED, []
        expires = inf if holdtime == FOREVER else now + holdtime
        replaced = self._claim(source, hello)
        if known is None:
            self._all[source] = Neighbor(source, now, expires, hello)
            return Change.NEW, replaced
        restarted = hello.generation_id is not None and hello.generation_id != known.hello.generation_id
        known.expires, known.hello = expires, hello
        if restarted:
            known.since = now
        return (Change.RESTARTED if restarted else Change.NONE), replaced

    def _claim(self, source: IPv4Address, hello: Hello) -> list[Neighbor]:
        """The last one to list an address has it (section 4.3.4); a primary address that is claimed was renumbered."""
        claimed = frozenset(hello.addresses)
        for other in self._all.values():
            if other.address != source and not claimed.isdisjoint(other.hello.addresses):
                kept = tuple(address for address in other.hello.addresses if address not in claimed)
                other.hello = replace(other.hello, addresses=kept)
        replaced = []
        for address in hello.addresses:
            old = self._all.get(address)
            if old is not None and address != source and old.hello.generation_id == hello.generation_id:
                replaced.append(self._all.pop(address))
        return replaced

    def remove(self, address: IPv4Address) -> None:
        """Forget a neighbour."""
        self._all.pop(address, None)

    def expire(self, now: float) -> list[Neighbor]:
        """Take out the neighbours whose Neighbor Liveness Timer has run out."""
        gone = [neighbor for neighbor in self._all.values() if neighbor.expires <= now]
        for neighbor in gone:
            del self._all[neighbor.address]
        return gone

    def next_deadline(self) -> float:
        """When the first neighbour expires; infinite if none does."""
        return min((neighbor.expires for neighbor in self._all.values()), default=inf)

    def best(self) -> Neighbor | None:
        """The neighbour to choose without a route or a configured one: as a DR is elected (section 4.3.2)."""
        by_priority = all(other.hello.dr_priority is not None for other in self._all.values())
        return max(
            self._all.values(),
            key=lambda other: ((by_priority and other.hello.dr_priority) or 0, other.address),
            default=None,
        )

    def _delays(self, own: LanPruneDelay) -> list[LanPruneDelay] | None:
        """Everybody's LAN Prune Delay, ours included; None unless all sent one (lan_delay_enabled)."""
        found = [own]
        for neighbor in self._all.values():
            if neighbor.hello.lan_prune_delay is None:
                return None
            found.append(neighbor.hello.lan_prune_delay)
        return found

    def propagation_delay(self, own: LanPruneDelay) -> float:
        """Effective_Propagation_Delay(I), in seconds (section 4.3.3)."""
        delays = self._delays(own)
        return max(delay.propagation_delay for delay in delays) if delays else DEFAULT_PROPAGATION_DELAY

    def override_interval(self, own: LanPruneDelay) -> float:
        """Effective_Override_Interval(I), in seconds (section 4.3.3)."""
        delays = self._delays(own)
        return max(delay.override_interval for delay in delays) if delays else DEFAULT_OVERRIDE_INTERVAL

    def suppression_enabled(self, own: LanPruneDelay) -> bool:
        """Suppression_Enabled(I): unless everybody can track joins (section 4.3.3)."""
        delays = self._delays(own)
        return delays is None or not all(delay.tracking for delay in delays)
