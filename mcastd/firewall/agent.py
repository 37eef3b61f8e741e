"""The firewall agent: keeps the nftables table of mcastd in place, restores it when it was changed, and removes it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Final, Protocol

from mcastd.config.model import Config
from mcastd.errors import HostError
from mcastd.firewall import rules
from mcastd.firewall.rules import FirewallDesired
from mcastd.problems import Problem
from mcastd.status import FirewallStatus
from mcastd.system.ledger import Ledger
from mcastd.system.log import Logger
from mcastd.system.nft import Table
from mcastd.system.sysctl import Sysctls
from mcastd.system.wake import Wake

_AUDIT_PERIOD: Final = 30.0  # seconds between two looks at the table without a notification
_RETRY_PERIOD: Final = 1.0  # seconds to the next attempt after a failure
_REPAIR_PERIOD: Final = 1.0  # seconds between two repairs at least: another program may change the table again at once
_KIND, _KEY = "nftables", f"ip {rules.NAME}"  # of the ledger's entry
_IP_FORWARD: Final = "net/ipv4/ip_forward"


class Nftables(Protocol):
    """The functions of ``mcastd.system.nft`` that are used here; tests replace them."""

    async def transaction(self, text: str) -> None:
        """Apply commands of nft(8), all or none. Raises HostError."""

    async def table(self, name: str) -> Table | None:
        """List a table of the family ``ip``; None if it does not exist. Raises HostError."""

    def changes(self, name: str) -> AbstractContextManager[AsyncIterator[None]]:
        """Notifications of changes to a table. Raises HostError when entered."""


class FirewallAgent:
    """The table and ``net.ipv4.ip_forward``. ``on_change`` is called after ``in_place`` may have changed."""

    name = "firewall"

    def __init__(
        self, *, nftables: Nftables, sysctls: Sysctls, ledger: Ledger, log: Logger, on_change: Callable[[], None]
    ) -> None:
        self._ledger = ledger
        self._log = log
        self._on_change = on_change
        self._nft = nftables
        self._sysctls = sysctls
        self.wake = Wake()
        self._desired = FirewallDesired(Config())
        self._applied: str | None = None  # the text of the table that was put in place last
        self._structure: str | None = None  # how the kernel listed it then
        self._counts: dict[str, tuple[int, int]] = {}  # packets and bytes by counter, as last read
        self.in_place = False  # whether the table is the desired one; False until the first reconciliation
        self._problem: str | None = None
        self._repairs = 0  # how often a change by another program was undone
        self._repaired = -_REPAIR_PERIOD  # when that was done last, monotonic

    def configure(self, desired: FirewallDesired) -> None:
        """Set what the table is made from."""
        if desired != self._desired or self._applied is None:
            self._desired = desired
            self.wake.set()

    async def settled(self) -> None:
        """Return when the loop has acted on the last configure, or has failed and reports it in status."""
        await self.wake.settled()

    async def run(self) -> None:
        """Reconcile at every nudge, after every change to the table that the kernel reports, and periodically."""
        with ExitStack() as stack:
            changes = None
            try:
                changes = stack.enter_context(self._nft.changes(rules.NAME))
            except HostError as error:
                self._log.warning("firewall_events_missing", problem=str(error))
            async with asyncio.TaskGroup() as group:
                if changes is not None:
                    group.create_task(self.wake.follow(changes))
                while True:
                    await self.wake.wait(_RETRY_PERIOD if self._problem else _AUDIT_PERIOD)
                    await self._reconcile()
                    self.wake.finished()

    async def refresh(self) -> None:
        """Read the counters, for status."""
        with suppress(HostError):
            self._count(await self._nft.table(rules.NAME))

    async def close(self) -> None:
        """Remove the table and restore ``net.ipv4.ip_forward``."""
        try:
            self._match_forwarding(desired=False)
        finally:
            if self._ledger.has(_KIND, _KEY):
                await self._remove()

    def status(self, now: float) -> FirewallStatus:
        """The counters are those that were read last."""
        return FirewallStatus(
            guard=self._desired.config.firewall.guard,
            in_place=self.in_place,
            leaks_out=self._packets(rules.LEAK_OUT),
            leaks_in=self._packets(rules.LEAK_IN),
            igmp_kept=self._packets(rules.IGMP),
            snat_packets=self._packets(rules.SNAT),
            mss_clamped=self._packets(rules.MSS),
            repairs=self._repairs,
            problem=self._problem,
        )

    def problems(self) -> Iterator[Problem]:
        """The reason why the table is not in place."""
        if self._problem is not None:
            yield Problem("firewall_failed", rules.NAME, f"firewall: {self._problem}")

    async def _reconcile(self) -> None:
        before = (self.in_place, self._problem)
        problems = []
        try:
            await self._match()
        except HostError as error:
            self.in_place = False
            problems.append(str(error))
        try:
            self._match_forwarding(desired=self._desired.config.firewall.ip_forward)
        except HostError as error:
            problems.append(str(error))
        self._problem = "; ".join(problems) or None
        if before != (self.in_place, self._problem):
            if self._problem is not None and self._problem != before[1]:
                self._log.error("firewall_failed", problem=self._problem)
            self._on_change()

    async def _match(self) -> None:
        desired = self._desired
        text = rules.table(desired.config, desired.leaving)
        ours = self._ledger.has(_KIND, _KEY)
        if not text:
            if ours:
                await self._remove()
            self._applied, self.in_place = "", True
            return
        found = await self._nft.table(rules.NAME)
        if found is not None and not ours:
            raise HostError(f"a table {_KEY} exists and mcastd did not make it; remove it: nft delete table {_KEY}")
        self._count(found)
        same = text == self._applied
        if same and found is not None and found.structure == self._structure:
            self.in_place = True
            return
        repairing = same and self.in_place
        if repairing and not self._may_repair():
            return
        self._ledger.remember(_KIND, _KEY)
        # What the kernel counts between the listing above and the replacement is lost.
        await self._nft.transaction(rules.replacement(rules.table(desired.config, desired.leaving, self._counts)))
        shown = await self._nft.table(rules.NAME)
        self._applied, self._structure = text, shown.structure if shown else None
        self.in_place = True
        if repairing:
            self._repairs += 1
            self._log.warning("firewall_repaired", table=_KEY)
        else:
            self._log.info("firewall_in_place", table=_KEY, guard=desired.config.firewall.guard)

    def _may_repair(self) -> bool:
        """Whether the table may be repaired now; if not, the loop is nudged when it may."""
        now = time.monotonic()
        wait = self._repaired + _REPAIR_PERIOD - now
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self.wake.set)
            return False
        self._repaired = now
        return True

    async def _remove(self) -> None:
        await self._nft.transaction(rules.replacement(""))
        self._ledger.forget(_KIND, _KEY)
        self._log.info("firewall_removed", table=_KEY)

    def _match_forwarding(self, *, desired: bool) -> None:
        found, before = self._sysctls.read(_IP_FORWARD), self._ledger.entries("sysctl").get(_IP_FORWARD)
        if desired and found != "1":
            self._ledger.remember("sysctl", _IP_FORWARD, found)
            self._sysctls.write(_IP_FORWARD, "1")
        elif not desired and before is not None:
            self._sysctls.write(_IP_FORWARD, str(before))
            self._ledger.forget("sysctl", _IP_FORWARD)

    def _count(self, found: Table | None) -> None:
        # If the table is gone, its replacement continues from the counts that were read last.
        if found is not None:
            self._counts |= found.counts

    def _packets(self, kind: str) -> int:
        """The sum of the counters whose names begin with ``kind``."""
        return sum(packets for name, (packets, _) in self._counts.items() if name.startswith(kind))
