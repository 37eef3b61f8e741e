"""The follow agent: what applications have joined on the tunnels' interfaces is desired upstream."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Address
from math import inf
from typing import Final

from mcastd.errors import DecodeError, HostError
from mcastd.follow import report
from mcastd.follow.applications import Applications, Ask, Effect, Want
from mcastd.follow.hints import Hints
from mcastd.follow.kernel import Changes, Kernel, Reports
from mcastd.follow.members import without
from mcastd.follow.settings import FollowDesired, FollowedTunnel, FollowSnapshot
from mcastd.membership import DesiredGroup, Membership
from mcastd.net import igmp, ipv4
from mcastd.net.memberships import GroupOn, SourceLine, members
from mcastd.problems import Problem
from mcastd.system.ledger import Ledger
from mcastd.system.log import Logger
from mcastd.system.sysctl import Sysctls
from mcastd.system.wake import Wake
from mcastd.wanted import APPLICATION, Wanted

_AUDIT_PERIOD: Final = 30.0  # seconds between two readings without a hint
_RETRY_PERIOD: Final = 5.0  # seconds to the next attempt after a failure
_REST: Final = 0.005  # seconds at least between two readings because of hints
_SHARE: Final = 0.2  # of the time that readings may take while hints keep coming, but for
_LONGEST_REST: Final = 0.05  # seconds: on a busy machine a reading takes long, and others wait for their Joins
_PAGE: Final = 50  # groups in a file that the kernel returns at one time, and so without a gap
_SLICE: Final = 250  # groups that are compared at a time
_IGMP_VERSION: Final = "net/ipv4/conf/{}/force_igmp_version"


class _Link:
    """A tunnel, its applications and what is open on its interface."""

    def __init__(self, tunnel: FollowedTunnel, desired: Membership) -> None:
        self.applications = Applications(tunnel, lambda group: desired.desired(group, without=APPLICATION))
        self.reports: Reports | None = None  # None if it could not be opened
        self.problem: str | None = None  # why this tunnel is not, or not wholly, followed
        self.refused: dict[IPv4Address, str] = {}  # what could not be desired upstream, and why; tried at each audit

    @property
    def tunnel(self) -> FollowedTunnel:
        return self.applications.tunnel


class FollowAgent:
    """Applications on all tunnels. ``on_change`` is called after the problems or what is followed may have changed."""

    name: Final = "follow"

    def __init__(
        self,
        *,
        kernel: Kernel,
        wanted: Wanted,
        sysctls: Sysctls,
        ledger: Ledger,
        log: Logger,
        on_change: Callable[[], None],
    ) -> None:
        self.wake = Wake()
        self._kernel = kernel
        self._wanted = wanted
        self._sysctls = sysctls
        self._ledger = ledger
        self._log = log
        self._on_change = on_change
        self._desired = FollowDesired()
        self._links: dict[str, _Link] = {}  # by the tunnel's name, those that have existed
        self._changes: Changes | None = None  # None where the kernel has no such notifications
        self._reports_alone: str | None = None  # why not, which has been logged
        self._hints = Hints()
        self._audit_at = 0.0  # when everything is read next
        self._problem: str | None = None  # why nothing can be read
        self._named: dict[tuple[str, str], str] = {}  # problems that have been logged: their texts, by tunnel and code

    def configure(self, desired: FollowDesired) -> None:
        """Set the tunnels whose applications are followed."""
        if desired != self._desired:
            self._desired = desired
            self.wake.set()

    async def settled(self) -> None:
        """Return when the groups that are joined now are desired, as the last ``configure`` has it."""
        await self.wake.settled()

    async def run(self) -> None:
        """Read the kernel's files at every hint and periodically, and desire what follows."""
        applied: FollowDesired | None = None
        self._audit_at = 0.0
        try:
            while True:
                await self.wake.wait(self._wait(time.monotonic()))
                began = time.monotonic()
                if applied is not self._desired:
                    applied = self._desired
                    self._reconcile(applied, began)
                read = bool(self._hints) or self._audit_at <= began
                await self._read()
                await self._step()
                self._report()
                self.wake.finished()
                if read:
                    rest = (time.monotonic() - began) * (1 / _SHARE - 1)
                    await asyncio.sleep(min(max(_REST, rest), _LONGEST_REST))
        finally:
            self._close()

    async def close(self) -> None:
        """Put back the version of IGMP."""
        self._desired = FollowDesired()
        for key in self._ledger.entries("sysctl"):
            if key.endswith("/force_igmp_version"):
                self._put_back(key)

    async def look(self, desired: FollowDesired) -> None:
        """Desire once what applications have joined by now, for ``PimAgent.take_leave``; errors are ignored."""
        for tunnel in desired.tunnels:
            self._links[tunnel.name] = _Link(tunnel, self._wanted.of(tunnel.name))
        with suppress(HostError):
            await self._read_all()
        await self._step()

    def status(self, now: float) -> FollowSnapshot:
        """What applications have joined, by the tunnel's name."""
        return {
            name: report.status(link.applications, self._wanted.of(name), link.problem)
            for name, link in self._links.items()
        }

    def problems(self) -> Iterator[Problem]:
        """What is not followed because something is wrong, and memberships that went with an interface."""
        if self._problem is not None:
            yield Problem("follow_failed", "applications", f"applications are not followed: {self._problem}")
        for link in self._links.values():
            yield from report.problems(link.applications, link.problem, next(iter(link.refused.values()), None))

    # The tunnels

    def _reconcile(self, desired: FollowDesired, now: float) -> None:
        for name in self._links.keys() - set(desired.names):
            self._close_reports(self._links.pop(name))
            self._wanted.replace(name, APPLICATION, ())
        self._open_changes()
        for tunnel in desired.tunnels:
            link = self._links.get(tunnel.name)
            if link is None:
                link = self._links[tunnel.name] = _Link(tunnel, self._wanted.of(tunnel.name))
                self._audit_at = now
            elif (link.tunnel.ifindex, link.tunnel.reports_logged) != (tunnel.ifindex, tunnel.reports_logged):
                self._close_reports(link)
                self._audit_at = now
            link.applications.configure(tunnel, now)
            self._match(link)

    def _open_changes(self) -> None:
        if self._changes is None:
            try:
                self._changes = self._kernel.changes(self._notified)
            except HostError as error:
                if self._reports_alone is None:
                    self._log.info("follow_by_reports", problem=str(error))
                self._reports_alone = str(error)

    def _match(self, link: _Link) -> None:
        """Hear what leaves by the interface, and hold it to IGMPv3: a query of version 2 would take sources away."""
        tunnel, link.problem = link.tunnel, None
        try:
            if link.reports is None:
                opened = self._kernel.logged_reports if tunnel.reports_logged else self._kernel.reports
                link.reports = opened(tunnel.name, lambda: self._sent(link))
            key = _IGMP_VERSION.format(tunnel.name)
            if not tunnel.igmpv3:
                self._put_back(key)
            elif (found := self._sysctls.read(key)) not in (None, "3"):
                self._ledger.remember("sysctl", key, found)
                self._sysctls.write(key, "3")
        except HostError as error:
            link.problem = str(error)

    def _put_back(self, key: str) -> None:
        before = self._ledger.entries("sysctl").get(key)
        if before is not None:
            if self._sysctls.read(key) is not None:
                self._sysctls.write(key, str(before))
            self._ledger.forget("sysctl", key)

    def _close(self) -> None:
        for link in self._links.values():
            self._close_reports(link)
        if self._changes is not None:
            self._changes.close()
            self._changes = None

    def _close_reports(self, link: _Link) -> None:
        if link.reports is not None:
            link.reports.close()
            link.reports = None

    # Hints

    def _notified(self) -> None:
        assert self._changes is not None
        try:
            changes = self._changes.receive()
        except HostError:
            self._changes.close()
            self._changes = changes = None
        if changes is None:
            self._audit_at = 0.0
        else:
            self._hints.notified(changes, {link.tunnel.ifindex for link in self._links.values()})
        if changes is None or self._hints:
            self.wake.set()

    def _sent(self, link: _Link) -> None:
        for packet in link.reports.receive() if link.reports is not None else ():
            try:
                self._hints.reported(link.tunnel.ifindex, igmp.decode(bytes(ipv4.parse(packet).payload)))
            except DecodeError:
                continue  # another program sends such packets; the kernel's own are right
        if self._hints:
            self.wake.set()

    # Reading

    async def _read(self) -> None:
        """Look at the groups that there are hints of or, when it is time, at all."""
        hints, self._hints = self._hints, Hints()
        try:
            if time.monotonic() >= self._audit_at:
                self._audit_at = inf  # a notification that was lost meanwhile sets it to 0
                self._open_changes()
                for link in self._links.values():
                    self._match(link)
                await self._read_all()
                await self._retry()
                self._audit_at = min(self._audit_at, time.monotonic() + _AUDIT_PERIOD)
            elif hints:
                await self._read_hinted(hints)
        except HostError as error:
            self._problem = str(error)
            self._audit_at = time.monotonic() + _RETRY_PERIOD
        else:
            self._problem = None
        by_index = self._by_index()
        for (index, group), any_source in hints.any_source.items():
            if index in by_index:
                by_index[index].reported(group, any_source=any_source)

    async def _read_hinted(self, hints: Hints) -> None:
        keys = {**hints.joined, **hints.changed}
        users = dict.fromkeys(hints.left, 0)
        lines: Mapping[GroupOn, list[SourceLine]] = {}
        if keys:
            self._kernel.settle()
            indexes = {index for index, _ in keys}
            lines = await self._sources(indexes, keys)
            if hints.changed or not lines.keys().isdisjoint(keys):
                found = await self._users(indexes, keys)
                users |= {key: found.get(key, 0) for key in keys}
            else:
                users |= dict.fromkeys(keys, 1)
            users, lines = await self._confirmed(indexes, users, lines)
        await self._observe(users, lines)

    async def _users(self, indexes: Collection[int], keys: Collection[GroupOn]) -> dict[GroupOn, int]:
        """The sockets of all groups; it is read twice before one of these has none, since a line may be missing."""
        found = await self._kernel.users(indexes)
        if not found.keys() >= set(keys):
            found |= await self._kernel.users(indexes)
        return found

    async def _sources(
        self, indexes: Collection[int], keys: Mapping[GroupOn, None] | None = None
    ) -> Mapping[GroupOn, list[SourceLine]]:
        """The sources of all groups, and for certain of these.

        Of a long file that changes meanwhile, a line may be missing: it is read twice before a group has no sources.
        """
        found = await self._kernel.sources(indexes)
        if len(found) > _PAGE and (keys is None or keys.keys() - found.keys()):
            again = await self._kernel.sources(indexes)
            for key, lines in found.items():
                if len(lines) > len(again.get(key, ())):
                    again[key] = lines
            return again
        return found

    async def _read_all(self) -> None:
        by_index = self._by_index()
        if not by_index:
            return
        self._kernel.settle()
        known = {(index, group) for index, applications in by_index.items() for group in applications}
        users = {**dict.fromkeys(known, 0), **await self._users(by_index, known)}
        await self._observe(*await self._confirmed(by_index, users, await self._sources(by_index)))

    async def _confirmed(
        self, indexes: Collection[int], users: dict[GroupOn, int], lines: Mapping[GroupOn, list[SourceLine]]
    ) -> tuple[dict[GroupOn, int], Mapping[GroupOn, list[SourceLine]]]:
        """Read both files again where a socket seems to want any source beside others that want some.

        It may have come after its sources were to be read, or have left before: then the other reading has fewer such.
        """
        doubtful = [key for key, count in users.items() if key in lines and _without_source(count, lines[key]) > 0]
        if not doubtful:
            return users, lines
        sources, counts = await self._sources(indexes), await self._kernel.users(indexes)
        found = dict(lines)
        for key in doubtful:
            count, its = counts.get(key, 0), sources.get(key, [])
            if _without_source(count, its) < _without_source(users[key], found[key]):
                users[key], found[key] = count, its
        return users, found

    async def _observe(self, users: Mapping[GroupOn, int], lines: Mapping[GroupOn, list[SourceLine]]) -> None:
        by_index = self._by_index()
        for number, (key, count) in enumerate(users.items()):
            index, group = key
            if (applications := by_index.get(index)) is not None:
                found = members(count, lines.get(key, ()))
                applications.observed(group, without(found, applications.tunnel.own_sockets(group)))
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)

    def _by_index(self) -> dict[int, Applications]:
        return {link.tunnel.ifindex: link.applications for link in self._links.values()}

    # What follows

    async def _step(self) -> None:
        for link in list(self._links.values()):
            while link.applications.next_deadline() <= (now := time.monotonic()):
                self._carry_out(link, link.applications.step(now))
                await asyncio.sleep(0)

    def _carry_out(self, link: _Link, effects: Collection[Effect]) -> None:
        tunnel = link.tunnel
        self._want(link, {effect.group: effect.desired for effect in effects if isinstance(effect, Want)})
        for effect in effects:
            try:
                if isinstance(effect, Ask):
                    self._kernel.query(tunnel.ifindex, tunnel.address, effect.group)
            except HostError as error:
                link.problem = str(error)

    def _want(self, link: _Link, wanted: Mapping[IPv4Address, DesiredGroup]) -> None:
        for group in wanted:
            link.refused.pop(group, None)
        refused = self._wanted.set_groups(link.tunnel.name, APPLICATION, wanted)
        link.refused.update((group, str(error)) for group, error in refused.items())

    async def _retry(self) -> None:
        """Others may have left room for what was refused."""
        for link in self._links.values():
            groups = list(link.refused)
            for start in range(0, len(groups), _SLICE):
                self._want(link, {group: link.applications.wanted(group) for group in groups[start : start + _SLICE]})
                await asyncio.sleep(0)

    def _report(self) -> None:
        """Log problems that are new, and say that they have changed."""
        found = {(problem.subject, problem.code): problem for problem in self.problems()}
        if found.keys() != self._named.keys():
            for key in found.keys() - self._named.keys():
                self._log.warning("follow_incomplete", code=key[1], subject=key[0], problem=found[key].text)
            self._on_change()
        self._named = {key: problem.text for key, problem in found.items()}

    def _wait(self, now: float) -> float:
        deadlines = (link.applications.next_deadline() for link in self._links.values())
        return max(0.0, min(self._audit_at, *deadlines, inf) - now)


def _without_source(users: int, lines: Collection[SourceLine]) -> int:
    """How many sockets at least include none of the sources."""
    return users - sum(line.included for line in lines)
