"""The IGMP agent: the interfaces, packets, timers and the log around the sans-IO queriers."""

import asyncio
import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Final

from mcastd.config.downstream import Forward
from mcastd.errors import DecodeError, HostError
from mcastd.igmp import effects
from mcastd.igmp.flood import parts
from mcastd.igmp.interface import Interface
from mcastd.igmp.kernel import Links, OpenTransport
from mcastd.igmp.passed_on import PassedOn
from mcastd.igmp.querier import Querier
from mcastd.igmp.report import igmp_status
from mcastd.igmp.role import Role
from mcastd.igmp.settings import Election, IgmpDesired, IgmpInterface
from mcastd.igmp.transport import SocketTransport
from mcastd.joined_hosts import JoinedHosts
from mcastd.links import Link
from mcastd.membership import NOTHING, DesiredGroup
from mcastd.net import ipv4
from mcastd.net.igmp import V3Report, decode
from mcastd.problems import Problem
from mcastd.status import QuerierStatus
from mcastd.system.log import Logger
from mcastd.system.wake import Wake
from mcastd.wanted import Wanted

_AUDIT_PERIOD: Final = 30.0  # seconds between two looks at the interfaces without a notification
_RETRY_PERIOD: Final = 2.0  # seconds to the next attempt after a failure
_TURN: Final = 0.005  # seconds of one callback; then others have a turn
_SLICE: Final = 32  # groups that are passed on in one turn


