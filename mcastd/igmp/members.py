"""Which hosts have reported what of a group (explicit host tracking; RFC 9776, section 6, leaves it to the router).

The router state of ``group`` alone decides what is forwarded. What is tracked here answers who receives a group, limits
what one host may join, and says whether a host that leaves is the last one. It errs on one side: a host may be taken to
desire more than it does, since an answer to a query for some sources looks like one that names all.
"""

from collections.abc import Collection, Iterator
from ipaddress import IPv4Address
from math import inf
from typing import Final

import msgspec

from mcastd.membership import DesiredGroup
from mcastd.net.igmp import RecordType

MAX_HOSTS: Final = 1000
"""Hosts of an interface that are tracked; the reports of others count, as those of hosts that suppress reports."""
MAX_TRACKED: Final = 150_000
"""Memberships and their sources together, of all hosts of an interface, that are tracked."""


class Member(msgspec.Struct):
    """What a host desires of a group: all but ``sources`` if ``is_exclude``, else ``sources``; until ``expires``.

    ``version`` is that of its last report, ``since`` when it reported first.
    """

    version: int
    since: float
    expires: float
    is_exclude: bool = False
    sources: frozenset[IPv4Address] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether it desires nothing any more."""
        return not (self.is_exclude or self.sources)

    @property
    def desired(self) -> DesiredGroup:
        """The same as what is desired of the group."""
        return DesiredGroup(True, excluded=self.sources) if self.is_exclude else DesiredGroup(sources=self.sources)

    def update(self, kind: RecordType, listed: frozenset[IPv4Address]) -> None:
        """The host sent a record."""
        match kind:
            case RecordType.TO_IN:
                self.is_exclude, self.sources = False, listed
            case RecordType.IS_EX | RecordType.TO_EX:
                self.is_exclude, self.sources = True, listed
            case RecordType.IS_IN | RecordType.ALLOW:
                self.sources = self.sources - listed if self.is_exclude else self.sources | listed
            case RecordType.BLOCK:
                self.sources = self.sources | listed if self.is_exclude else self.sources - listed


class Hosts:
    """How much is tracked of each host of an interface."""

    def __init__(self) -> None:
        self._groups: dict[IPv4Address, int] = {}  # how many groups each host is a member of
        self._sources: dict[IPv4Address, int] = {}  # how many sources it has listed for them
        self._tracked = 0  # memberships and their sources, of all hosts
        self._changed: set[IPv4Address] = set()  # groups whose members have changed

    def __len__(self) -> int:
        return len(self._groups)

    def changed(self, group: IPv4Address) -> None:
        """A group has other members than before, or they desire something else."""
        self._changed.add(group)

    def take_changed(self) -> Collection[IPv4Address]:
        """The groups of which that is so since the last call."""
        if not self._changed:
            return ()
        found, self._changed = self._changed, set()
        return found

    def groups_of(self, host: IPv4Address) -> int:
        """How many groups a host is a member of."""
        return self._groups.get(host, 0)

    def sources_of(self, host: IPv4Address) -> int:
        """How many sources a host has listed for its groups."""
        return self._sources.get(host, 0)

    def can_track(self, host: IPv4Address, sources: int) -> bool:
        """Whether there is room for one more membership of a host."""
        return self._tracked + 1 + sources <= MAX_TRACKED and (host in self._groups or len(self) < MAX_HOSTS)

    def resized(self, host: IPv4Address, more: int) -> None:
        """A membership of a host has so many sources more."""
        self._tracked += more
        self._sources[host] = self.sources_of(host) + more

    def joined(self, host: IPv4Address, member: Member) -> None:
        """A host is a member of one more group."""
        self._groups[host] = self.groups_of(host) + 1
        self._tracked += 1
        self.resized(host, len(member.sources))

    def left(self, host: IPv4Address, member: Member) -> None:
        """A host is a member of one group less."""
        self._tracked -= 1
        self.resized(host, -len(member.sources))
        self._groups[host] -= 1
        if not self._groups[host]:
            del self._groups[host], self._sources[host]


class Members:
    """The members of one group."""

    __slots__ = ("_group", "_hosts", "_members", "due", "untracked_until")

    def __init__(self, hosts: Hosts, group: IPv4Address) -> None:
        self._hosts = hosts
        self._group = group
        self._members: dict[IPv4Address, Member] = {}
        self.untracked_until = 0.0  # until when there may be members that are not tracked
        self.due = inf  # before which the time of no member is over

    def __contains__(self, host: IPv4Address) -> bool:
        return host in self._members

    def sources_of(self, host: IPv4Address) -> frozenset[IPv4Address]:
        """The sources that a host has listed."""
        return self._members[host].sources if host in self._members else frozenset()

    def report(
        self,
        host: IPv4Address,
        version: int,
        kind: RecordType,
        listed: frozenset[IPv4Address],
        kept: Collection[IPv4Address],
        now: float,
        gmi: float,
    ) -> bool:
        """A host sent a record, and is a member for ``gmi`` seconds if it desires anything of what is ``kept``.

        ``kept`` are the sources of the group, which may be less than hosts list. Returns whether there was room.
        """
        expires = now + gmi
        member = self._members.get(host) or Member(version, now, expires)
        is_new, before = host not in self._members, len(member.sources)
        desired = member.is_exclude, member.sources
        member.update(kind, listed)
        if member.sources:
            member.sources = member.sources.intersection(kept)
        if member.is_empty:
            if not is_new:
                member.sources = frozenset()
                self._hosts.resized(host, -before)
                self.remove(host)
            return True
        member.version, member.expires = version, expires
        self.due = min(self.due, expires)
        if desired != (member.is_exclude, member.sources):
            self._hosts.changed(self._group)
        more = len(member.sources) - before
        if not self._hosts.can_track(host, len(member.sources) if is_new else more):
            self.untracked_until = max(self.untracked_until, expires)
            if not is_new:
                self._hosts.resized(host, more)
                self.remove(host)
            return False
        if is_new:
            self._members[host] = member
            self._hosts.joined(host, member)
        else:
            self._hosts.resized(host, more)
        return True

    def leave(self, host: IPv4Address, until: float) -> None:
        """A host has left, and is a member until then."""
        member = self._members.get(host)
        if member is not None:
            member.expires = min(member.expires, until)
            self.due = min(self.due, member.expires)

    def remove(self, host: IPv4Address) -> None:
        """A host is no member any more."""
        member = self._members.pop(host, None)
        if member is not None:
            self._hosts.left(host, member)
            self._hosts.changed(self._group)

    def expire(self, now: float) -> None:
        """Remove the members whose time is over."""
        if self.due > now:
            return
        for host in [host for host, member in self._members.items() if member.expires <= now]:
            self.remove(host)
        self.due = min((member.expires for member in self._members.values()), default=inf)

    def clear(self) -> None:
        """The group is gone."""
        for host in list(self._members):
            self.remove(host)

    def of(self, now: float) -> Iterator[tuple[IPv4Address, Member]]:
        """Each member, with its address."""
        return ((host, member) for host, member in self._members.items() if member.expires > now)
