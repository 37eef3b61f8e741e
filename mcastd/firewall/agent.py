"""The firewall of this host: puts our table in place, finds and repairs what others did to it, and takes it away."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator

from mcastd.config.model import Config
from mcastd.errors import HostError
from mcastd.firewall import rules
from mcastd.firewall.rules import FirewallDesired
from mcastd.problems import Problem
from mcastd.status import FirewallStatus
from mcastd.system import nft, sysctl
from mcastd.system.ledger import Ledger
from mcastd.system.log import Logger
from mcastd.system.wake import Wake

_AUDIT_PERIOD = 30.0
_RETRY_PERIOD = 1.0
_DEBOUNCE = 0.05
_REPAIR_PERIOD = 1.0
_KIND, _KEY = "nftables", f"ip {rules.NAME}"
_IP_FORWARD = "net/ipv4/ip_forward"


class FirewallAgent:
    """Our table and ``net.ipv4.ip_forward``. ``on_change`` is called after ``in_place`` may have changed."""

    name = "firewall"

    def __init__(self, *, ledger: Ledger, log: Logger, on_change: Callable[[], None]) -> None:
        self._ledger = ledger
        self._log = log
        self._on_change = on_change
        self.wake = Wake()
        self._desired = FirewallDesired(Config())
        self._applied: str | None = None  # the table that we put in place, in nft's language
        self._structure: str | None = None  # what the kernel showed of it then
        self._counts: dict[str, tuple[int, int]] = {}  # packets and bytes of our counters, as last read
        self.in_place = False  # the table is what the configuration asks for; False until the first reconcile
        self._problem: str | None = None
        self._repairs = 0  # how often another program's change was undone
        self._repaired = -_REPAIR_PERIOD  # when that was last done, monotonic

    def configure(self, desired: FirewallDesired) -> None:
        """Set what the table is made from."""
        if desired != self._desired or self._applied is None:
            self._desired = desired
            self.wake.set()

    async def settled(self) -> None:
        """Return when the last configure has been carried out, or has failed and says so in status."""
        await self.wake.settled()

    async def run(self) -> None:
        """Reconcile at every nudge, at every change of our table that the kernel reports, and now and then."""
        async with asyncio.TaskGroup() as group:
            with contextlib.ExitStack() as stack:
                try:
                    group.create_task(self._watch_kernel(stack.enter_context(nft.events())))
                except HostError as error:
                    self._log.warning("firewall_events_missing", problem=str(error))
                while True:
                    await self.wake.wait(_RETRY_PERIOD if self._problem else _AUDIT_PERIOD)
                    await self._reconcile()
                    self.wake.finished()

    async def refresh(self) -> None:
        """Read the counters, for status."""
        with contextlib.suppress(HostError):
            self._count(await nft.table(rules.NAME))

    async def close(self) -> None:
        """Take our table away and put back what was found."""
        try:
            self._put_back_forwarding()
        finally:
            if self._ledger.has(_KIND, _KEY):
                await self._remove()

    def status(self, now: float) -> FirewallStatus:
        """The counters, as they were last read."""
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
        """Why the table is not in place."""
        if self._problem is not None:
            yield Problem("firewall_failed", rules.NAME, f"firewall: {self._problem}")

    async def _watch_kernel(self, sock: socket.socket) -> None:
        async for _ in nft.changes(sock, rules.NAME):
            await asyncio.sleep(_DEBOUNCE)
            self.wake.set()

    async def _reconcile(self) -> None:
        before = (self.in_place, self._problem)
        problems = []
        try:
            await self._match()
        except HostError as error:
            self.in_place = False
            problems.append(str(error))
        try:
            self._match_forwarding()
        except HostError as error:
            problems.append(str(error))
        self._problem = "; ".join(problems) or None
        if before != (self.in_place, self._problem):
            if self._problem is not None and self._problem != before[1]:
                self._log.error("firewall_failed", problem=self._problem)
            self._on_change()

    async def _match(self) -> None:
        desired = self._desired
        wanted = rules.table(desired.config, desired.leaving)
        ours = self._ledger.has(_KIND, _KEY)
        if not wanted:
            if ours:
                await self._remove()
            self._applied, self.in_place = "", True
            return
        found = await nft.table(rules.NAME)
        if found is not None and not ours:
            raise HostError(f"a table {_KEY} exists and mcastd did not make it; remove it: nft delete table {_KEY}")
        self._count(found)
        same = wanted == self._applied
        if same and found is not None and found.structure == self._structure:
            self.in_place = True
            return
        repairing = same and self.in_place
        if repairing and not self._may_repair():
            return
        self._ledger.remember(_KIND, _KEY)
        # What is counted between the look above and this is lost to the counters, not to the guard.
        await nft.transaction(rules.replacement(rules.table(desired.config, desired.leaving, self._counts)))
        shown = await nft.table(rules.NAME)
        self._applied, self._structure = wanted, shown.structure if shown else None
        self.in_place = True
        if repairing:
            self._repairs += 1
            self._log.warning("firewall_repaired", table=_KEY)
        else:
            self._log.info("firewall_in_place", table=_KEY, guard=self._desired.config.firewall.guard)

    def _may_repair(self) -> bool:
        """Whether it is time for a repair: with somebody who undoes ours at once, we do not race."""
        now = time.monotonic()
        wait = self._repaired + _REPAIR_PERIOD - now
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self.wake.set)
            return False
        self._repaired = now
        return True

    async def _remove(self) -> None:
        await nft.transaction(rules.replacement(""))
        self._ledger.forget(_KIND, _KEY)
        self._log.info("firewall_removed", table=_KEY)

    def _match_forwarding(self) -> None:
        if not self._desired.config.firewall.ip_forward:
            self._put_back_forwarding()
        elif (found := sysctl.read(_IP_FORWARD)) != "1":
            self._ledger.remember("sysctl", _IP_FORWARD, found)
            sysctl.write(_IP_FORWARD, "1")

    def _put_back_forwarding(self) -> None:
        found = self._ledger.entries("sysctl").get(_IP_FORWARD)
        if found is not None:
            sysctl.write(_IP_FORWARD, str(found))
            self._ledger.forget("sysctl", _IP_FORWARD)

    def _count(self, found: nft.Table | None) -> None:
        # Where it was flushed, the last that we saw is what a new table goes on with.
        if found is not None:
            self._counts |= found.counts

    def _packets(self, kind: str) -> int:
        return sum(packets for name, (packets, _) in self._counts.items() if name.startswith(kind))
