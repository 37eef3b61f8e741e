"""The firewall agent: keeps the nftables table of mcastd in place, restores it when it was changed, and removes it."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from typing import Final, Protocol

from mcastd.config.model import Config
from mcastd.errors import HostError
from mcastd.firewall import flows, overlay, rules, snat
from mcastd.firewall.child_guard import LEAK_CHILD, LEAK_INVALID
from mcastd.firewall.flows import Translation
from mcastd.firewall.guard_drops import GuardDrops
from mcastd.firewall.match import children
from mcastd.firewall.rules import FirewallDesired
from mcastd.history import History
from mcastd.net.flow import Flow
from mcastd.net.nfnetlink import Table
from mcastd.problems import Problem
from mcastd.status import FirewallStatus
from mcastd.system.ledger import Ledger
from mcastd.system.log import Logger
from mcastd.system.nft_table import Nftables, NftTable
from mcastd.system.sysctl import Sysctls
from mcastd.system.wake import Wake

_AUDIT_PERIOD: Final = 30.0  # seconds between two looks at the table without a notification
_RETRY_PERIOD: Final = 1.0  # seconds to the next attempt after a failure
_COUNT_PERIOD: Final = 1.0  # seconds between two looks at what the guard drops
_LOGS_PERIOD: Final = 600.0  # seconds to the next attempt with ``log group`` after it was refused
_IP_FORWARD: Final = "net/ipv4/ip_forward"


class Conntrack(Protocol):
    """The function of ``mcastd.system.conntrack`` that is used here; tests replace it."""

    async def forget(self, concerned: Callable[[Flow], bool]) -> int:
        """Delete the entries of the connections that ``concerned`` is true for. Raises HostError."""


class FirewallAgent:
    """The table and ``net.ipv4.ip_forward``. ``on_change`` is called after ``in_place`` may have changed."""

    name = "firewall"

    def __init__(
        self,
        *,
        nftables: Nftables,
        conntrack: Conntrack,
        sysctls: Sysctls,
        ledger: Ledger,
        history: History,
        log: Logger,
        on_change: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._history = history
        self._log = log
        self._on_change = on_change
        self._nft = nftables
        self._conntrack = conntrack
        self._sysctls = sysctls
        self.wake = Wake()
        self._desired = FirewallDesired(Config())
        self._configured = False  # whether that was ever set; until then not even an empty table is desired
        self._table = NftTable(
            rules.NAME, nftables=nftables, ledger=ledger, log=log, wake=self.wake, repaired=history.repaired
        )
        self._no_logs_until = 0.0  # until when rules are without ``log group``, which was refused with the last table
        self._forwarding = False  # whether forwarding was as desired at the last look
        self._drops = GuardDrops()
        # What SNAT did when the table was put in place last; None before that.
        self._translations: tuple[Translation, ...] | None = None
        self._unforgotten: frozenset[Translation] = frozenset()  # whose older connections are still to be forgotten
        self._problem: str | None = None  # why the table or forwarding is not as desired
        self._flows_problem: str | None = None  # why older connections are not forgotten

    @property
    def in_place(self) -> bool:
        """Whether the table is the desired one; False until the first reconciliation."""
        return self._table.in_place

    @property
    def standing(self) -> str:
        """The text of the table that is in place as far as known, desired or not; empty if none is known to be."""
        return self._table.standing

    def configure(self, desired: FirewallDesired) -> None:
        """Set what the table is made from."""
        self._drops.expect(time.monotonic(), desired.config, desired.up)
        if desired != self._desired or not self._configured:
            self._desired, self._configured = desired, True
            self.wake.set()

    async def settled(self) -> None:
        """Return when the loop has acted on the last configure, or has failed and reports it in status."""
        await self.wake.settled()

    async def run(self) -> None:
        """Reconcile at every nudge, after changes to table and forwarding that the kernel reports, and periodically."""
        with ExitStack() as stack:
            followed = []
            for changes in (partial(self._nft.changes, rules.NAME), self._sysctls.changes):
                try:
                    followed.append(stack.enter_context(changes()))
                except HostError as error:
                    self._log.warning("firewall_events_missing", problem=str(error))
            async with asyncio.TaskGroup() as group:
                for one in followed:
                    group.create_task(self.wake.follow(one))
                group.create_task(self._watch_drops())
                while True:
                    await self.wake.wait(_RETRY_PERIOD if self._problem or self._flows_problem else _AUDIT_PERIOD)
                    await self._reconcile()
                    self.wake.finished()

    async def _watch_drops(self) -> None:
        while True:
            await asyncio.sleep(_COUNT_PERIOD)
            before = list(self._drops.problems())
            with suppress(HostError):
                counts = await self._nft.counts(rules.NAME)
                self._drops.counted(time.monotonic(), {name: packets for name, (packets, _) in counts.items()})
            if before != list(self._drops.problems()):
                self._on_change()

    async def refresh(self) -> None:
        """Read the counters, for status."""
        with suppress(HostError):
            await self._table.read()

    async def close(self) -> None:
        """Remove the table and restore ``net.ipv4.ip_forward``."""
        try:
            self._match_forwarding(desired=False)
        finally:
            await self._table.remove()

    def status(self, now: float) -> FirewallStatus:
        """The counters are those that were read last."""
        return FirewallStatus(
            guard=self._desired.config.firewall.guard,
            in_place=self.in_place,
            leaks_out=self._packets(rules.LEAK_OUT),
            leaks_in=self._packets(rules.LEAK_IN),
            leaks_by_child={
                name: self._packets_of(f"{LEAK_CHILD}{name}") + self._packets_of(f"{LEAK_INVALID}{name}")
                for name in children(self._desired.config)
            },
            igmp_kept=self._packets(rules.IGMP),
            snat_packets=self._packets(snat.SNAT),
            mss_clamped=self._packets(rules.MSS),
            repairs=self._table.repairs,
            problem=self._problem,
        )

    def refused(self) -> dict[str, int]:
        """By the overlay's name, the packets that came for it from no member, as were counted last."""
        return {one.name: self._packets_of(f"{overlay.REFUSED}{one.name}") for one in self._desired.config.overlay}

    def problems(self) -> Iterator[Problem]:
        """Why the table is not in place, or older connections are as before it, and what the guard should not drop."""
        if self._problem is not None:
            yield Problem("firewall_failed", rules.NAME, f"firewall: {self._problem}")
        if self._flows_problem is not None:
            text = f"connections keep an old translation, and the guard drops them: {self._flows_problem}"
            yield Problem("reconcile_failed", "conntrack", text)
        yield from self._drops.problems()

    async def _reconcile(self) -> None:
        before = (self.in_place, self.standing, self._problem, self._flows_problem)
        problems = []
        try:
            await self._match()
        except HostError as error:
            problems.append(str(error))
        try:
            self._match_forwarding(desired=self._desired.config.firewall.ip_forward)
        except HostError as error:
            problems.append(str(error))
        self._problem = "; ".join(problems) or None
        if before != (self.in_place, self.standing, self._problem, self._flows_problem):
            if self._problem is not None and self._problem != before[2]:
                self._log.error("firewall_failed", problem=self._problem)
            self._on_change()

    async def _match(self) -> None:
        config, leaving = self._desired.config, self._desired.leaving
        repairs = self._table.repairs
        replaced: list[Table | None] = []
        logs = time.monotonic() >= self._no_logs_until

        def text(counts: Mapping[str, tuple[int, int]] | None = None) -> str:
            return rules.table(config, leaving, counts, logs=logs)

        def commands(found: Table | None) -> str:
            replaced.append(found)
            return rules.replacement(text(self._table.counts))

        try:
            await self._table.match(text(), commands, guard=config.firewall.guard)
        except HostError:
            if rules.LOG not in text():
                raise
            logs = False  # the kernel may have no nfnetlink_log
            await self._table.match(text(), commands, guard=config.firewall.guard)
            self._no_logs_until = time.monotonic() + _LOGS_PERIOD
        wanted = tuple(flows.translations(config))
        if replaced:
            self._find_new(wanted, replaced[0] if self._table.repairs == repairs else None)
        self._unforgotten &= frozenset(wanted)
        if self._unforgotten:
            await self._forget_flows(self._unforgotten)
        if not self._unforgotten:
            self._flows_problem = None

    def _find_new(self, wanted: tuple[Translation, ...], before: Table | None) -> None:
        """Find what the rules translate since just now; ``before`` is the table that had some of them."""
        known = self._translations if before is not None else ()
        inherited = before.counts if before is not None and self._translations is None else {}
        self._translations = wanted
        self._unforgotten |= frozenset(flows.new(wanted, known or (), inherited))

    async def _forget_flows(self, new: frozenset[Translation]) -> None:
        """Have connections translated that began before the rules for them."""
        try:
            count = await self._conntrack.forget(lambda flow: any(one.misses(flow) for one in new))
        except HostError as error:
            if str(error) != self._flows_problem:
                self._log.warning("flows_not_forgotten", problem=str(error))
            self._flows_problem = str(error)
            return
        self._unforgotten = frozenset()
        if count:
            self._log.info("flows_forgotten", count=count)

    def _match_forwarding(self, *, desired: bool) -> None:
        found, before = self._sysctls.read(_IP_FORWARD), self._ledger.entries("sysctl").get(_IP_FORWARD)
        if desired and found != "1":
            self._ledger.remember("sysctl", _IP_FORWARD, found)
            self._sysctls.write(_IP_FORWARD, "1")
            if self._forwarding:
                self._history.repaired("net.ipv4.ip_forward", "set to 1")
        elif not desired and before is not None:
            self._sysctls.write(_IP_FORWARD, str(before))
            self._ledger.forget("sysctl", _IP_FORWARD)
        self._forwarding = desired

    def _packets_of(self, counter: str) -> int:
        packets, _ = self._table.counts.get(counter, (0, 0))
        return packets

    def _packets(self, kind: str) -> int:
        """The sum of the counters whose names begin with ``kind``."""
        return sum(packets for name, (packets, _) in self._table.counts.items() if name.startswith(kind))
