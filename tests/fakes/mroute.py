"""A model of the kernel's multicast routing, in memory, by the rules of net/ipv4/ipmr.c (Linux 6.1 to 6.18).

``FakeMulticast`` is for the forward agent ``mcastd.forward.kernel.MulticastRouting``; ``open`` makes its socket, and
``bare`` one without upcalls. The other methods are what packets and other programs do.

- A VIF goes with its interface; the entries that name it stay, and mean whatever interface has the number next.
- An entry keeps only those of its outgoing VIFs that exist when it is added; ``thresholds`` of a missing VIF are none.
- A packet for which there is no entry makes the kernel ask (``asked``).
"""

import errno
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from ipaddress import IPv4Address

from mcastd.errors import HostError
from mcastd.net.mroute import ANY, MAX_VIFS, NO_VIF, Counts, Entry, Key, UpcallKind, Vif, outgoing
from mcastd.system.mroute import RoutingTaken
from tests.fakes.changes import Notifications


class FakeMulticast:
    """The kernel. ``links`` are the interfaces of the host, ``changed`` what was asked of it, in order."""

    def __init__(self, *names: str) -> None:
        self.links: dict[str, int] = {}
        self.vifs_by_number: dict[int, int] = {}
        self.table: dict[Key, Entry] = {}
        self.packets: Counter[Key] = Counter()
        self.wrong: Counter[Key] = Counter()
        self.sent: Counter[int] = Counter()  # packets, by the number of the VIF
        self.asked = 0  # packets for which there was no entry
        self.changed: list[str] = []
        self.taken = False  # whether another program has the socket
        self.refuses: int | None = None  # an error number with which the next changes fail
        self._notifications = Notifications()
        self._ends: dict[int, tuple[socket.socket, socket.socket]] = {}  # by the inode: ours, the kernel's
        self._opened: list[socket.socket] = []
        self._indexes = 0
        for name in names:
            self.make(name)

    # What other programs do

    def make(self, name: str, index: int | None = None) -> None:
        self._indexes += 1
        self.links[name] = self._indexes if index is None else index
        self._notifications.report()

    def delete(self, name: str) -> None:
        index = self.links.pop(name)
        self.vifs_by_number = {number: of for number, of in self.vifs_by_number.items() if of != index}
        self._notifications.report()

    # Packets

    def packet(self, source: str, group: str, name: str, ttl: int = 64) -> list[str]:
        """A packet comes in by an interface; returns those by which it leaves."""
        vif = self._number(self.links[name])
        if vif is None:
            return []
        entry = self._lookup(IPv4Address(source), IPv4Address(group), vif)
        if entry is None:
            self.asked += 1
            self._report(UpcallKind.NOCACHE, vif, source, group)
            return []
        self.packets[entry.key] += 1
        if entry.parent != vif:
            self.wrong[entry.key] += 1
            self._report(UpcallKind.WRONGVIF, vif, source, group)
            return []
        if entry.group == ANY:
            return []
        to = [one for one, threshold in self._out(entry) if ttl > threshold and (entry.source != ANY or one != vif)]
        self.sent.update(to)
        names = {index: name for name, index in self.links.items()}
        return sorted(names[self.vifs_by_number[one]] for one in to)

    def _lookup(self, source: IPv4Address, group: IPv4Address, vif: int) -> Entry | None:
        if (found := self.table.get(Key(source, group, None))) is not None:
            return found
        for of in (group, ANY):
            for entry in self.table.values():
                if (entry.source, entry.group) == (ANY, of) and vif in dict(self._out(entry)):
                    return entry
        return None

    def _out(self, entry: Entry) -> list[tuple[int, int]]:
        return [(vif, threshold) for vif, threshold in entry.out if vif in self.vifs_by_number]

    def _number(self, index: int) -> int | None:
        return next((number for number, of in self.vifs_by_number.items() if of == index), None)

    def _report(self, kind: UpcallKind, vif: int, source: str, group: str) -> None:
        addresses = IPv4Address(source).packed + IPv4Address(group).packed
        for _, theirs in self._ends.values():
            theirs.send(bytes(8) + bytes([kind, 0, vif, 0]) + addresses)

    # What the agent uses

    def open(self, inherited: int | None) -> "FakeSocket":
        if inherited is not None:
            self._opened.append(socket.socket(fileno=inherited))
            return FakeSocket(self, self._opened[-1])
        if self.taken:
            raise RoutingTaken("taken")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        theirs.setblocking(False)
        self._ends[os.fstat(ours.fileno()).st_ino] = ours, theirs
        self._opened.append(ours.dup())
        return FakeSocket(self, self._opened[-1])

    def crash(self) -> None:
        """The process that has opened sockets has ended."""
        while self._opened:
            self._opened.pop().close()

    def bare(self) -> "FakeSocket":
        return FakeSocket(self, None)

    def close(self) -> None:
        for pair in self._ends.values():
            for end in pair:
                end.close()
        self._ends.clear()

    async def vifs(self) -> tuple[Vif, ...]:
        found = self.vifs_by_number.items()
        return tuple(Vif(number, index, self.sent[number], 100 * self.sent[number]) for number, index in found)

    async def entries(self, numbers: Mapping[int, int], each: Callable[[Entry, Counts], None]) -> None:
        for key, entry in list(self.table.items()):
            parent = entry.parent if entry.parent in self.vifs_by_number else NO_VIF
            counts = Counts(self.packets[key], 100 * self.packets[key], self.wrong[key], 1.0)
            each(entry._replace(parent=parent, out=outgoing(self._out(entry))), counts)

    async def holders(self) -> tuple[str, ...]:
        return ("pimd (17)",) if self.taken else ()

    def interfaces(self) -> Mapping[str, int]:
        return dict(self.links)

    def changes(self) -> AbstractContextManager[AsyncIterator[None]]:
        return self._notifications.subscribed()

    def change(self, what: str) -> None:
        if self.refuses is not None:
            raise HostError(os.strerror(self.refuses))
        self.changed.append(what)