class IgmpAgent:
    """IGMP towards hosts. ``on_change`` is called after ``elections`` or the problems have changed."""

    name: Final = "igmp"

    def __init__(
        self,
        *,
        links: Links,
        downstream: Wanted,
        joined: JoinedHosts,
        log: Logger,
        on_change: Callable[[], None],
        open_transport: OpenTransport = SocketTransport,
    ) -> None:
        """``downstream`` is what is desired by the interfaces behind this host, ``joined`` by which of their hosts."""
        self._links = links
        self._log = log
        self._on_change = on_change
        self._open_transport = open_transport
        self.wake = Wake()
        self._desired = IgmpDesired()
        self._interfaces: dict[str, Interface] = {}  # those that exist and have an address
        self._joined, joined.segments = joined, self._interfaces
        self._without_address: frozenset[str] = frozenset()  # those that exist and have none
        self._problem: str | None = None  # why the interfaces are not known
        self._passed_on = PassedOn(downstream)
        self._passing: asyncio.Handle | None = None  # the next turn of that
        self._timer: asyncio.TimerHandle | None = None  # the next deadline of the queriers
        self._shown: object = None  # what on_change was called for last

    def configure(self, desired: IgmpDesired) -> None:
        """Set the interfaces, and on which of them no other querier is to be displaced."""
        if desired != self._desired:
            self._desired = desired
            self.wake.set()

    async def settled(self) -> None:
        """Return when the loop has acted on the last ``configure``."""
        await self.wake.settled()

    async def run(self) -> None:
        """Follow the configuration and the host's interfaces until cancelled; packets and timers call back."""
        while True:
            if not self._desired.interfaces:  # then nothing is asked of the kernel
                self._without_address, self._problem = frozenset(), None
                self._apply({}, self._desired)
                self.wake.finished()
                await self.wake.wait(_AUDIT_PERIOD)
                continue
            try:
                await self._follow()
            except* HostError as errors:
                self._problem = str(errors.exceptions[0])
                self._show()
                self.wake.finished()
                await self.wake.wait(_RETRY_PERIOD)

    async def _follow(self) -> None:
        """Follow the host's interfaces while there are any in the configuration. Raises HostError."""
        async with self._links, self._links.changes_of_links() as changes, asyncio.TaskGroup() as group:
            self.wake.set()  # for what has changed before
            following = group.create_task(self.wake.follow(changes))
            while self._desired.interfaces:
                failed = any(one.problem or one.away_since is not None for one in self._interfaces.values())
                nudged = await self.wake.wait(_RETRY_PERIOD if failed else _AUDIT_PERIOD)
                await self._reconcile()
                if not nudged:
                    self._passed_on.retry(self._wish)
                    self._begin_to_pass_on()
                self.wake.finished()
            following.cancel()

    async def close(self) -> None:
        """Close the sockets. There is no goodbye in IGMP: other routers take over when the queries stop."""
        for name in list(self._interfaces):
            self._remove(name)
        for handle in (self._timer, self._passing):
            if handle is not None:
                handle.cancel()
        self._timer = self._passing = None

    # Questions

    def elections(self) -> dict[str, Election]:
        """How it stands on each interface that is there."""
        return {name: one.querier.election for name, one in self._interfaces.items()}

    def hosts(self, group: IPv4Address, now: float) -> dict[str, dict[IPv4Address, float]]:
        """The hosts that are known to receive a group, by interface, each with the seconds since it asked for it."""
        return {
            name: {host: now - member.since for host, member in one.querier.members(group, now)}
            for name, one in self._interfaces.items()
        }

    def status(self, now: float) -> Mapping[str, QuerierStatus]:
        """IGMP on each interface of the configuration, by its name."""
        found = {}
        for forward in self._desired.interfaces:
            one = self._interfaces.get(forward.name)
            if one is None:
                found[forward.name] = igmp_status(None, now, problem=self._problem)
            else:
                counts = one.querier.dropped + one.errors
                found[forward.name] = igmp_status(one.querier, now, one.pim_routers.there(now), counts, one.problem)
        return found

    def problems(self) -> Iterator[Problem]:
        """Interfaces without IGMP, and PIM routers where only hosts are expected."""
        now = time.monotonic()
        if self._problem is not None:
            yield Problem("igmp_failed", "igmp", f"IGMP: {self._problem}")
        yield from self._passed_on.problems()
        for name in sorted(self._without_address):
            yield Problem("downstream_without_address", name, f"{name} has no IPv4 address to send IGMP queries from")
        for name, one in self._interfaces.items():
            if one.problem is not None:
                yield Problem("igmp_failed", name, f"IGMP on {name}: {one.problem}")
            yield from one.limits()
            if routers := one.pim_routers.there(now):
                text = f"PIM routers are on {name} and may forward there as well: {', '.join(map(str, routers))}"
                yield Problem("pim_router_on_segment", name, text)

    # Interfaces

    async def _reconcile(self) -> None:
        desired = self._desired
        found: dict[str, IgmpInterface] = {}
        without_address = set()
        for forward in desired.interfaces:
            link = await self._links.link(forward.name)
            if link is None or not link.up:
                continue
            settings = await self._settings(forward, link)
            known = self._interfaces.get(forward.name)
            if settings is None:
                without_address.add(forward.name)
                settings = known.without_address(link.index, time.monotonic()) if known is not None else None
            elif known is not None and known.away_since is not None:
                known.away_since = None
                self._close(known)  # which opens it again
            if settings is not None:
                found[forward.name] = settings
        self._without_address, self._problem = frozenset(without_address), None
        self._apply(found, desired)

    async def _settings(self, forward: Forward, link: Link) -> IgmpInterface | None:
        addresses = await self._links.addresses(link)
        return IgmpInterface.of(forward, addresses[0].interface.ip, link.index) if addresses else None

    def _apply(self, found: Mapping[str, IgmpInterface], desired: IgmpDesired) -> None:
        now = time.monotonic()
        for name, one in list(self._interfaces.items()):
            if name not in found or found[name].ifindex != one.settings.ifindex:
                self._remove(name)
        for name, settings in found.items():
            known = self._interfaces.get(name)
            if known is None:
                querier = Querier(settings, now, allowed=desired.allows(name))
                known = self._interfaces[name] = Interface(settings, querier, now)
                self._open(known)
            elif known.transport is None:  # what hosts have said stays; without that it begins again
                known.settings = settings
                if not known.querier.groups:
                    known.querier = Querier(settings, now, allowed=desired.allows(name))
                self._open(known)
            elif (known.settings.address, known.settings.querier) != (settings.address, settings.querier):
                known.settings = settings
                self._open(known)
            known.settings = settings
            self._carry_out(known, known.querier.configure(settings, now))
            known.querier.give_way(now, gives_way=name in desired.waiting)
            if desired.allows(name, now - known.began, known.querier.election):
                self._carry_out(known, known.querier.allow_queries(now))
            self._carry_out(known, known.querier.advance(now))
            if known.transport is not None and known.querier.role is not Role.QUERIER:
                self._works(known)  # which has nothing to send
        self._schedule()
        self._show()

    def _remove(self, name: str) -> None:
        one = self._interfaces.pop(name)
        self._carry_out(one, one.querier.stop())
        self._close(one)

    def _open(self, one: Interface) -> None:
        self._close(one)
        try:
            one.transport = self._open_transport(one.settings, lambda: self._receive(one))
            one.sampled = frozenset()
        except OSError as error:
            self._failed(one, error)
        else:
            one.querier.ask_again(time.monotonic())
            self._works(one)

    def _close(self, one: Interface) -> None:
        one.waiting.clear()
        if one.transport is not None:
            one.transport.close()
            one.transport = None

    # Timers

    def _schedule(self) -> None:
        """Call ``_tick`` at the next deadline."""
        deadline = min((one.querier.next_deadline() for one in self._interfaces.values()), default=None)
        if self._timer is not None:
            if deadline is not None and self._timer.when() <= deadline and not self._timer.cancelled():
                return  # it calls then, or sooner
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(deadline, self._tick) if deadline is not None else None

    def _tick(self) -> None:
        self._timer = None
        now = time.monotonic()
        for one in self._interfaces.values():
            if one.querier.next_deadline() <= now:
                self._carry_out(one, one.querier.advance(now))
        self._schedule()
        self._show()

    # Packets

    def _receive(self, one: Interface) -> None:
        if one.transport is None:
            return
        began = time.monotonic()
        if one.again is not None:
            one.again.cancel()
            one.again = None
        try:
            packets = one.transport.receive()
            while self._take(one, began) and time.monotonic() - began < _TURN:
                arrived = next(packets, None)
                if arrived is None:
                    break
                self._received(one, *arrived, began)
            self._sample(one, began)
        except OSError as error:
            if error.errno != errno.ENETDOWN:  # once when the link goes down
                self._close(one)
                self._failed(one, error)
        if one.waiting:
            one.again = asyncio.get_running_loop().call_soon(self._receive, one)
        self._schedule()
        self._show()

    def _take(self, one: Interface, began: float) -> bool:
        """Give the querier what has been read; returns whether that was all."""
        while one.waiting and time.monotonic() - began < _TURN:
            source, message = one.waiting.popleft()
            self._carry_out(one, one.querier.receive(source, message, began))
        return not one.waiting

    def _received(self, one: Interface, data: bytes, mac: bytes, now: float) -> None:
        try:
            packet = ipv4.parse(data)
            source = packet.source
            if packet.protocol == ipv4.PIM:
                if source != one.settings.address and one.pim_routers.heard(source, now) and one.lines.take(now):
                    self._log.warning("pim_router_heard", interface=one.settings.name, router=source)
            elif one.flood.admits(source, len(data), now):
                message = decode(bytes(packet.payload))
                one.errors.update(message.refused if isinstance(message, V3Report) else ())
                if one.heard(source, mac):
                    self._joined.changed(one.settings.name, one.querier.groups)
                one.waiting += ((source, part) for part in parts(message))
            else:
                one.errors["flood"] += 1
        except DecodeError as error:
            one.errors[error.reason] += 1

    def _sample(self, one: Interface, now: float) -> None:
        sampled = one.flood.sampled(now)
        if sampled == one.sampled or one.transport is None:
            return
        one.transport.sample(sampled)
        for host in sampled - one.sampled:
            if one.lines.take(now):
                self._log.warning("igmp_flood", interface=one.settings.name, host=host)
        one.sampled = sampled

    # Effects

    def _carry_out(self, one: Interface, found: Iterable[effects.Effect]) -> None:
        for effect in found:
            if isinstance(effect, effects.SendQuery):
                self._send(one, effect)
            elif isinstance(effect, effects.GroupChanged):
                self._passed_on.change(one.settings.name, effect.group, effect.desired)
            elif one.lines.take(time.monotonic()):
                self._log_event(self._log.bind(interface=one.settings.name), effect)
        self._joined.changed(one.settings.name, one.querier.hosts.take_changed())
        self._begin_to_pass_on()

    def _wish(self, name: str, group: IPv4Address) -> DesiredGroup:
        one = self._interfaces.get(name)
        return one.querier.desired(group) if one is not None else NOTHING

    def _begin_to_pass_on(self) -> None:
        if self._passed_on and self._passing is None:
            self._pass_on()

    def _pass_on(self) -> None:
        """Write what has changed, a bounded number of groups; the rest when others had a turn."""
        self._passing, had_refused = None, bool(self._passed_on.refused)
        self._passed_on.pass_on(_SLICE)
        if bool(self._passed_on.refused) != had_refused:
            self._on_change()
        if self._passed_on:
            self._passing = asyncio.get_running_loop().call_soon(self._pass_on)

    def _log_event(self, log: Logger, event: effects.Effect) -> None:
        match event:
            case effects.QuerierChanged(querier):
                log.info("igmp_querier", querier=querier or "this host")
            case effects.OlderQuerier(querier, version):
                log.warning("older_querier", querier=querier, version=version)
            case effects.LimitReached(limit, host):
                log.warning("igmp_limit", limit=limit, host=host)

    def _send(self, one: Interface, effect: effects.SendQuery) -> None:
        if one.transport is None:
            return
        try:
            one.transport.send(effect.destination, effect.payload)
        except OSError as error:
            self._failed(one, error)
        else:
            self._works(one)

    def _failed(self, one: Interface, error: OSError) -> None:
        """Count an error of the host, and log it if it is another one than the last."""
        one.errors[errno.errorcode.get(error.errno or 0, "OSError").lower()] += 1
        problem = os.strerror(error.errno or 0)
        if one.problem != problem:
            one.problem = problem
            self._log.warning("igmp_failed", interface=one.settings.name, problem=problem)
            self.wake.set()

    def _works(self, one: Interface) -> None:
        if one.problem is not None:
            one.problem = None
            self._log.info("igmp_recovered", interface=one.settings.name)

    def _show(self) -> None:
        """Call ``on_change`` if what other agents or status see has changed."""
        now = time.monotonic()
        ones = self._interfaces.values()
        problems = [(one.querier.role, set(one.querier.full), one.problem, one.pim_routers.there(now)) for one in ones]
        shown = (self.elections(), problems, self._without_address, self._problem)
        if shown != self._shown:
            self._shown = shown
            self.wake.set()  # whether queries are allowed may follow from it
            self._on_change()
