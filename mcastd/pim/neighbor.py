"""The neighbours on one link (RFC 7761, section 4.3): one router at the other end of a tunnel; more are bounded."""

from enum import Enum, auto
from ipaddress import IPv4Address
from math import inf
from typing import Final

import msgspec

from mcastd.config.model import Pim
from mcastd.net.prefix_table import in_ranges
from mcastd.pim.hello_pace import HelloPace
from mcastd.pim.packet import DEFAULT_HELLO_HOLDTIME, INFINITE_HOLDTIME, Hello

MAX_NEIGHBORS: Final = 64
MAX_ADDRESSES: Final = 250  # secondary ones of a neighbour: what a packet of 1,500 bytes can list, and some more


class Neighbor(msgspec.Struct):
    """A router from which a Hello was received."""

    address: IPv4Address
    since: float  # when it came up, or restarted
    expires: float  # the Neighbor Liveness Timer; infinite for a holdtime of 0xffff
    hello: Hello  # its last Hello
    pace: HelloPace  # whether its Hellos keep coming

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
        self._all: dict[IPv4Address, Neighbor] = {}  # by primary address, in the order they came

    def __len__(self) -> int:
        return len(self._all)

    def all(self) -> list[Neighbor]:
        """The neighbours, in the order they came."""
        return list(self._all.values())

    def get(self, address: IPv4Address) -> Neighbor | None:
        """The neighbour whose primary address it is."""
        return self._all.get(address)

    def find(self, address: IPv4Address) -> Neighbor | None:
        """The neighbour known by a primary or else a secondary address (NBR(I,A) of section 4.1.5), the newest one."""
        newest_first = reversed(self._all.values())
        return self._all.get(address) or next((other for other in newest_first if other.is_at(address)), None)

    def accepts(self, config: Pim, source: IPv4Address, hello: Hello) -> bool:
        """Whether the sender of a Hello may be a neighbour.

        Of ``accept_neighbors``, which a configured neighbour need not be in. Without these it is the configured one
        alone: by its primary address, or by a secondary one that no other router has that is up.
        """
        configured, accepted = config.neighbor, config.accept_neighbors
        if accepted:
            return source == configured or in_ranges(source, accepted)
        if configured is None or source == configured:
            return True
        known = self.find(configured)
        is_known = known is None or known.address == source or known.hello.generation_id == hello.generation_id
        return configured in hello.addresses and is_known

    def hello(
        self, source: IPv4Address, hello: Hello, now: float, always: IPv4Address | None = None
    ) -> tuple[Change, list[Neighbor]]:
        """Take a Hello in (section 4.3.1); ``always`` is let in when the table is full.

        Returns what changed, and the neighbours that the sender replaces: it lists their address and has their
        Generation ID, so it was renumbered (section 4.3.4).
        """
        holdtime = DEFAULT_HELLO_HOLDTIME if hello.holdtime is None else hello.holdtime
        known = self._all.get(source)
        if holdtime == 0:
            return (Change.GONE if self._all.pop(source, None) else Change.NONE), []
        if known is None and len(self._all) >= MAX_NEIGHBORS and source != always:
            return Change.REFUSED, []
        expires = inf if holdtime == INFINITE_HOLDTIME else now + holdtime
        replaced = []
        for address in hello.addresses:
            old = self._all.get(address)
            if old is not None and address != source and old.hello.generation_id == hello.generation_id:
                replaced.append(self._all.pop(address))
        if known is None:
            self._all[source] = Neighbor(source, now, expires, hello, HelloPace(expires - now, now))
            return Change.NEW, replaced
        restarted = hello.generation_id is not None and hello.generation_id != known.hello.generation_id
        known.expires, known.hello = expires, hello
        if restarted:
            known.since, known.pace = now, HelloPace(expires - now, now)
        else:
            known.pace.received(expires - now, now)
        return (Change.RESTARTED if restarted else Change.NONE), replaced

    def remove(self, address: IPv4Address) -> None:
        """Forget a neighbour."""
        self._all.pop(address, None)

    def expire(self, now: float) -> list[Neighbor]:
        """Remove the neighbours whose Neighbor Liveness Timer has run out."""
        expired = [neighbor for neighbor in self._all.values() if neighbor.expires <= now]
        for neighbor in expired:
            del self._all[neighbor.address]
        return expired

    def overdue(self, now: float) -> list[Neighbor]:
        """The neighbours whose next Hello has become overdue, each once."""
        return [neighbor for neighbor in self._all.values() if neighbor.pace.due(now)]

    def resume(self, now: float) -> None:
        """The path came up again: their Hellos are expected from now on."""
        for neighbor in self._all.values():
            neighbor.pace.resume(now)

    def next_deadline(self) -> float:
        """When the first neighbour expires, or its Hello is overdue; infinite if never."""
        return min((min(neighbor.expires, neighbor.pace.deadline) for neighbor in self._all.values()), default=inf)
