"""Which hosts behind the downstream interfaces have joined what: IGMP knows, and who copies to each of them listens.

Pure; it is given a clock. What ``Wanted`` has of an interface is the sum of it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from ipaddress import IPv4Address
from typing import NamedTuple, Protocol, TypeAlias

from mcastd.membership import DesiredGroup


class JoinedHost(NamedTuple):
    """A host, the Ethernet address that its last report came from, and what it desires of a group."""

    address: IPv4Address
    mac: bytes
    desired: DesiredGroup


class Segment(Protocol):
    """What is known of one interface."""

    @property
    def groups(self) -> Collection[IPv4Address]:
        """The groups that hosts have joined."""

    def joined(self, group: IPv4Address, now: float) -> Iterator[JoinedHost]:
        """The hosts that have joined a group."""


Listener: TypeAlias = Callable[[str, Collection[IPv4Address]], None]
"""Called with an interface and the groups of which other hosts, or from elsewhere, have joined something."""


class JoinedHosts:
    """``segments`` are the interfaces, by name; who knows them sets it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.segments: Mapping[str, Segment] = {}
        self._clock = clock
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` after each change."""
        self._listeners.append(listener)

    def changed(self, name: str, groups: Collection[IPv4Address]) -> None:
        """The hosts of these groups are others than before."""
        for listener in self._listeners if groups else ():
            listener(name, groups)

    def of(self, name: str, group: IPv4Address) -> Iterator[JoinedHost]:
        """The hosts of an interface that have joined a group."""
        found = self.segments.get(name)
        return found.joined(group, self._clock()) if found is not None else iter(())

    def groups(self, name: str) -> Collection[IPv4Address]:
        """The groups that hosts of an interface have joined."""
        found = self.segments.get(name)
        return found.groups if found is not None else ()