class FakeSocket:
    """The socket."""

    def __init__(self, kernel: FakeMulticast, sock: socket.socket | None) -> None:
        self._kernel = kernel
        self._sock = sock

    def fileno(self) -> int:
        assert self._sock is not None
        return self._sock.fileno()

    def add_vif(self, number: int, index: int) -> None:
        kernel = self._kernel
        kernel.change(f"add VIF {number}")
        if not 0 <= number < MAX_VIFS or number in kernel.vifs_by_number:
            raise HostError(os.strerror(errno.EADDRINUSE))
        if index not in kernel.links.values():
            raise HostError(os.strerror(errno.EADDRNOTAVAIL))
        kernel.vifs_by_number[number] = index

    def delete_vif(self, number: int) -> None:
        self._kernel.change(f"delete VIF {number}")
        self._kernel.vifs_by_number.pop(number, None)

    def add(self, entry: Entry) -> None:
        kernel = self._kernel
        kernel.change(f"add {entry.source} {entry.group}")
        if not 0 <= entry.parent < MAX_VIFS:
            raise HostError(os.strerror(errno.ENFILE))
        kernel.table[entry.key] = entry._replace(out=tuple(one for one in entry.out if one[0] in kernel.vifs_by_number))

    def delete(self, entry: Entry) -> None:
        self._kernel.change(f"delete {entry.source} {entry.group}")
        self._kernel.table.pop(entry.key, None)

    def packets(self, source: IPv4Address, group: IPv4Address) -> int:
        key = Key(source, group, None)
        return self._kernel.packets[key] - self._kernel.wrong[key]

    def upcalls(self) -> Iterator[bytes]:
        while self._sock is not None:
            try:
                yield self._sock.recv(64)
            except BlockingIOError:
                return

    def end(self) -> None:
        self._kernel.vifs_by_number.clear()
        self._kernel.table.clear()
        if self._sock is not None:
            self._sock.close()
