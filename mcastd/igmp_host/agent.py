"""The agent: joins what is desired by sockets on the tunnels' interfaces, in slices."""

import asyncio
import contextlib
import errno
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address
from math import inf
from typing import Final, Protocol

from msgspec.structs import replace

from mcastd.errors import HostError
from mcastd.igmp_host.desired import IgmpHostDesired, IgmpHostLink
from mcastd.igmp_host.filters import Filter, filters
from mcastd.igmp_host.membership_sockets import MOST_SOCKETS, MembershipSocket, MembershipSockets
from mcastd.listed import listed
from mcastd.membership import Membership
from mcastd.problems import Problem, ProblemCode
from mcastd.status import GroupStatus
from mcastd.system import membership_socket, multicast_addresses
from mcastd.system.fdstore import FdStore
from mcastd.system.log import Logger
from mcastd.system.sysctl import Sysctls
from mcastd.system.wake import Wake
from mcastd.wanted import APPLICATION, Wanted

_SLICE: Final = 50  # groups that are joined or left at once, at most
_SLICE_TIME: Final = 0.005  # seconds after which a slice ends
_RETRY_PERIOD: Final = 10.0  # seconds until what could not be joined is tried again
_INHERITED_KEPT: Final = 60.0  # seconds; by then hosts have answered two of our queries, and joins are as before
_REPORTS: Final = (0.0, 1.0)  # seconds after the path came up at which the kernel reports everything
_LEAVE_TIME: Final = 0.05  # seconds that the kernel takes to report what was left; it does so 2 ticks later
_MAX_LISTED: Final = 20  # groups that a line in the log lists
_PREFIX: Final = "igmp-"  # of names in the descriptor store; the tunnel and a number follow
_OF_THE_HOST: Final = {errno.ENODEV, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EPERM}  # not of one group
_NO_ADDRESS: Final = IPv4Address(0)  # the kernel takes one of the interface
_LIMITS: Final = {"igmp_max_memberships": 20, "igmp_max_msf": 10}  # the kernel's defaults


class StorableSocket(MembershipSocket, Protocol):
    """``mcastd.system.membership_socket.MembershipSocket``; tests replace it."""

    def fileno(self) -> int:
        """Its descriptor."""


class _StoredSocket:
    """A socket that is in the descriptor store as well, so that it outlives this process."""

    def __init__(self, socket: StorableSocket, store: FdStore, name: str) -> None:
        self._socket = socket
        self._store = store
        self._name = name  # in the store
        self.join, self.change, self.leave = socket.join, socket.change, socket.leave
        store.keep(name, socket.fileno())

    def close(self) -> None:
        self._store.drop(self._name)
        self._socket.close()


class _Link:
    """An interface, its sockets, and what is to be done there."""

    def __init__(self, settings: IgmpHostLink, sockets: MembershipSockets) -> None:
        self.settings = settings
        self.sockets = sockets
        self.pending: dict[IPv4Address, None] = {}  # groups whose desire has changed
        self.failed: dict[IPv4Address, str] = {}  # groups that could not be joined, each with the reason
        self.retry_at = inf  # when they are tried again
        self.release_at = inf  # when the sockets of the previous process are closed
        self.report_at: list[float] = []  # when the kernel is to report everything again

    def deadline(self) -> float:
        """When there is something to do next."""
        return min(self.retry_at, self.release_at, *self.report_at, inf)


