"""The PIM agent: packets, one timer and the log around the sans-IO router."""

import asyncio
import errno
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from math import inf
from random import Random
from typing import Final

from mcastd.errors import DecodeError
from mcastd.listed import listed
from mcastd.membership import Membership
from mcastd.net import ipv4
from mcastd.pim import effects
from mcastd.pim.packet import encode_hello
from mcastd.pim.report import group_statuses, pim_status
from mcastd.pim.router import Router
from mcastd.pim.settings import PimDesired, PimInterface, PimState
from mcastd.pim.transport import OpenTransport, SocketTransport, Transport
from mcastd.problems import Problem, ProblemCode
from mcastd.status import GroupStatus, PimStatus
from mcastd.system.log import Logger
from mcastd.system.wake import Wake
from mcastd.wanted import Wanted

_RETRY_PERIOD: Final = 30.0  # seconds between two tries to open a transport
_MAX_ENTRIES: Final = 20  # entries of one change that get a line in the log each; more become one line
_MAX_EVENTS: Final = 100  # events that are logged in _EVENTS_PERIOD seconds; a flood must not fill the journal
_EVENTS_PERIOD: Final = 10.0
_MAX_RPS: Final = 10  # rendezvous points that a line in the log lists
_CLOSE_TIMEOUT: Final = 0.4


class _Link:
    """An interface and its transport."""

    def __init__(self, settings: PimInterface) -> None:
        self.settings = settings
        self.transport: Transport | None = None  # None if it could not be opened
        self.retry_at = 0.0  # when that is tried again
        self.problem: str | None = None  # the last error of the host; None after a message could be sent
        self.errors: Counter[str] = Counter()  # errors of the host, and packets with a bad IP header, by reason


