"""The kernel's multicast memberships of sockets, in memory: what an interface receives follows from all of them."""

import errno
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from mcastd.membership import NONE, DesiredGroup


@dataclass(eq=False)
class FakeSocket:
    """One socket; a descriptor of it may be kept elsewhere as well, and then it stays open."""

    kernel: "FakeMemberships"
    ifindex: int
    groups: dict[IPv4Address, tuple[bool, frozenset[IPv4Address]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._read, self._write = os.pipe()  # whoever has a copy of the read end keeps the socket open
        os.set_blocking(self._write, False)
        self.closed = False  # by the process that has opened it

    def __del__(self) -> None:
        """A test that has ended leaves no descriptor: thousands of them are in one process."""
        os.close(self._write)
        if not self.closed:
            os.close(self._read)

    def fileno(self) -> int:
        return self._read

    def join(self, group: IPv4Address, exclude: bool, sources: Collection[IPv4Address]) -> None:
        assert group not in self.groups
        self.kernel.refuse()
        if len(self.groups) >= self.kernel.most_groups:
            raise OSError(errno.ENOBUFS, "No buffer space available")
        self._set(group, exclude, sources)

    def change(self, group: IPv4Address, exclude: bool, sources: Collection[IPv4Address]) -> None:
        assert group in self.groups
        self.kernel.refuse()
        self._set(group, exclude, sources)

    def leave(self, group: IPv4Address) -> None:
        del self.groups[group]
        self.kernel.note()

    def close(self) -> None:
        self.closed = True
        os.close(self._read)

    @property
    def is_open(self) -> bool:
        """Whether a descriptor of it is open in any process."""
        try:
            os.write(self._write, b".")
        except BrokenPipeError:
            return False
        return True

    def _set(self, group: IPv4Address, exclude: bool, sources: Collection[IPv4Address]) -> None:
        assert exclude or sources
        if len(sources) > self.kernel.most_sources:
            raise OSError(errno.ENOBUFS, "No buffer space available")
        self.groups[group] = (exclude, frozenset(sources))
        self.kernel.note()


class FakeMemberships:
    """``narrowest`` has of a watched group the least that was received at any time since it was watched."""

    def __init__(self, most_groups: int = 20, most_sources: int = 10) -> None:
        self.most_groups, self.most_sources = most_groups, most_sources
        self.sockets: list[FakeSocket] = []
        self.error: int | None = None  # what opening and joining fail with
        self.reports: list[int] = []  # the interfaces on which the kernel was made to report everything
        self.calls = 0
        self._watched: tuple[int, IPv4Address] | None = None
        self.seen: list[DesiredGroup] = []  # what was received of the watched group, after each call

    def open(self, ifindex: int) -> FakeSocket:
        self.refuse()
        self.sockets.append(FakeSocket(self, ifindex))
        return self.sockets[-1]

    def crash(self) -> None:
        """The process that has opened sockets has ended."""
        for sock in self.sockets:
            if not sock.closed:
                sock.close()

    def query(self, ifindex: int, _source: IPv4Address, _group: None) -> None:
        self.reports.append(ifindex)

    def refuse(self) -> None:
        self.calls += 1
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))

    def watch(self, ifindex: int, group: IPv4Address) -> None:
        self._watched = (ifindex, group)
        self.seen = []

    def note(self) -> None:
        if self._watched is not None:
            self.seen.append(self.received(*self._watched))

    def open_sockets(self) -> list[FakeSocket]:
        return [sock for sock in self.sockets if sock.is_open]

    def received(self, ifindex: int, group: IPv4Address) -> DesiredGroup:
        """What the interface receives of a group: the kernel's merger of all sockets (RFC 3376, section 3.2)."""
        found = list(self._filters(ifindex, group))
        included = NONE.union(*(sources for exclude, sources in found if not exclude))
        excluding = [sources for exclude, sources in found if exclude]
        if not excluding:
            return DesiredGroup(False, included, NONE)
        return DesiredGroup(True, NONE, frozenset.intersection(*excluding) - included)

    def groups(self, ifindex: int) -> set[IPv4Address]:
        """The groups that the interface receives anything of."""
        return {group for sock in self.open_sockets() if sock.ifindex == ifindex for group in sock.groups}

    def _filters(self, ifindex: int, group: IPv4Address) -> Iterator[tuple[bool, frozenset[IPv4Address]]]:
        for sock in self.open_sockets():
            if sock.ifindex == ifindex and group in sock.groups:
                yield sock.groups[group]
