"""The forward agent: has the kernel forward what receivers behind this host want, and desires it from the tunnels."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from ipaddress import IPv4Address
from typing import Final

from mcastd.config.downstream import Forward
from mcastd.errors import DecodeError, HostError
from mcastd.forward.desired import ForwardDesired, Forwarded, ForwardedGroup
from mcastd.forward.groups import Groups
from mcastd.forward.kernel import MulticastRouting, MulticastSocket
from mcastd.forward.reading import Known, Reading
from mcastd.forward.table import AddEntry, AddVif, DeleteEntry, DeleteVif, Effect, Table
from mcastd.history import History
from mcastd.net.mroute import MAX_VIFS, NOTHING, Counts, UpcallKind, Vif, decode_upcall
from mcastd.problems import Problem
from mcastd.status import ForwardState, ForwardStatus
from mcastd.system.fdstore import FdStore
from mcastd.system.log import Logger
from mcastd.system.mroute import RoutingTaken
from mcastd.system.wake import Wake
from mcastd.wanted import STATIC, Wanted

DESCRIPTOR: Final = "mroute"
"""The name of the socket in the descriptor store."""
_AUDIT_PERIOD: Final = 30.0  # seconds between two looks at what the kernel has, or more:
_SHARE: Final = 0.01  # of the time that they may take
_RETRY_PERIOD: Final = 2.0  # seconds to the next attempt after a failure
_SLICE: Final = 32  # groups that are planned before other work has a turn


class ForwardAgent:
    """Forwarding. ``on_change`` is called after the problems have changed."""

    name = "forward"

    def __init__(
        self,
        *,
        open_socket: Callable[[int | None], MulticastSocket],
        routing: MulticastRouting,
        store: FdStore,
        wanted: Wanted,
        downstream: Wanted,
        history: History,
        log: Logger,
        on_change: Callable[[], None],
    ) -> None:
        """``wanted`` is what is desired from upstream, by tunnel, ``downstream`` by the interfaces behind this host."""
        self._open = open_socket
        self._routing = routing
        self._store = store
        self._downstream = downstream
        self._history = history
        self._log = log
        self._on_change = on_change
        self.wake = Wake()
        self._desired = ForwardDesired()
        self._socket: MulticastSocket | None = None
        self._is_stale = True  # whether the table may not be what the kernel has
        self._is_first = True  # whether what the kernel has is what the previous process left
        self._to_plan = asyncio.Event()  # whether there are groups to plan
        self._planned = asyncio.Event()  # whether there are none
        self._groups = Groups(Table(self._execute), wanted, downstream, self._nudge)
        self._reading = asyncio.Lock()  # one reading of the kernel at a time
        self._interfaces: Mapping[str, int] = {}  # of this host, at the last look
        self._period = _AUDIT_PERIOD  # until the next one
        self._counts: dict[Known, Counts] = {}  # of the entries, at the last reading
        self._vifs: Mapping[int, Vif] = {}  # likewise, by number
        self._problem: Problem | None = None  # why nothing is forwarded
        self._refused: str | None = None  # why a group is not
        self._problems: tuple[Problem, ...] = ()  # as reported by the last on_change
        self.upcalls: Counter[str] = Counter()  # what the kernel has reported, by kind
        self._sent_back: Counter[str] = Counter()  # packets of entries that came from an interface not their parent

    def configure(self, desired: ForwardDesired) -> None:
        """Set the interfaces, the tunnels, and on which links this host is the querier."""
        if desired == self._desired:
            return
        before, self._desired = self._desired, desired
        self._groups.configure(desired)
        if desired.interfaces != before.interfaces:
            static = {one.name: () for one in before.interfaces} | {one.name: one.static for one in desired.interfaces}
            for name, groups in static.items():
                self._downstream.replace(name, STATIC, [(group, None) for group in groups])
        self.wake.set()

    async def settled(self) -> None:
        """Return when the last configure has been carried out, or has failed."""
        await self.wake.settled()
        if self._is_ready():
            await self._planned.wait()

    async def run(self) -> None:
        """Reconcile at every nudge, after changes of interfaces, and periodically; plan groups as they change."""
        async with AsyncExitStack() as stack:
            changes = None
            with suppress(HostError):  # without notifications interfaces are looked at periodically
                changes = stack.enter_context(self._routing.changes())
            stack.callback(self._stop_reading)
            self._is_stale = True
            group = await stack.enter_async_context(asyncio.TaskGroup())
            if changes is not None:
                group.create_task(self.wake.follow(changes))
            group.create_task(self._plan())
            while True:
                nudged = await self.wake.wait(self._wait(time.monotonic()))
                await self._reconcile(audit=not nudged)
                self.wake.finished()

    async def refresh(self) -> None:
        """Read the counters, for status."""
        if self._socket is not None and not self._is_stale:
            with suppress(HostError):
                await self._read()

    async def close(self) -> None:
        """Remove VIFs and entries, and give multicast routing back."""
        self._stop_reading()
        self._end()

    def status(self, now: float) -> tuple[ForwardStatus, ...]:
        """Each downstream interface, as of the last reading."""
        return tuple(map(self._interface, self._desired.interfaces))

    def forwarded(self, groups: Iterable[IPv4Address]) -> Forwarded:
        """What is forwarded of some groups, as of the last reading."""
        reading, found = Reading(self._groups.table, self._names()), {}
        for group in groups:
            for entry in self._groups.table.entries(group).values():
                key = reading.key(entry)
                found[key] = ForwardedGroup(reading.to(entry), self._counts.get(key, NOTHING))
        return found

    def problems(self) -> Iterator[Problem]:
        """Why something is not forwarded."""
        if self._problem is not None:
            yield self._problem
        if self._refused is not None:
            yield Problem("forward_failed", "forward", f"forwarding: {self._refused}")
        if unjoined := self._groups.refused:
            text = f"{len(unjoined)} groups not joined upstream: {next(iter(unjoined.values()))}"
            yield Problem("forward_not_joined", "forward", text)
        for one in self._desired.interfaces:
            if self._socket is not None and one.name not in self._interfaces:
                yield Problem("downstream_missing", one.name, f"{one.name}, to forward to, is missing or down")
            _, refused = self._groups.count(one.name)
            if refused:
                limit = f"max_groups of {one.name}, {one.max_groups}"
                yield Problem("groups_limit", one.name, f"{one.name}: {refused} groups are wanted beyond {limit}")
        for name in sorted(self._groups.table.full):
            text = f"{name}: the kernel routes multicast between {MAX_VIFS} interfaces at most, all of which are used"
            yield Problem("vif_limit", name, text)

    # What the kernel has

    async def _reconcile(self, *, audit: bool) -> None:
        before = self._problem
        try:
            if self._desired.interfaces:
                await self._match(audit=audit)
            else:
                self._end()
            await self._in_slices(self._groups.release(time.monotonic()))
            self._problem = None
        except RoutingTaken:
            who = ", ".join(await self._routing.holders()) or "another program"
            text = f"nothing is forwarded: {who} has the kernel's multicast routing; stop it"
            self._problem = Problem("multicast_routing_taken", "forward", text)
        except HostError as error:
            self._is_stale = True
            self._problem = Problem("forward_failed", "forward", f"forwarding: {error}")
        if self._problem is not None and self._problem != before:
            self._log.error("forward_failed", code=self._problem.code, problem=self._problem.text)
        self._nudge()
        self._report()

    async def _match(self, *, audit: bool) -> None:
        self._interfaces = self._routing.interfaces()
        names = [one.name for one in self._desired.interfaces if one.name in self._interfaces]
        links = {name: self._interfaces[name] for name in names}
        for name, tunnel in self._desired.tunnels.items():
            index = tunnel.index or self._interfaces.get(name)
            if index is not None:
                links[name] = index
        if self._socket is None:
            self._socket = self._open(self._store.take(DESCRIPTOR))
            self._store.keep(DESCRIPTOR, self._socket.fileno())
            self._is_stale = True
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)
        if self._is_stale:
            await self._read_back(links)
        elif self._groups.table.set_links(links):
            self._groups.plan_all()
        elif audit:
            self._groups.retry()
            began = time.monotonic()
            await self._read()
            self._period = max(_AUDIT_PERIOD, (time.monotonic() - began) / _SHARE)

    async def _read_back(self, links: Mapping[str, int]) -> None:
        """Begin with what the kernel has; what the previous process forwarded goes on until hosts have been asked."""
        async with self._reading:
            vifs = {vif.number: vif.ifindex for vif in await self._routing.vifs()}
            table, numbers = self._groups.table, {index: number for number, index in vifs.items()}
            table.begin(vifs, links)
            await self._routing.entries(numbers, lambda entry, _counts: table.take(entry))
        if self._is_first and table.groups():
            self._log.info("forwarding_inherited", groups=len(table.groups()))
            await self._in_slices(self._groups.inherit(time.monotonic()))
        self._is_first = self._is_stale = False
        self._groups.plan_all()

    async def _read(self) -> None:
        """Read the counters, and correct what another program has changed."""
        table = self._groups.table
        async with self._reading:
            table.touched.clear()
            vifs = await self._routing.vifs()
            numbers = {vif.ifindex: vif.number for vif in vifs}
            if any(index not in numbers for index in table.indexes().values() if index in self._interfaces.values()):
                self._history.repaired("forward", "VIFs")
                self._is_stale = True
                self.wake.set()
                return
            reading = Reading(table, self._names())
            await self._routing.entries(numbers, reading.take)
            self._vifs, self._counts = {vif.number: vif for vif in vifs}, reading.counts
            await self._in_slices(self._correct(reading))

    def _correct(self, reading: Reading) -> Iterator[None]:
        table = self._groups.table
        for key, entry in reading.differences():
            if key not in table.touched and entry != table.entry(key):
                table.correct(key, entry)
                self._groups.dirty(key.group)
                self._history.repaired("forward", "multicast routes")
            yield

    async def _in_slices(self, steps: Iterator[None]) -> None:
        """Take all steps, a bounded number before other work has a turn."""
        for number, _ in enumerate(steps, start=1):
            if not number % _SLICE:
                await asyncio.sleep(0)

    def _end(self) -> None:
        """Give multicast routing back, also that which the previous process had."""
        if self._socket is None and (left := self._store.take(DESCRIPTOR)) is not None:
            with suppress(HostError):
                self._socket = self._open(left)
        self._stop_reading()
        if self._socket is not None:
            with suppress(HostError):
                self._socket.end()
            self._store.drop(DESCRIPTOR)
        self._socket, self._groups.table = None, Table(self._execute)

    # Groups

    def _is_ready(self) -> bool:
        """Whether groups can be planned: what is no longer forwarded also without the socket."""
        return not self._desired.interfaces or (self._socket is not None and not self._is_stale)

    def _nudge(self) -> None:
        if self._is_ready():
            self._planned.clear()
            self._to_plan.set()

    async def _plan(self) -> None:
        while True:
            await self._to_plan.wait()
            try:
                more = self._is_ready() and self._groups.plan(_SLICE)
                self._refused = None
            except HostError as error:
                if str(error) != self._refused:
                    self._log.error("forward_failed", code="forward_failed", problem=str(error))
                self._refused, more = str(error), False
                self._is_stale = True
                asyncio.get_running_loop().call_later(_RETRY_PERIOD, self.wake.set)
            if not more:
                self._to_plan.clear()
                self._planned.set()
                self._report()
            await asyncio.sleep(0)

    def _report(self) -> None:
        before, self._problems = self._problems, tuple(self.problems())
        if before != self._problems:
            self._on_change()

    def _wait(self, now: float) -> float:
        if self._problem is not None:
            return _RETRY_PERIOD
        deadline = self._groups.next_deadline()
        return self._period if deadline is None else max(0.0, min(self._period, deadline - now))

    def _interface(self, config: Forward) -> ForwardStatus:
        name, number = config.name, self._groups.table.number(config.name)
        groups, refused = self._groups.count(name)
        vif = self._vifs.get(number) if number is not None else None
        state, problem = self._state(config)
        return ForwardStatus(
            name=name,
            state=state,
            tunnels=config.from_,
            groups=groups,
            refused=refused,
            packets=vif.packets_out if vif is not None else 0,
            bytes=vif.bytes_out if vif is not None else 0,
            sent_back=self._sent_back[name],
            problem=problem,
        )

    def _state(self, config: Forward) -> tuple[ForwardState, str | None]:
        name = config.name
        if self._problem is not None:
            return "waiting", self._problem.text
        if name not in self._interfaces:
            return "waiting", f"{name} is missing or down"
        if self._groups.forwards(config):
            return "forwarding", self._refused
        return "standby" if name in self._desired.others else "waiting", None

    def _names(self) -> set[str]:
        return {name for one in self._desired.interfaces for name in (one.name, *one.from_)}

    # The socket

    def _execute(self, effect: Effect) -> None:
        assert self._socket is not None
        match effect:
            case AddVif(number, index):
                self._socket.add_vif(number, index)
            case DeleteVif(number):
                self._socket.delete_vif(number)
            case AddEntry(entry):
                self._socket.add(entry)
            case DeleteEntry(entry):
                self._socket.delete(entry)

    def _readable(self) -> None:
        assert self._socket is not None
        for packet in self._socket.upcalls():
            try:
                upcall = decode_upcall(packet)
            except DecodeError as error:
                self.upcalls[error.reason] += 1
                continue
            self.upcalls[upcall.kind.name.lower()] += 1
            source, group, vif = upcall.source, upcall.group, upcall.vif
            if upcall.kind != UpcallKind.WRONGVIF:
                continue
            self._sent_back[self._groups.table.name(vif) or ""] += 1
            if self._groups.parent(source, group, vif):
                with suppress(HostError):
                    self._groups.moved(source, group, vif, self._socket.packets(source, group))

    def _stop_reading(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
