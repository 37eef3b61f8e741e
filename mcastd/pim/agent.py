"""The PIM agent: raw sockets, one timer and the log around the sans-IO router."""

import asyncio
import errno
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from random import Random
from typing import Final

from mcastd.errors import DecodeError
from mcastd.net import bpf, ipv4
from mcastd.net.ipv4 import Ipv4Packet
from mcastd.pim.auto_rp_packet import AUTO_RP_PORT, RP_ANNOUNCE, RP_DISCOVERY
from mcastd.pim.effects import (
    AutoRpChanged,
    BootstrapRouterChanged,
    Effect,
    Entry,
    Joined,
    NeighborDown,
    NeighborRestarted,
    NeighborUp,
    Pruned,
    RpSetChanged,
    Send,
)
from mcastd.pim.interface import Interface
from mcastd.pim.link import open_socket
from mcastd.pim.membership import Membership
from mcastd.pim.packet import encode_hello
from mcastd.pim.report import group_statuses, pim_status
from mcastd.pim.router import Router
from mcastd.pim.settings import PimDesired, PimInterface, PimSnapshot
from mcastd.problems import Problem
from mcastd.status import PimStatus
from mcastd.system import sockets
from mcastd.system.log import Logger
from mcastd.system.wake import Wake

_AUDIT_PERIOD: Final = 30.0
_BATCH: Final = 32
_LINES: Final = 20  # entries of one change that get a line each; more become one line
_CLOSE_LIMIT: Final = 0.4
_EVENTS: Final = 100  # changes of state told in _EVENTS_PERIOD seconds; a flood must not fill the journal
_EVENTS_PERIOD: Final = 10.0


class _Link:
    """One interface's sockets, for PIM and to overhear Auto-RP, and what their errors were."""

    def __init__(self, settings: PimInterface) -> None:
        self.settings = settings
        self.sock: socket.socket | None = None
        self.auto_rp: socket.socket | None = None
        self.problem: str | None = None
        self.errors: Counter[str] = Counter()


