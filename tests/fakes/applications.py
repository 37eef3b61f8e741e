"""A model of the kernel's memberships, in memory: sockets, their filters, netlink and IGMPv3 reports.

A report leaves 2 jiffies after what it reports; a group's filter is what its sockets want together (RFC 9776, section
3.2). What an interface forgets when it is deleted is not restored.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from mcastd.errors import HostError
from mcastd.net import ipv4
from mcastd.net.igmp import ALL_V3_ROUTERS, RecordType
from mcastd.net.memberships import GroupChange, GroupOn, SourceLine
from tests.igmp.encoders import encode_record, encode_v3_report

OWN = IPv4Address("10.44.4.6")
DELAY = 0.008
INDEX = 3


@dataclass(eq=False)
class Member:
    """A socket that has joined a group: it includes these sources or, if ``excludes``, all but these."""

    ifindex: int
    group: IPv4Address
    excludes: bool
    sources: set[IPv4Address] = field(default_factory=set)


class _Queue:
    """A socket of the agent."""

    def __init__(self, on_arrival: Callable[[], None], queues: list["_Queue"]) -> None:
        self.arrived: list[GroupChange] = []
        self.packets: list[bytes] = []
        self.overflown = False
        self.on_arrival = on_arrival
        self._queues = queues
        queues.append(self)

    def close(self) -> None:
        self._queues.remove(self)


class FakeChanges(_Queue):
    def receive(self) -> list[GroupChange] | None:
        found, self.arrived = self.arrived, []
        if self.overflown:
            self.overflown = False
            return None
        return found


class FakeReports(_Queue):
    def receive(self) -> list[bytes]:
        found, self.packets = self.packets, []
        return found


class FakeApplications:
    """``members`` are the sockets that have joined; the methods of ``mcastd.follow.kernel.Kernel`` come first."""

    def __init__(self, *, has_netlink: bool = True) -> None:
        self.members: list[Member] = []
        self.others: Callable[[], list[Member]] = list  # sockets of mcastd itself, which the kernel counts as well
        self.has_netlink = has_netlink
        self.hears_reports = True  # False: a firewall drops them before a packet socket sees them
        self.refuses: str | None = None  # why the files cannot be read
        self.reads = 0
        self.missed: IPv4Address | None = None  # a group whose line the next reading of the users misses
        self.meanwhile: Callable[[], object] | None = None  # what happens after the next file was read
        self.queries: list[IPv4Address | None] = []
        self._changes: list[_Queue] = []
        self._reports: list[_Queue] = []

    def changes(self, on_arrival: Callable[[], None]) -> FakeChanges:
        if not self.has_netlink:
            raise HostError("no notifications of joined groups: Invalid argument")
        return FakeChanges(on_arrival, self._changes)

    def reports(self, _ifname: str, on_arrival: Callable[[], None]) -> FakeReports:
        return FakeReports(on_arrival, self._reports)

    def logged_reports(self, tunnel: str, on_arrival: Callable[[], None]) -> FakeReports:
        return self.reports(tunnel, on_arrival)

    def settle(self) -> None:
        pass

    async def users(self, indexes: Collection[int]) -> dict[GroupOn, int]:
        await self._read()
        found: dict[GroupOn, int] = {}
        missed, self.missed = self.missed, None
        for one in self._all():
            if one.ifindex in indexes and one.group != missed:
                key = (one.ifindex, one.group)
                found[key] = found.get(key, 0) + 1
        self._happen()
        return found

    async def sources(self, indexes: Collection[int]) -> dict[GroupOn, list[SourceLine]]:
        await self._read()
        found: dict[tuple[int, IPv4Address, IPv4Address], list[int]] = {}
        for one in self._all():
            for source in one.sources if one.ifindex in indexes else ():
                found.setdefault((one.ifindex, one.group, source), [0, 0])[one.excludes] += 1
        lines: dict[GroupOn, list[SourceLine]] = {}
        for key, counts in found.items():
            lines.setdefault(key[:2], []).append(SourceLine(*key, *counts))
        self._happen()
        return lines

    def query(self, index: int, source: IPv4Address, group: IPv4Address | None) -> None:
        self.queries.append(group)
        for one in {one.group for one in self._all() if one.ifindex == index and group in (None, one.group)}:
            excludes, sources = self._filter(index, one)
            self._report((RecordType.IS_EX if excludes else RecordType.IS_IN, one, sources))

    # What applications do.

    def join(self, group: str, *sources: str, ifindex: int = INDEX) -> Member:
        """A socket joins a group, from any source or from these."""
        made = Member(ifindex, IPv4Address(group), not sources, {IPv4Address(one) for one in sources})
        self._change(made.ifindex, made.group, lambda: self.members.append(made))
        return made

    def leave(self, member: Member) -> None:
        """A socket leaves, or is closed, or its process is killed."""
        self._change(member.ifindex, member.group, lambda: self.members.remove(member))

    def set_sources(self, member: Member, *sources: str) -> None:
        """A socket includes, or excludes, other sources."""
        self._change(member.ifindex, member.group, lambda: setattr(member, "sources", set(map(IPv4Address, sources))))

    def delete_interface(self, ifindex: int = INDEX) -> None:
        """The interface is deleted, without a word."""
        self.members = [one for one in self.members if one.ifindex != ifindex]

    def overflow(self) -> None:
        """The netlink socket has lost something."""
        for one in self._changes:
            one.arrived.clear()
            one.overflown = True
            one.on_arrival()

    def _change(self, ifindex: int, group: IPv4Address, action: Callable[[], None]) -> None:
        before, had = self._filter(ifindex, group), self._count(ifindex, group)
        action()
        after, has = self._filter(ifindex, group), self._count(ifindex, group)
        if bool(had) != bool(has):
            for one in self._changes:
                one.arrived.append(GroupChange(ifindex, group, bool(has)))
                one.on_arrival()
        records = []
        if before[0] != after[0]:
            records.append((RecordType.TO_EX if after[0] else RecordType.TO_IN, group, after[1]))
        else:
            more, fewer = (after[1] - before[1], before[1] - after[1])[:: -1 if after[0] else 1]
            records += [
                (kind, group, found) for kind, found in ((RecordType.ALLOW, more), (RecordType.BLOCK, fewer)) if found
            ]
        if records:
            self._report(*records)

    def _all(self) -> list[Member]:
        return [*self.members, *self.others()]

    def _count(self, ifindex: int, group: IPv4Address) -> int:
        return sum((one.ifindex, one.group) == (ifindex, group) for one in self._all())

    def _filter(self, ifindex: int, group: IPv4Address) -> tuple[bool, frozenset[IPv4Address]]:
        found = [one for one in self._all() if (one.ifindex, one.group) == (ifindex, group)]
        included = frozenset(source for one in found if not one.excludes for source in one.sources)
        excluding = [one.sources for one in found if one.excludes]
        if not excluding:
            return False, included
        return True, frozenset(set.intersection(*excluding)) - included

    def _report(self, *records: tuple[RecordType, IPv4Address, Collection[IPv4Address]]) -> None:
        packet = igmpv3_report(records)

        def leaves() -> None:
            for one in list(self._reports) if self.hears_reports else ():
                one.packets.append(packet)
                one.on_arrival()

        asyncio.get_running_loop().call_later(DELAY, leaves)

    def _happen(self) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()

    async def _read(self) -> None:
        self.reads += 1
        await asyncio.sleep(0)
        if self.refuses is not None:
            raise HostError(self.refuses)


def igmpv3_report(records: Iterable[tuple[RecordType, IPv4Address, Collection[IPv4Address]]]) -> bytes:
    """The IPv4 packet of a report."""
    message = encode_v3_report(encode_record(kind, group, sorted(sources)) for kind, group, sources in records)
    return ipv4.encode(message, OWN, ALL_V3_ROUTERS, protocol=ipv4.IGMP, tos=0xC0, ttl=1)
