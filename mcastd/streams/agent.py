"""The streams agent: keeps the table that counts what arrives, and reads what it has counted."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Address
from typing import Final, Protocol, TypeAlias

from msgspec.structs import replace

from mcastd.config.model import Config
from mcastd.errors import DecodeError, HostError
from mcastd.history import History
from mcastd.net.nfnetlink import Element
from mcastd.net.sock_diag import UdpSocket
from mcastd.net.token_bucket import TokenBucket
from mcastd.net.xfrm import Replay, Sa
from mcastd.problems import Problem
from mcastd.status import StreamStatus
from mcastd.stream_status import StreamCount, StreamsReport
from mcastd.streams import losses, table
from mcastd.streams.desired import ChildArrival, StreamsDesired, StreamsSnapshot, TunnelArrival
from mcastd.streams.esp import EspLosses
from mcastd.streams.fragments import Fragments, names
from mcastd.streams.monitor import Monitor
from mcastd.streams.recorder import EARLY, Recorder
from mcastd.system.ledger import Ledger
from mcastd.system.log import Logger
from mcastd.system.nft_table import Nftables, NftTable
from mcastd.system.wake import Wake

_LINES: Final = (0.2, 30.0)  # log lines a second on what arrives, and at once: hundreds of feeds may end together
_PERIOD: Final = 1.0  # seconds between two readings of the named counters
_AUDIT_PERIOD: Final = 30.0  # seconds between two looks at the table without a notification
_RETRY_PERIOD: Final = 5.0  # seconds to the next attempt after a failure
_PORTS: Final = 16  # of one group, whose sockets are looked at
_RECORDED: Final = 10_000  # streams at most that are read each second
_UNREAD: Final = 3.0  # seconds without a successful reading after which nothing is counted


class Counters(Protocol):
    """The functions of ``mcastd.system.counters`` that are used here; tests replace them."""

    async def counters(self, table: str) -> dict[str, int]:
        """The packets of each named counter of a table. Raises HostError."""

    def elements(self, table: str, name: str) -> AsyncGenerator[list[Element], None]:
        """The elements of a set, in parts. Raises HostError."""

    async def losses(self) -> dict[str, int]:
        """What the host loses, by name (``mcastd.system.losses``)."""

    async def receivers(self, port: int) -> list[UdpSocket]:
        """The UDP sockets of this host that are bound to a port. Raises HostError."""

    async def received(self, names: Iterable[str]) -> dict[str, int]:
        """How many packets interfaces have received; those that do not exist are left out. Raises HostError."""

    async def mtus(self, names: Iterable[str]) -> dict[str, int]:
        """The MTUs of interfaces; those that do not exist are left out."""

    def replay(self, sas: Iterable[Sa]) -> AsyncGenerator[tuple[Sa, Replay | None]]:
        """What SAs have received; None of those that the kernel does not have. Nothing at all without XFRM."""


Memberships: TypeAlias = Mapping[str, Collection[IPv4Address]]
"""The groups that sockets of this host have joined, by interface."""


class StreamsAgent:
    """What arrives. ``on_change`` is called after ``arrivals``, ``decrypted`` or the problems have changed."""

    name = "streams"

    def __init__(
        self,
        *,
        nftables: Nftables,
        counters: Counters,
        memberships: Callable[[], Awaitable[Memberships]],
        ledger: Ledger,
        history: History,
        log: Logger,
        on_change: Callable[[], None],
    ) -> None:
        self._log = log
        self._on_change = on_change
        self._nft = nftables
        self._counters = counters
        self._memberships = memberships
        self.wake = Wake()
        self._desired = StreamsDesired()
        self._is_configured = False  # whether it was configured once
        self._table = NftTable(
            table.NAME, nftables=nftables, ledger=ledger, log=log, wake=self.wake, repaired=history.repaired
        )
        self._monitor = Monitor()
        self._recorder = Recorder(self._monitor.is_known, self._monitor.is_named)
        self._fragments = Fragments()
        self._esp = EspLosses()  # what was lost of each CHILD_SA
        self._reading = asyncio.Lock()  # one reading of the streams at a time
        self._missing: str | None = None  # why there is no table
        self._problem: str | None = None  # why nothing is counted: that, or why it could not be read for some seconds
        self._read_at = 0.0  # when it was read last, successfully or as there is no table yet, monotonic
        self._lines = TokenBucket(*_LINES)  # log lines on what arrives and does not
        self._unlogged = 0  # those that were too many, since the last one
        self._problems: tuple[Problem, ...] = ()  # as of the last reading
        self._arrivals: dict[str, TunnelArrival] = {}  # likewise
        self._decrypted: dict[str, ChildArrival] = {}  # likewise

    def configure(self, desired: StreamsDesired) -> None:
        """Set what is counted and what is expected to arrive; other joins alone do not concern the table."""
        if desired.config != self._desired.config or not self._is_configured:
            self.wake.set()
        has_changed = desired.config is not self._desired.config
        self._desired, self._is_configured = desired, True
        self._monitor.configure(desired, time.monotonic())
        if has_changed:
            self._recorder.renamed()

    async def settled(self) -> None:
        """Return when the loop has acted on the last configure, or has failed."""
        await self.wake.settled()

    async def run(self) -> None:
        """Keep the table in place, and read it every second."""
        async with AsyncExitStack() as stack:
            changes = None
            with suppress(HostError):  # without notifications the table is looked at periodically
                changes = stack.enter_context(self._nft.changes(table.NAME))
            group = await stack.enter_async_context(asyncio.TaskGroup())
            if changes is not None:
                group.create_task(self.wake.follow(changes))
            group.create_task(self._read())
            while True:
                await self.wake.wait(_RETRY_PERIOD if self._missing else _AUDIT_PERIOD)
                await self._reconcile(self._desired.config)
                self.wake.finished()

    async def refresh(self) -> None:
        """Read what is counted, for status."""
        self._monitor.ask()
        await self._count()

    async def reset(self) -> None:
        """Let the streams be counted from 0 again. Raises HostError."""
        async with self._reading:
            if self._problem is not None:
                raise HostError(f"streams are not counted: {self._problem}")
            await self._nft.transaction(table.reset())
            self._monitor.reset(time.monotonic())
            self._recorder.reset()

    async def report(
        self,
        group: IPv4Address | None,
        seconds: float | None,
        measured: Callable[[Iterable[StreamCount]], Iterable[StreamCount]] = iter,
        *,
        compare: bool = True,
        history: float = 0.0,
    ) -> tuple[StreamsReport, Iterator[list[StreamCount]]]:
        """What was counted, of one group or of all, since counting began or in the last ``seconds``.

        The streams are beside the report, in parts, between which other work may have a turn; ``measured`` adds to them
        what was measured of them. Without ``compare`` what was passed on is as of some seconds ago. ``history``
        is for how many seconds what each stream carried in each of them is added.
        """
        self._monitor.ask(compare=compare)
        await self._count()
        begin = await self._counting_since()
        if begin is None:
            return StreamsReport(problem=self._problem or "no tunnel is configured"), iter(())
        now = time.monotonic()
        since = None if seconds is None else now - seconds
        covered = begin if since is None else self._monitor.covered(since, begin)
        window = self._recorder.window(history, now)
        report = StreamsReport(
            counting_since=_utc(now - begin, "seconds"),
            period=now - covered,
            problem=self._problem,
            not_recorded=self._recorder.refused if self._is_recording else self._monitor.count,
            history_until=_utc(now - window.end, "milliseconds") if history else None,
        )
        counted = (measured(part) for part in self._monitor.counts(group, since, begin, now))
        parts = window.parts(counted) if history else map(list, counted)
        if group is None:
            return report, parts
        counts = list[list[StreamCount]]()
        for part in parts:
            counts.append(part)
            await asyncio.sleep(0)
        streams = [one for part in counts for one in part]
        grown, first = self._monitor.host_since(begin if since is None else since)
        sockets, unread = await self._receivers(group, streams)
        children = {tunnel.name: tunnel.child for tunnel in self._desired.config.tunnels}
        found = losses.losses(grown, streams, await self._memberships(), sockets, unread, children)
        sockets_status = tuple(map(losses.status, sockets))
        report = replace(report, losses=found, losses_period=now - first, sockets=sockets_status)
        return report, iter(counts)

    async def _receivers(
        self, group: IPv4Address, streams: Iterable[StreamCount]
    ) -> tuple[list[UdpSocket], str | None]:
        """The sockets that streams of a group can reach, and why they are not all known."""
        found = list[UdpSocket]()
        try:
            for port in sorted({one.port for one in streams})[:_PORTS]:
                found += (one for one in await self._counters.receivers(port) if losses.receives(one, group))
        except HostError as error:
            return found, str(error)
        return found, None

    async def _counting_since(self) -> float | None:
        """When the kernel began to count the streams, monotonic; None if it does not."""
        with suppress(HostError):  # no table; why is known
            async with aclosing(self._counters.elements(table.NAME, table.SINCE)) as parts:
                async for part in parts:
                    for element in part:
                        return time.monotonic() - (table.SINCE_TIMEOUT - element.expires_in)
        return None

    async def close(self) -> None:
        """Remove the table."""
        await self._table.remove()

    def arrivals(self) -> Mapping[str, TunnelArrival]:
        """What arrives on each tunnel, by its name."""
        return self._arrivals

    def decrypted(self) -> Mapping[str, ChildArrival]:
        """What each CHILD_SA decrypts, by its name; empty where nftables is missing."""
        return self._decrypted

    @property
    def is_counting(self) -> bool:
        """Whether streams are counted, so that it can be known what has arrived."""
        return self._problem is None

    def has_arrived(self, tunnel: str, source: IPv4Address | None, group: IPv4Address) -> bool:
        """Whether a packet for a group, from ``source`` or (None) any, arrived within the last seconds."""
        return self._monitor.has_arrived(tunnel, source, group, time.monotonic())

    def status(self, now: float) -> StreamsSnapshot:
        """The state of what has arrived, as of the last reading."""
        return StreamsSnapshot(
            self._monitor.groups(), self._problem, self._monitor.feeds.names, self._fragments.packets
        )

    def group(self, group: IPv4Address, now: float) -> tuple[StreamStatus, ...]:
        """What arrives of one group."""
        return tuple(self._monitor.of_group(group, now))

    def problems(self) -> Iterator[Problem]:
        """What should arrive and does not."""
        yield from self._problems

    async def _reconcile(self, config: Config) -> None:
        try:
            text = table.table(config, await self._counters.mtus(names(config)))
            await self._table.match(text, partial(table.transaction, text))
            self._missing = None
        except HostError as error:
            self._missing = str(error)
            if not self._table.in_place:
                self._set_problem(self._missing)

    def _set_problem(self, problem: str | None) -> None:
        if problem == self._problem:
            return
        self._problem = problem
        if problem is not None:
            # Not a warning: without a table what arrives is then seen by the interfaces' counters.
            self._log.info("streams_not_counted", problem=problem)
        self._on_change()

    async def _read(self) -> None:
        """Read right after each full second, and when a tunnel may be quiet."""
        while True:
            now = time.monotonic()
            second = now + _PERIOD + EARLY - (now + EARLY) % _PERIOD
            due = min((at for at in self._monitor.quiet_at() if now < at < second), default=second)
            await asyncio.sleep(due - now)
            await self._count(is_full_second=due == second)

    async def _count(self, *, is_full_second: bool = False) -> None:
        """Read the named counters and, if they ask for it or it is a full second, the streams."""
        async with self._reading:
            tunnels = [tunnel.name for tunnel in self._desired.config.tunnels]
            missing = None if self._table.in_place else self._missing
            try:
                if tunnels and self._table.in_place:
                    await self._count_table(is_full_second=is_full_second)
                elif missing is not None:
                    self._monitor.received(await self._counters.received(tunnels), time.monotonic())
                self._read_at = time.monotonic()
                self._set_problem(missing)
            except (HostError, DecodeError) as error:
                if time.monotonic() - self._read_at >= _UNREAD:
                    self._set_problem(missing or str(error))
        self._update()

    @property
    def _is_recording(self) -> bool:
        """Whether there are not too many streams to read them each second."""
        return self._monitor.count <= _RECORDED

    async def _count_table(self, *, is_full_second: bool) -> None:
        counted = await self._counters.counters(table.NAME)
        asks = self._monitor.counted(counted, time.monotonic())
        self._fragments.counted(counted, time.monotonic())
        # A file of one line for each join: read only when that may explain something.
        undelivered = self._monitor.undelivered()
        joined = await self._memberships() if undelivered else {}
        self._monitor.joined({name: joined.get(name, ()) for name in undelivered}, time.monotonic())
        await self._read_esp()
        is_full_second &= self._is_recording
        if is_full_second:
            self._recorder.begin(time.monotonic())
            await self._look_at(table.SET, self._take if asks else self._record)
            for key, (seen, lost) in (await self._desired.numbers()).items():
                self._recorder.numbered(table.element_key(*key), seen, lost)
            self._recorder.end(time.monotonic())
        if asks:
            await self._look(is_read=is_full_second)

    def _record(self, element: Element, _now: float) -> None:
        self._recorder.take(element.key, element.packets, element.size, table.TIMEOUT - element.expires_in)

    def _take(self, element: Element, now: float) -> None:
        self._record(element, now)
        self._monitor.stream(element, now)

    async def _read_esp(self) -> None:
        """Read every SA each second: after a rekeying the old one is there for some seconds only."""
        self._esp.configure(self._desired.sas())
        if not (sas := self._esp.sas()):
            return
        async with aclosing(self._counters.replay(sas)) as found:
            async for sa, one in found:
                self._esp.take(sa, one)

    async def _look(self, *, is_read: bool) -> None:
        """Work the streams off, which have been read already, or are read now."""
        if not is_read:
            await self._look_at(table.SET, self._monitor.stream)
        if self._monitor.begin_to_compare(time.monotonic()):
            await self._look_at(table.ACCEPTED, self._monitor.passed_on)
            if self._desired.config.downstream:
                await self._look_at(table.FORWARDED, self._monitor.passed_on)
            await self._look_at(table.SET, self._monitor.stream)
            lost = await self._counters.losses()  # a driver may ask its card for it: not at every look
            self._monitor.host({**lost, **self._desired.lost(), **self._esp.counts()})
        for _ in self._monitor.look(time.monotonic()):
            await asyncio.sleep(0)

    async def _look_at(self, name: str, take: Callable[[Element, float], None]) -> None:
        count = 0
        async with aclosing(self._counters.elements(table.NAME, name)) as parts:
            async for part in parts:
                count += len(part)
                for element in part:
                    take(element, time.monotonic())
        self._monitor.sized(name, count)

    def _may_log(self, now: float) -> bool:
        """Whether there may be a line on what arrives; if not, it is counted, and there is a line on how many."""
        if self._lines.take(now):
            return True
        self._unlogged += 1
        return False

    def _update(self) -> None:
        """Take over what follows from the readings, and report what has changed by it."""
        now = time.monotonic()
        self._monitor.expect(datetime.now(UTC), now)
        if self._unlogged and self._lines.take(now):
            self._log.warning("arrival_log_limited", suppressed=self._unlogged)
            self._unlogged = 0
        before = self._arrivals, self._decrypted, self._problems
        self._arrivals, self._decrypted = self._monitor.arrivals(now), self._monitor.decrypted()
        self._problems = (*self._monitor.problems(now), *self._fragments.problems(now))
        if before != (self._arrivals, self._decrypted, self._problems):
            then, problems = ({(one.code, one.subject): one for one in found} for found in (before[2], self._problems))
            for key, one in problems.items():
                if key not in then and self._may_log(now):
                    self._log.warning("arrival_stopped", code=one.code, subject=one.subject, problem=one.text)
            for key, one in then.items():
                if key not in problems and self._may_log(now):
                    self._log.info("arrival_resumed", code=one.code, subject=one.subject)
            self._on_change()


def _utc(ago: float, precision: str) -> str:
    """A time some seconds ago, as RFC 3339 has it."""
    return (datetime.now(UTC) - timedelta(seconds=ago)).isoformat(timespec=precision).replace("+00:00", "Z")
