"""Keeps one nftables table: puts it in place, restores it after a change of another program, and removes it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Final, Protocol

from mcastd.errors import HostError
from mcastd.net.nfnetlink import Table
from mcastd.system.ledger import Ledger
from mcastd.system.log import Logger
from mcastd.system.wake import Wake

_REPAIR_PERIOD: Final = 1.0  # seconds between two repairs at least: another program may change the table again at once
_KIND: Final = "nftables"  # of the ledger's entry


class Nftables(Protocol):
    """The functions of ``mcastd.system.nft`` that are used here; tests replace them."""

    async def transaction(self, text: str) -> None:
        """Apply commands of nft(8), all or none. Raises HostError."""

    async def table(self, name: str) -> Table | None:
        """What the kernel has of a table of the family ``ip``; None if it does not exist. Raises HostError."""

    async def counts(self, name: str) -> dict[str, tuple[int, int]]:
        """Packets and bytes by the names of a table's counters; empty if there is no such table. Raises HostError."""

    def changes(self, name: str) -> AbstractContextManager[AsyncIterator[None]]:
        """Notifications of changes to a table. Raises HostError when entered."""


class NftTable:
    """The table ``name`` of the family ``ip``. ``wake`` is nudged when a repair that has to wait is due.

    ``repaired`` is called with a subject and what was done (``mcastd.history.History.repaired``).
    """

    def __init__(
        self,
        name: str,
        *,
        nftables: Nftables,
        ledger: Ledger,
        log: Logger,
        wake: Wake,
        repaired: Callable[[str, str], None],
    ) -> None:
        self._name = name
        self._key = f"ip {name}"  # of the ledger's entry
        self._nft = nftables
        self._ledger = ledger
        self._log = log
        self._wake = wake
        self._report_repair = repaired
        self._applied: str | None = None  # the text of the table that was put in place last
        self._structure: str | None = None  # how the kernel listed it then
        self.standing = ""  # the text of the table that is in place as far as known; empty if none is known to be
        self.counts: dict[str, tuple[int, int]] = {}  # packets and bytes by counter, as last read
        self.in_place = False  # whether the table is the desired one; False until the first ``match``
        self.repairs = 0  # how often a change by another program was undone
        self._repaired = -_REPAIR_PERIOD  # when that was done last, monotonic

    async def match(self, text: str, transaction: Callable[[Table | None], str], **logged: object) -> None:
        """Make ``text`` the table; an empty text removes it. Raises HostError.

        ``transaction`` makes the commands that do so from the table as it was found; ``logged`` goes to the log line.
        While neither the table can be listed nor a change was seen, the last known state holds.
        """
        try:
            await self._match(text, transaction, logged)
            self.in_place = True
        except HostError:
            self.in_place = self.standing == text
            raise

    async def read(self) -> None:
        """Read the counters. Raises HostError."""
        self.counts |= await self._nft.counts(self._name)

    async def remove(self) -> None:
        """Remove the table if mcastd made it. Raises HostError."""
        if self._is_ours:
            if await self._nft.table(self._name) is not None:
                await self._nft.transaction(f"add table ip {self._name}\ndelete table ip {self._name}\n")
                self._log.info("firewall_removed", table=self._key)
            self._ledger.forget(_KIND, self._key)
            self.standing = ""

    @property
    def _is_ours(self) -> bool:
        """Whether a table of the name is mcastd's: by the ledger or, where that lost entries, by its name alone."""
        return self._ledger.has(_KIND, self._key) or self._ledger.is_incomplete

    async def _match(self, text: str, transaction: Callable[[Table | None], str], logged: dict[str, object]) -> None:
        ours = self._is_ours
        if not text:
            await self.remove()
            self._applied = ""
            return
        found = await self._nft.table(self._name)
        if found is not None and not ours:
            key = self._key
            raise HostError(f"a table {key} exists and mcastd did not make it; remove it: nft delete table {key}")
        self._count(found)
        same = text == self._applied
        if same and found is not None and found.structure == self._structure:
            self.standing = text
            return
        repairing = same and self.in_place
        if repairing and not self._may_repair():
            return
        if found is None or found.structure != self._structure:
            self.standing = ""
        self._ledger.remember(_KIND, self._key)
        # What the kernel counts between the listing above and a replacement is lost.
        await self._nft.transaction(transaction(found))
        shown = await self._nft.table(self._name)
        self._applied, self._structure = text, shown.structure if shown else None
        self.standing = text
        if repairing:
            self.repairs += 1
            self._report_repair(f"nftables table {self._key}", "its rules")
        else:
            self._log.info("firewall_in_place", table=self._key, **logged)

    def _may_repair(self) -> bool:
        """Whether the table may be repaired now; if not, the loop is nudged when it may."""
        now = time.monotonic()
        wait = self._repaired + _REPAIR_PERIOD - now
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self._wake.set)
            return False
        self._repaired = now
        return True

    def _count(self, found: Table | None) -> None:
        # If the table is gone, its replacement continues from the counts that were read last.
        if found is not None:
            self.counts |= found.counts