class PimAgent:
    """PIM on the tunnels."""

    name: Final = "pim"

    def __init__(
        self,
        *,
        log: Logger,
        on_change: Callable[[], None],
        rng: Random,
        wanted: Wanted,
        open_transport: OpenTransport = SocketTransport,
    ) -> None:
        """``wanted`` is what to join; the Join or Prune of a change has been sent when the change returns."""
        self.wake = Wake()
        self._log = log
        self._on_change = on_change
        self._open_transport = open_transport
        self._router = Router(rng, wanted)
        self._wanted = wanted
        wanted.listen(self._on_wanted)
        self._changed: dict[str, dict[IPv4Address, None]] = {}  # groups, by interface, whose change waits for the loop
        self._desired = PimDesired()
        self._applied: PimDesired | None = None  # what the loop acted on last
        self._links: dict[str, _Link] = {}  # by the interface's name
        self._rp_changes: Counter[str] = Counter()  # how often the rendezvous points that were learned have changed
        self._waits_until = -inf  # when the loop looks at the router's timers next; -inf while it does not wait
        self._events = 0  # how many events there were since _events_since
        self._events_since = 0.0

    def configure(self, desired: PimDesired) -> None:
        """Set the interfaces to run PIM on; their Hellos and Joins are sent by the loop."""
        if desired != self._desired:
            self._desired = desired
            self.wake.set()

    async def settled(self) -> None:
        """Return when the Hellos and Joins of the last ``configure`` have been sent."""
        await self.wake.settled()

    async def run(self) -> None:
        """Follow the desired state and the router's timers until cancelled."""
        self._applied = None
        while True:
            now = time.monotonic()
            self._waits_until = min(self._router.next_deadline(), now + _RETRY_PERIOD)
            await self.wake.wait(max(0.0, self._waits_until - now))
            self._waits_until = -inf
            if self._applied is not self._desired:
                self._applied = self._desired
                self._reconcile(self._applied)
            for link in self._links.values():
                if link.transport is None and time.monotonic() >= link.retry_at:
                    self._open(link)
            self._carry_out(self._router.advance(time.monotonic()))
            self.wake.finished()

    async def close(self) -> None:
        """Send Prunes and goodbyes, within half a second; errors are counted, not raised."""
        self._carry_out(self._router.close(time.monotonic()))
        timeout = time.monotonic() + _CLOSE_TIMEOUT
        while (deadline := self._router.next_deadline()) < timeout:
            await asyncio.sleep(max(0.0, deadline - time.monotonic()))
            self._carry_out(self._router.advance(time.monotonic()))
        for link in self._links.values():
            _close(link)
        self._links.clear()

    def take_leave(self, desired: PimDesired) -> None:
        """Take over what the previous process joined, without a word to the neighbours: ``close`` prunes it."""
        for settings in desired.interfaces:
            self._links[settings.name] = link = _Link(settings)
            self._open(link)
        self._router.configure(desired.interfaces, time.monotonic())

    # State for the next process

    def state(self) -> PimState:
        """What the next process needs to go on without a gap. Costs the same however many joins there are."""
        hellos = tuple(
            (name, neighbor.address, encode_hello(neighbor.hello))
            for name, interface in self._router.interfaces.items()
            for neighbor in interface.neighbors.all()
        )
        return PimState(dict(self._router.generation_ids), (*hellos, *self._router.inherited()))

    def inherit(self, state: PimState) -> None:
        """Go on as the previous process: call before ``configure``, and join what it had joined.

        Neighbours see no restart, and are sent our Joins before their next Hello.
        """
        self._router.inherit(state)

    # Questions

    def status(self, now: float) -> dict[str, PimStatus]:
        """PIM on each interface, by its name."""
        return {
            name: pim_status(self._router, name, link.transport is not None, link.errors, now, link.problem)
            for name, link in self._links.items()
        }

    def group(self, group: IPv4Address, now: float) -> tuple[GroupStatus, ...]:
        """The joins of one group."""
        return group_statuses(self._router, self._desired.tunnels, group, now)

    def has_rp(self, name: str, group: IPv4Address) -> bool:
        """Whether a group has a rendezvous point on an interface; the answer may change with ``rp_changes``."""
        interface = self._router.interfaces.get(name)
        return interface is not None and interface.rps.rp(group) is not None

    def rp_changes(self) -> Mapping[str, int]:
        """How often the rendezvous points that each interface has learned have changed, by its name."""
        return dict(self._rp_changes)

    def hello_overdue(self) -> frozenset[str]:
        """The tunnels on which the Hello of the upstream neighbour is overdue."""
        return frozenset(name for name, interface in self._router.interfaces.items() if interface.hello_overdue)

    def neighbors(self) -> frozenset[str]:
        """The tunnels that have an upstream neighbour, or one that need not say so yet."""
        now = time.monotonic()
        interfaces = self._router.interfaces.items()
        return frozenset(name for name, interface in interfaces if interface.neighbor_problem(now) is None)

    def problems(self) -> Iterator[Problem]:
        """The interfaces that cannot send, neighbours whose Hello is overdue, and how many joins are not joined."""
        for name, link in self._links.items():
            if link.problem is not None and link.settings.up:
                yield Problem("pim_send_failed", name, f"PIM cannot send on {name}: {link.problem}")
        for name in self.hello_overdue():
            yield Problem("hello_overdue", name, f"the Hello of the PIM neighbor on {name} is overdue")
        now = time.monotonic()
        for name, desired in self._wanted.counts(self._desired.tunnels).items():
            if missing := desired - self._router.joined(name, now):
                code: ProblemCode = "nothing_joined" if missing == desired else "joins_not_joined"
                yield Problem(code, name, f"{missing} of {desired} joins not joined on {name}")

    # Effects

    def _reconcile(self, desired: PimDesired) -> None:
        now = time.monotonic()
        interfaces = {settings.name: settings for settings in desired.interfaces}
        stale = [name for name, link in self._links.items() if link.settings.is_another(interfaces.get(name))]
        if stale:  # their goodbyes leave before their sockets are closed
            staying = [link.settings for name, link in self._links.items() if name not in stale]
            self._carry_out(self._router.configure(staying, now))
            for name in stale:
                _close(self._links.pop(name))
        relinked = [name for name, link in self._links.items() if link.settings.up_count != interfaces[name].up_count]
        for name, settings in interfaces.items():
            link = self._links.setdefault(name, _Link(settings))
            link.settings = settings
            if link.transport is None:
                self._open(link)
        changed, self._changed = self._changed, {}
        self._carry_out(self._router.configure(desired.interfaces, now, changed))
        for name in relinked:
            self._carry_out(self._router.relink(name, now))

    def _on_wanted(self, name: str, groups: Sequence[IPv4Address]) -> None:
        """Join and prune at once, or by the rendezvous points of a configuration that is yet to be applied."""
        if self._applied is self._desired:
            self._carry_out(self._router.changed(name, groups, time.monotonic()))
        else:
            self._changed.setdefault(name, {}).update(dict.fromkeys(groups))

    def _carry_out(self, found: Iterable[effects.Effect]) -> None:
        changed = False
        for effect in found:
            if isinstance(effect, effects.Send):
                self._send(effect)
            else:
                if isinstance(effect, effects.RpSetChanged | effects.AutoRpChanged):
                    self._rp_changes[effect.interface] += 1
                changed = True
                self._log_event(effect)
        if self._router.next_deadline() < self._waits_until:
            self.wake.set()
        if changed:
            self._on_change()

    def _log_event(self, event: effects.Event) -> None:
        now = time.monotonic()
        if now - self._events_since >= _EVENTS_PERIOD:
            if self._events > _MAX_EVENTS:
                self._log.warning("pim_log_limited", suppressed=self._events - _MAX_EVENTS)
            self._events, self._events_since = 0, now
        self._events += 1
        if self._events > _MAX_EVENTS:
            return
        log = self._log.bind(tunnel=event.interface)
        match event:
            case effects.NeighborUp():
                log.info("pim_neighbor_up", neighbor=event.neighbor, generation_id=event.generation_id)
            case effects.NeighborRestarted():
                log.warning("pim_neighbor_restarted", neighbor=event.neighbor, generation_id=event.generation_id)
            case effects.NeighborDown():
                log.warning("pim_neighbor_down", neighbor=event.neighbor, reason=event.reason)
            case effects.NeighborMissing() if self._links[event.interface].problem is not None:
                pass  # nothing could be sent, which has been logged
            case effects.NeighborMissing():
                log.warning("pim_neighbor_missing", neighbor=event.neighbor or "-")
            case effects.HelloOverdue():
                log.warning("pim_hello_overdue", neighbor=event.neighbor, seconds=round(event.seconds))
            case effects.HelloResumed():
                log.info("pim_hello_resumed", neighbor=event.neighbor)
            case effects.Joined():
                _log_entries(log, "joined", event.upstream, event.entries, self._wanted.of(event.interface))
            case effects.Pruned():
                _log_entries(log, "pruned", event.upstream, event.entries)
            case effects.BootstrapRouterChanged():
                log.info("bootstrap_router", bootstrap_router=event.bootstrap_router, priority=event.priority)
            case effects.RpSetChanged():
                log.info("rp_set_changed", ranges=event.ranges, rps=listed(event.rps, _MAX_RPS, ","))
            case effects.AutoRpChanged():
                log.info("auto_rp_changed", ranges=event.ranges, rps=listed(event.rps, _MAX_RPS, ","))

    # Packets

    def _open(self, link: _Link) -> None:
        link.retry_at = time.monotonic() + _RETRY_PERIOD
        try:
            link.transport = self._open_transport(link.settings, lambda: self._receive(link))
        except OSError as error:
            self._failed(link, error)

    def _send(self, send: effects.Send) -> None:
        link = self._links.get(send.interface)
        if link is None or link.transport is None:
            return
        try:
            link.transport.send(send.destination, send.payload)
        except OSError as error:
            self._failed(link, error)
        else:
            if link.problem is not None:
                link.problem = None
                self._log.info("pim_send_recovered", tunnel=link.settings.name)
                self._on_change()

    def _failed(self, link: _Link, error: OSError) -> None:
        """Count an error of the host, and log it if it is another one than the last."""
        link.errors[errno.errorcode.get(error.errno or 0, "OSError").lower()] += 1
        problem = os.strerror(error.errno or 0)
        if link.problem != problem:
            link.problem = problem
            self._log.warning("pim_send_failed", tunnel=link.settings.name, problem=problem)
            self._on_change()

    def _receive(self, link: _Link) -> None:
        found: list[effects.Effect] = []
        try:
            for data in link.transport.receive() if link.transport is not None else ():
                found += self._received(link, data)
        except OSError as error:
            self._failed(link, error)
        self._carry_out(found)

    def _received(self, link: _Link, data: bytes) -> list[effects.Effect]:
        name, now = link.settings.name, time.monotonic()
        try:
            packet = ipv4.parse(data)
        except DecodeError as error:
            link.errors[error.reason] += 1
            return []
        if packet.protocol == ipv4.PIM:
            return self._router.received(name, packet.source, packet.destination, bytes(packet.payload), now)
        return self._router.auto_rp_received(name, packet.source, bytes(packet.payload), now)


def _close(link: _Link) -> None:
    if link.transport is not None:
        link.transport.close()


def _log_entries(
    log: Logger, key: str, upstream: IPv4Address, entries: tuple[effects.Entry, ...], wanted: Membership | None = None
) -> None:
    """Log entries; those that are ``wanted`` with their origins."""
    if len(entries) > _MAX_ENTRIES:
        first, last = entries[0].group, entries[-1].group
        log.info(key, entries=len(entries), first=first, last=last, upstream=upstream)
        return
    for group, source, rp in entries:
        by = {} if wanted is None else {"origins": ",".join(wanted.origins(group, source))}
        log.info(key, group=group, source=source or "*", rp=rp or "-", upstream=upstream, **by)