class IgmpHostAgent:
    """Memberships on the tunnels with ``upstream = "igmp"``."""

    name: Final = "igmp_host"

    def __init__(
        self,
        *,
        wanted: Wanted,
        held: Wanted,
        sysctls: Sysctls,
        store: FdStore,
        log: Logger,
        on_change: Callable[[], None],
        open_socket: Callable[[int], StorableSocket] = membership_socket.MembershipSocket,
        query: Callable[[int, IPv4Address, None], None] = multicast_addresses.query,
    ) -> None:
        """``held`` is what to join for applications on tunnels where ``wanted`` is joined by PIM, or not at all."""
        self.wake = Wake()
        self._wanted = wanted
        self._held = held
        self._sysctls = sysctls
        self._store = store
        self._log = log
        self._on_change = on_change
        self._open_socket = open_socket
        self._query = query
        self._desired = IgmpHostDesired()
        self._links: dict[str, _Link] = {}  # by the interface's name
        self._heir_of = set(map(_tunnel, store.names(_PREFIX)))  # tunnels with sockets of the previous process
        self._stored = itertools.count(1 + max(map(_number, store.names(_PREFIX)), default=0))  # numbers in names
        self._most_sources = self._limit("igmp_max_msf")
        wanted.listen(partial(self._changed, False))
        held.listen(partial(self._changed, True))

    def configure(self, desired: IgmpHostDesired) -> None:
        """Set the interfaces; what is desired there is in ``Wanted``."""
        if desired != self._desired:
            self._desired = desired
            self.wake.set()

    async def settled(self) -> None:
        """Return when everything that was desired at the last ``configure`` is joined, or has failed."""
        await self.wake.settled()

    async def run(self) -> None:
        """Follow what is desired until cancelled."""
        applied: IgmpHostDesired | None = None  # what was acted on last
        self.wake.set()  # without any tunnel it is not configured, and the previous process may have had one
        while True:
            deadline = min((link.deadline() for link in self._links.values()), default=inf)
            await self.wake.wait(None if deadline == inf else max(0.0, deadline - time.monotonic()))
            if applied is not self._desired:
                applied = self._desired
                self._reconcile(applied)
            for link in self._links.values():
                await self._work(link)
            self.wake.finished()

    async def close(self) -> None:
        """Leave everything, also what the previous process joined."""
        left = bool(self._store.names(_PREFIX)) or any(len(link.sockets) for link in self._links.values())
        for link in self._links.values():
            link.sockets.close()
        self._links.clear()
        self._drop(self._store.names(_PREFIX))
        if left:
            await asyncio.sleep(_LEAVE_TIME)

    # Questions

    def status(self, now: float) -> tuple[GroupStatus, ...]:
        """Every group that is desired on these tunnels."""
        return tuple(self._groups(now))

    def group(self, group: IPv4Address, now: float) -> tuple[GroupStatus, ...]:
        """One group on these tunnels."""
        return tuple(self._groups(now, group))

    def problems(self) -> Iterator[Problem]:
        """The tunnels on which groups are not joined."""
        for name, link in self._links.items():
            if link.failed:
                reason = next(iter(link.failed.values()))
                yield Problem("igmp_join_failed", name, f"{len(link.failed)} groups not joined on {name}: {reason}")

    def _groups(self, now: float, only: IPv4Address | None = None) -> Iterator[GroupStatus]:
        for name in self._desired.tunnels:
            link, table = self._links.get(name), self._wanted.of(name)
            for group in table.groups() if only is None else (only,):
                problem = f"tunnel {name} is down" if link is None else link.failed.get(group)
                code: ProblemCode = "tunnel_down" if link is None else "igmp_join_failed"
                for row in self._wanted.rows(name, group, "joined", now):
                    if problem is not None:
                        row = replace(row, state="not joined", uptime=None, problem=problem, problem_code=code)
                    yield row

    def filters(self, name: str, group: IPv4Address) -> tuple[Filter, ...]:
        """Those of our sockets that have joined a group on a tunnel.

        A socket of the previous process cannot be asked: it is taken to have joined what is desired now.
        """
        link = self._links.get(name)
        found = link.sockets.filters(group) if link is not None else ()
        if name not in self._heir_of:
            return found
        table = (self._held if name in self._desired.held else self._wanted).of(name)
        desired = table.desired(group, without=APPLICATION)
        inherited = filters(desired, (), self._most_sources)[:MOST_SOCKETS]
        return (*found, *(one for one in inherited if one is not None))

    # Work

    def _changed(self, held: bool, name: str, groups: Sequence[IPv4Address]) -> None:
        if (link := self._links.get(name)) and link.settings.held == held:
            link.pending.update(dict.fromkeys(groups))
            self.wake.set()

    def _reconcile(self, desired: IgmpHostDesired) -> None:
        links = {settings.name: settings for settings in desired.links}
        for name, link in list(self._links.items()):
            after = links.get(name)
            if after is None or (after.ifindex, after.held) != (link.settings.ifindex, link.settings.held):
                self._links.pop(name).sockets.close()
        kept = {*desired.tunnels, *desired.held}
        self._drop([one for one in self._store.names(_PREFIX) if _tunnel(one) not in kept])
        for name, settings in links.items():
            if name in self._links:
                self._follow(self._links[name], settings)
            else:
                self._links[name] = self._opened(settings)

    def _opened(self, settings: IgmpHostLink) -> _Link:
        most = (self._limit(name) for name in _LIMITS)
        link = _Link(settings, MembershipSockets(lambda: self._stored_socket(settings), *most))
        link.pending = dict.fromkeys(self._table(settings).groups())
        if self._inherited(settings.name):
            link.release_at = time.monotonic() + _INHERITED_KEPT
        return link

    def _table(self, settings: IgmpHostLink) -> Membership:
        return (self._held if settings.held else self._wanted).of(settings.name)

    def _stored_socket(self, settings: IgmpHostLink) -> _StoredSocket:
        name = f"{_PREFIX}{settings.name}-{next(self._stored)}"
        return _StoredSocket(self._open_socket(settings.ifindex), self._store, name)

    def _limit(self, name: str) -> int:
        try:
            return int(self._sysctls.read(f"net/ipv4/{name}") or _LIMITS[name])
        except (HostError, ValueError):
            return _LIMITS[name]

    def _follow(self, link: _Link, settings: IgmpHostLink) -> None:
        """Let the kernel report everything where the other side may have forgotten it."""
        before, link.settings = link.settings, settings
        if not settings.held and (before.up_count, before.silences) != (settings.up_count, settings.silences):
            now = time.monotonic()
            link.report_at = [now + after for after in _REPORTS]

    async def _work(self, link: _Link) -> None:
        if time.monotonic() >= link.retry_at:
            link.pending |= dict.fromkeys(link.failed)
            link.retry_at = inf
        if link.pending:
            await self._join(link)
        now = time.monotonic()
        if now >= link.release_at:
            link.release_at = inf
            self._drop(self._inherited(link.settings.name))
        if link.report_at and now >= link.report_at[0]:
            del link.report_at[0]
            self._report(link)

    async def _join(self, link: _Link) -> None:
        """Make what is joined what is desired, of all groups whose desire has changed."""
        joined, left, had_failed = list[IPv4Address](), list[IPv4Address](), bool(link.failed)
        while link.pending:
            self._join_some(link, joined, left)
            self.wake.turn()
            await asyncio.sleep(0)
        log = self._log.bind(tunnel=link.settings.name)
        if joined and not link.settings.held:
            log.info("igmp_joined", groups=listed(joined, _MAX_LISTED, ","))
        if left and not link.settings.held:
            log.info("igmp_left", groups=listed(left, _MAX_LISTED, ","))
        if link.failed and not had_failed:
            reason = next(iter(link.failed.values()))
            log.warning("igmp_join_failed", groups=listed(link.failed, _MAX_LISTED, ","), problem=reason)
        if bool(link.failed) != had_failed:
            self._on_change()

    def _join_some(self, link: _Link, joined: list[IPv4Address], left: list[IPv4Address]) -> None:
        end = time.monotonic() + _SLICE_TIME
        membership = self._table(link.settings)
        for group in list(itertools.islice(link.pending, _SLICE)):
            link.pending.pop(group, None)
            was_joined = group in link.sockets
            try:
                link.sockets.set(group, membership.desired(group, without=APPLICATION))
            except OSError as error:
                self._failed(link, group, error)
            else:
                link.failed.pop(group, None)
            if was_joined != (group in link.sockets):
                (left if was_joined else joined).append(group)
            if time.monotonic() > end or not link.pending:
                break

    def _failed(self, link: _Link, group: IPv4Address, error: OSError) -> None:
        reason = error.strerror or os.strerror(error.errno or 0)
        link.failed[group] = reason
        link.retry_at = time.monotonic() + _RETRY_PERIOD
        if error.errno in _OF_THE_HOST:
            link.failed |= dict.fromkeys(link.pending, reason)
            link.pending.clear()

    def _report(self, link: _Link) -> None:
        with contextlib.suppress(HostError):  # the interface is gone, or down: then the kernel reports when it is up
            self._query(link.settings.ifindex, _NO_ADDRESS, None)

    def _inherited(self, tunnel: str) -> list[str]:
        return [name for name in self._store.names(_PREFIX) if _tunnel(name) == tunnel]

    def _drop(self, names: Iterable[str]) -> None:
        for name in names:
            self._store.drop(name)
            self._heir_of.discard(_tunnel(name))


def _tunnel(name: str) -> str:
    """The tunnel of a descriptor in the store, by its name there."""
    return name.removeprefix(_PREFIX).rpartition("-")[0]


def _number(name: str) -> int:
    number = name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0
