"""The sockets of one interface, and which groups each of them has joined. Without I/O of its own."""

import errno
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Final, Protocol

import msgspec

from mcastd.igmp_host.filters import Filter, filters
from mcastd.membership import DesiredGroup


class MembershipSocket(Protocol):
    """A socket that joins groups on one interface. All but ``close`` raise OSError."""

    def join(self, group: IPv4Address, exclude: bool, sources: frozenset[IPv4Address]) -> None:
        """Join a group that it has not joined, without these sources or with these alone; on an error it has not."""

    def change(self, group: IPv4Address, exclude: bool, sources: frozenset[IPv4Address]) -> None:
        """Replace the filter of a group that it has joined."""

    def leave(self, group: IPv4Address) -> None:
        """Leave a group."""

    def close(self) -> None:
        """Close it, which leaves all groups."""


MOST_SOCKETS: Final = 20  # for the sources of one group

OpenSocket = Callable[[], MembershipSocket]
"""Opens a socket for the interface. Raises OSError."""


class _Held(msgspec.Struct, eq=False):
    """A socket and the groups that it has joined."""

    socket: MembershipSocket
    filters: dict[IPv4Address, Filter] = msgspec.field(default_factory=dict)


class MembershipSockets:
    """``most_groups`` and ``most_sources`` are what a socket may join, and what its filter of a group may have."""

    def __init__(self, open_socket: OpenSocket, most_groups: int, most_sources: int) -> None:
        self._open_socket = open_socket
        self._most_groups = most_groups
        self._most_sources = most_sources
        self._sockets: dict[_Held, None] = {}
        self._free: dict[_Held, None] = {}  # those that can join one more group
        self._groups: dict[IPv4Address, list[_Held]] = {}  # the sockets that have joined a group

    def __len__(self) -> int:
        return len(self._groups)

    def __contains__(self, group: IPv4Address) -> bool:
        return group in self._groups

    def filters(self, group: IPv4Address) -> tuple[Filter, ...]:
        """Those of the sockets that have joined a group."""
        return tuple(held.filters[group] for held in self._groups.get(group, ()))

    def set(self, group: IPv4Address, desired: DesiredGroup) -> None:
        """Join, change or leave a group. Raises OSError; what was done until then counts, and it may be called again.

        What is joined comes before what is left, so that the interface never receives less than before and after.
        """
        current = list(self._groups.get(group, ()))
        most = MOST_SOCKETS * self._most_sources
        too_many = not desired.any_source and len(desired.sources) > most
        if too_many:
            desired = DesiredGroup(sources=frozenset(sorted(desired.sources)[:most]))
        target = filters(desired, [one.filters[group] for one in current], self._most_sources)
        for further in target[len(current) :]:
            if further is not None:
                self._join(group, further)
        for held, replacement in zip(current, target, strict=False):
            if replacement is None:
                self._leave(held, group)
            elif replacement != held.filters[group]:
                held.socket.change(group, *replacement)
                held.filters[group] = replacement
        if too_many:
            raise OSError(errno.ENOBUFS, f"more than {most} sources of one group")

    def close(self) -> None:
        """Leave everything."""
        for held in self._sockets:
            held.socket.close()
        self._sockets.clear()
        self._free.clear()
        self._groups.clear()

    def _join(self, group: IPv4Address, sources: Filter) -> None:
        while True:
            held = next((one for one in self._free if group not in one.filters), None) or self._opened()
            try:
                held.socket.join(group, *sources)
            except OSError as error:
                if not held.filters:
                    self._close(held)
                elif error.errno == errno.ENOBUFS:  # the limit of a socket is lower by now
                    del self._free[held]
                    continue
                raise
            break
        held.filters[group] = sources
        self._groups.setdefault(group, []).append(held)
        if len(held.filters) >= self._most_groups:
            del self._free[held]

    def _opened(self) -> _Held:
        held = _Held(self._open_socket())
        self._sockets[held] = self._free[held] = None
        return held

    def _leave(self, held: _Held, group: IPv4Address) -> None:
        held.socket.leave(group)
        del held.filters[group]
        self._groups[group].remove(held)
        if not self._groups[group]:
            del self._groups[group]
        if held.filters:
            self._free[held] = None
        else:
            self._close(held)

    def _close(self, held: _Held) -> None:
        held.socket.close()
        del self._sockets[held]
        self._free.pop(held, None)