class PimAgent:
    """PIM on the tunnels. What arrives and what is due is dealt with in callbacks of the event loop."""

    name = "pim"

    def __init__(
        self,
        *,
        log: Logger,
        on_change: Callable[[], None],
        rng: Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._on_change = on_change
        self._clock = clock
        self._router = Router(rng)
        self.wake = Wake()
        self._desired = PimDesired((), ())
        self._links: dict[str, _Link] = {}  # by the interface's name
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._told = 0
        self._told_since = 0.0

    # What is wanted

    def configure(self, desired: PimDesired) -> None:
        """Set the interfaces to run PIM on, and the groups to join; their Hellos and Joins leave at once."""
        if desired != self._desired:
            self._desired = desired
            self.wake.set()

    def _reconcile(self, desired: PimDesired) -> None:
        interfaces, groups = desired.interfaces, desired.groups
        now = self._clock()
        wanted = {settings.name: settings for settings in interfaces}
        stale = [name for name, link in self._links.items() if link.settings.is_another(wanted.get(name))]
        returned = [
            name
            for name, link in self._links.items()
            if name not in stale and wanted[name].up_count != link.settings.up_count
        ]
        if stale:
            staying = [link.settings for name, link in self._links.items() if name not in stale]
            self._carry_out(self._router.configure(staying, groups, now))
            for name in stale:
                self._close_socket(self._links.pop(name))
        for name, settings in wanted.items():
            link = self._links.setdefault(name, _Link(settings))
            link.settings = settings
            self._open_socket(link)
        self._carry_out(self._router.configure(interfaces, groups, now))
        for name in returned:
            self._carry_out(self._router.relink(name, now))

    def join(self, group: IPv4Address, source: IPv4Address | None, tunnel: str, origin: str = "command") -> None:
        """Join for ``origin``; the Join has left when this returns. Raises McastdError."""
        self._carry_out(self._router.join(group, source, tunnel, origin, self._clock()))

    def leave(self, group: IPv4Address, source: IPv4Address | None, tunnel: str, origin: str = "command") -> None:
        """Take a join of ``origin`` back; the last one prunes. Raises McastdError if there was none."""
        self._carry_out(self._router.leave(group, source, tunnel, origin, self._clock()))

    # What outlives a restart

    @property
    def generation_ids(self) -> dict[str, int]:
        """The Generation ID of each interface, by its name."""
        return dict(self._router.generation_ids)

    def joins(self, origin: str) -> tuple[tuple[str, IPv4Address, IPv4Address | None], ...]:
        """What ``origin`` has joined, as (tunnel, group, source)."""
        return tuple(
            (name, group, source)
            for name, membership in self._router.memberships.items()
            for group, source in membership.of_origin(origin)
        )

    def hellos(self) -> tuple[tuple[str, IPv4Address, bytes], ...]:
        """What the neighbours said of themselves, as (tunnel, neighbour, Hello)."""
        return tuple(
            (name, neighbor.address, encode_hello(neighbor.hello))
            for name, interface in self._router.interfaces.items()
            for neighbor in interface.neighbors.all()
        )

    def go_on(self, generation_ids: Mapping[str, int], hellos: Iterable[tuple[str, IPv4Address, bytes]]) -> None:
        """Go on as an earlier life, whose joins we have: call before ``configure``.

        Neighbours need not hear that we forgot them, and are sent our Joins before their next Hello.
        """
        self._router.generation_ids.update(generation_ids)
        for name, neighbor, hello in hellos:
            self._router.heard.setdefault(name, []).append((neighbor, hello))

    # The agent's life

    async def settled(self) -> None:
        """Return when Hellos and Joins of the last ``configure`` have left."""
        await self.wake.settled()

    async def run(self) -> None:
        """Follow the desired state until cancelled."""
        while True:
            nudged = await self.wake.wait(_AUDIT_PERIOD)
            if nudged:
                self._reconcile(self._desired)
            for link in self._links.values():
                self._open_socket(link)
            self.wake.finished()

    async def close(self) -> None:
        """Prunes and goodbyes, within half a second; errors are counted, not raised."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._carry_out(self._router.close(self._clock()))
        limit = self._clock() + _CLOSE_LIMIT
        while (deadline := self._router.next_deadline()) is not None and deadline < limit:
            await asyncio.sleep(max(0.0, deadline - self._clock()))
            self._carry_out(self._router.advance(self._clock()))
        for link in self._links.values():
            self._close_socket(link)
        self._links.clear()

    # Questions

    def status(self, now: float) -> PimSnapshot:
        """PIM on each tunnel, and every join."""
        return PimSnapshot({name: self._status(name, now) for name in self._links}, group_statuses(self._router, now))

    def joins_desired(self) -> int:
        """How many joins are desired on configured tunnels."""
        return sum(len(membership) for membership, _ in self._memberships())

    def _memberships(self) -> Iterator[tuple[Membership, Interface | None]]:
        """What is desired on each configured tunnel, and its interface while PIM runs on it and its path is up."""
        for name, membership in self._router.memberships.items():
            if name in self._desired.tunnels:
                interface = self._router.interfaces.get(name)
                yield membership, interface if interface is not None and interface.settings.up else None

    def problems(self) -> Iterator[Problem]:
        """The interfaces that cannot send, and how many joins are not joined."""
        for name, link in self._links.items():
            if link.problem is not None and link.settings.up:
                yield Problem("pim_send_failed", name, f"PIM cannot send on {name}: {link.problem}")
        desired, now = self.joins_desired(), self._clock()
        missing = desired - sum(interface.joined(now) for _, interface in self._memberships() if interface is not None)
        if missing:
            yield Problem("joins_not_joined", "pim", f"{missing} of {desired} joins not joined")

    def _status(self, name: str, now: float) -> PimStatus:
        """PIM on one tunnel; ``running`` is False without an open socket on its interface."""
        link = self._links.get(name)
        running = link is not None and link.sock is not None
        problem = link.problem if link else None
        return pim_status(self._router, name, running, link.errors if link else Counter(), now, problem)

    # Effects

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        changed = False
        for effect in effects:
            if isinstance(effect, Send):
                self._send(effect)
            else:
                changed = True
                if self._may_tell():
                    self._tell(effect)
        self._arm()
        if changed:
            self._on_change()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._router.next_deadline()
        if deadline is not None and not self._closed:
            delay = max(0.0, deadline - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._carry_out(self._router.advance(self._clock()))

    def _may_tell(self) -> bool:
        """Whether one more change of state may be logged now."""
        now = self._clock()
        if now - self._told_since >= _EVENTS_PERIOD:
            if self._told > _EVENTS:
                self._log.warning("pim_log_limited", untold=self._told - _EVENTS)
            self._told, self._told_since = 0, now
        self._told += 1
        return self._told <= _EVENTS

    def _tell(self, event: Effect) -> None:
        log = self._log
        match event:
            case Send():
                pass
            case NeighborUp(interface, neighbor, generation_id):
                log.info("pim_neighbor_up", tunnel=interface, neighbor=neighbor, generation_id=generation_id)
            case NeighborRestarted(interface, neighbor, generation_id):
                log.warning("pim_neighbor_restarted", tunnel=interface, neighbor=neighbor, generation_id=generation_id)
            case NeighborDown(interface, neighbor, reason):
                log.warning("pim_neighbor_down", tunnel=interface, neighbor=neighbor, reason=reason)
            case Joined(interface, upstream, entries):
                self._tell_entries("joined", interface, upstream, entries)
            case Pruned(interface, upstream, entries):
                self._tell_entries("pruned", interface, upstream, entries)
            case BootstrapRouterChanged(interface, router, priority):
                log.info("bootstrap_router", tunnel=interface, bootstrap_router=router, priority=priority)
            case RpSetChanged(interface, ranges, rps):
                log.info("rp_set_changed", tunnel=interface, ranges=ranges, rps=",".join(map(str, rps)))
            case AutoRpChanged(interface, ranges, rps):
                log.info("auto_rp_changed", tunnel=interface, ranges=ranges, rps=",".join(map(str, rps)))

    def _tell_entries(self, what: str, tunnel: str, upstream: IPv4Address, entries: tuple[Entry, ...]) -> None:
        if len(entries) > _LINES:
            first, last = entries[0].group, entries[-1].group
            self._log.info(what, tunnel=tunnel, entries=len(entries), first=first, last=last, upstream=upstream)
            return
        for entry in entries:
            source, rp = entry.source or "*", entry.rp or "-"
            self._log.info(what, tunnel=tunnel, group=entry.group, source=source, rp=rp, upstream=upstream)

    # Sockets

    def _open_socket(self, link: _Link) -> None:
        if link.sock is not None:
            return
        try:
            link.sock = open_socket(link.settings)
        except OSError as error:
            self._failed(link, error)
            return
        asyncio.get_running_loop().add_reader(link.sock, self._readable, link)
        try:
            # No UDP socket: it would need a privileged port, and a membership, which reads like an application's.
            program = bpf.accept_udp(AUTO_RP_PORT, (RP_ANNOUNCE, RP_DISCOVERY))
            link.auto_rp = sockets.packets_on(link.settings.name, program)
        except OSError as error:
            self._failed(link, error)
            return
        asyncio.get_running_loop().add_reader(link.auto_rp, self._auto_rp_readable, link)

    def _close_socket(self, link: _Link) -> None:
        for sock in (link.sock, link.auto_rp):
            if sock is not None:
                asyncio.get_running_loop().remove_reader(sock)
                sock.close()
        link.sock = link.auto_rp = None

    def _send(self, send: Send) -> None:
        link = self._links.get(send.interface)
        if link is None or link.sock is None:
            return
        try:
            link.sock.sendto(send.payload, (str(send.destination), 0))
        except OSError as error:
            self._failed(link, error)
        else:
            if link.problem is not None:
                self._log.info("pim_send_recovered", tunnel=link.settings.name)
                link.problem = None

    def _failed(self, link: _Link, error: OSError) -> None:
        """Count an error of the host; say it when it is another one than the last."""
        link.errors[errno.errorcode.get(error.errno or 0, "OSError").lower()] += 1
        problem = os.strerror(error.errno or 0)
        if link.problem != problem:
            link.problem = problem
            self._log.warning("pim_send_failed", tunnel=link.settings.name, problem=problem)

    def _readable(self, link: _Link) -> None:
        now = self._clock()
        effects: list[Effect] = []
        for packet in self._packets(link, link.sock):
            payload = bytes(packet.payload)
            effects += self._router.received(link.settings.name, packet.source, packet.destination, payload, now)
        self._carry_out(effects)

    def _auto_rp_readable(self, link: _Link) -> None:
        now = self._clock()
        effects: list[Effect] = []
        for packet in self._packets(link, link.auto_rp):
            effects += self._router.auto_rp_received(link.settings.name, packet.source, bytes(packet.payload), now)
        self._carry_out(effects)

    def _packets(self, link: _Link, sock: socket.socket | None) -> Iterator[Ipv4Packet]:
        """Take a bounded number of packets in, so that a flood does not starve the rest of the daemon."""
        for _ in range(_BATCH):
            if sock is None:
                return
            try:
                packet, origin = sock.recvfrom(65535)
            except BlockingIOError:
                return
            except OSError as error:
                if sock is not link.auto_rp or error.errno != errno.ENETDOWN:  # it says so once when the link goes down
                    self._failed(link, error)
                return
            if sock is link.auto_rp and origin[2] == socket.PACKET_OUTGOING:
                continue
            try:
                yield ipv4.parse(packet)
            except DecodeError as error:
                link.errors[error.reason] += 1
