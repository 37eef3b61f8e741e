"""The streams agent: keeps the table that counts what arrives, and reads what it has counted."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, suppress
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Final, Protocol, TypeAlias

from mcastd.config.model import Config
from mcastd.errors import DecodeError, HostError
from mcastd.history import History
from mcastd.net.nfnetlink import Element
from mcastd.problems import Problem
from mcastd.streams import table
from mcastd.streams.desired import ChildArrival, StreamsDesired, StreamsSnapshot, TunnelArrival
from mcastd.streams.monitor import Monitor
from mcastd.system.ledger import Ledger
from mcastd.system.log import Logger
from mcastd.system.nft_table import Nftables, NftTable
from mcastd.system.wake import Wake

_PERIOD: Final = 1.0  # seconds between two readings of the named counters
_AUDIT_PERIOD: Final = 30.0  # seconds between two looks at the table without a notification
_RETRY_PERIOD: Final = 5.0  # seconds to the next attempt after a failure


class Counters(Protocol):
    """The functions of ``mcastd.system.counters`` that are used here; tests replace them."""

    async def counters(self, table: str) -> dict[str, int]:
        """The packets of each named counter of a table. Raises HostError."""

    def elements(self, table: str, name: str) -> AsyncGenerator[list[Element], None]:
        """The elements of a set, in parts. Raises HostError."""

    async def received(self, names: Iterable[str]) -> dict[str, int]:
        """How many packets interfaces have received; those that do not exist are left out."""


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
        memberships: Callable[[], Memberships],
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
        self._table = NftTable(
            table.NAME, nftables=nftables, ledger=ledger, log=log, wake=self.wake, repaired=history.repaired
        )
        self._monitor = Monitor()
        self._reading = asyncio.Lock()  # one reading of the streams at a time
        self._problem: str | None = None  # why nothing is counted
        self._problems: tuple[Problem, ...] = ()  # as of the last reading
        self._arrivals: dict[str, TunnelArrival] = {}  # likewise
        self._decrypted: dict[str, ChildArrival] = {}  # likewise

    def configure(self, desired: StreamsDesired) -> None:
        """Set what is counted and what is expected to arrive; other joins alone do not concern the table."""
        if desired.config != self._desired.config or self._table.untouched:
            self.wake.set()
        self._desired = desired
        self._monitor.configure(desired, time.monotonic())

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
                await self.wake.wait(_RETRY_PERIOD if self._problem else _AUDIT_PERIOD)
                await self._reconcile(self._desired.config)
                self.wake.finished()

    async def refresh(self) -> None:
        """Read what is counted, for status."""
        self._monitor.ask()
        await self._count()

    async def close(self) -> None:
        """Remove the table."""
        await self._table.remove()

    def arrivals(self) -> Mapping[str, TunnelArrival]:
        """What arrives on each tunnel, by its name."""
        return self._arrivals

    def decrypted(self) -> Mapping[str, ChildArrival]:
        """What each CHILD_SA decrypts, by its name; empty where nftables is missing."""
        return self._decrypted

    def has_arrived(self, tunnel: str, source: IPv4Address | None, group: IPv4Address) -> bool:
        """Whether a packet for a group, from ``source`` or (None) any, arrived within the last seconds."""
        return self._monitor.has_arrived(tunnel, source, group, time.monotonic())

    def status(self, now: float) -> StreamsSnapshot:
        """The state of what has arrived, as of the last reading."""
        return StreamsSnapshot(self._monitor.groups(now), self._problem)

    def problems(self) -> Iterator[Problem]:
        """What should arrive and does not."""
        yield from self._problems

    async def _reconcile(self, config: Config) -> None:
        text, before = table.table(config), self._problem
        try:
            await self._table.match(
                text, lambda found: table.transaction(text, found.counts if found is not None else ())
            )
            self._problem = None
        except HostError as error:
            self._problem = str(error)
            if self._problem != before:
                # Not a warning: what arrives is then seen by the interfaces' counters.
                self._log.info("streams_not_counted", problem=self._problem)

    async def _read(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD)
            await self._count()

    async def _count(self) -> None:
        """Read the named counters and, if they ask for it, the streams."""
        async with self._reading:
            with suppress(HostError, DecodeError):
                if self._table.in_place:
                    counted = await self._counters.counters(table.NAME)
                    if self._monitor.counted(counted, time.monotonic()):
                        await self._look()
                elif self._problem is not None:
                    tunnels = [tunnel.name for tunnel in self._desired.config.tunnels]
                    self._monitor.received(await self._counters.received(tunnels), time.monotonic())
            now = time.monotonic()
            # A file of one line for each join: read only when that may explain something.
            undelivered = self._monitor.undelivered(now)
            joined = self._memberships() if undelivered else {}
            self._monitor.joined({name: joined.get(name, ()) for name in undelivered}, now)
        self._update()

    async def _look(self) -> None:
        async with aclosing(self._counters.elements(table.NAME, table.SET)) as parts:
            async for part in parts:
                for element in part:
                    self._monitor.stream(element, time.monotonic())
        self._monitor.looked(time.monotonic())

    def _update(self) -> None:
        """Take over what follows from the readings, and report what has changed by it."""
        now = time.monotonic()
        self._monitor.expect(datetime.now(UTC), now)
        before = self._arrivals, self._decrypted, self._problems
        self._arrivals, self._decrypted = self._monitor.arrivals(now), self._monitor.decrypted(now)
        self._problems = tuple(self._monitor.problems(now))
        if before != (self._arrivals, self._decrypted, self._problems):
            for one in self._problems:
                if one not in before[2]:
                    self._log.warning("arrival_stopped", code=one.code, subject=one.subject, problem=one.text)
            for one in before[2]:
                if one not in self._problems:
                    self._log.info("arrival_resumed", code=one.code, subject=one.subject)
            self._on_change()
