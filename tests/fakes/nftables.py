"""The nftables of a host, in memory: for the agents the interface ``mcastd.system.nft_table.Nftables``.

It understands of nft's language what the agents write: commands for tables, chains and counters, and a table with
counters, sets and chains, of which it keeps the lines.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import count

from mcastd.errors import HostError
from mcastd.net.nfnetlink import Table
from tests.fakes.changes import Notifications

_COUNTER = re.compile(r"counter (\S+) { packets (\d+) bytes (\d+) }")
_STATEMENT = re.compile(
    r"((?:add|flush|delete) (?:table|chain|counter|set|element)|table) ip (\w+)(?: ([\w-]+))?"
    r"(?: \{\n(.*?\n)\}| \{[^\n]*\})?(?:\n|$)",
    re.DOTALL,
)
LATENCY = 0.005
"""Seconds that each run of nft takes."""


@dataclass
class FakeTable:
    """A table. ``handle`` is not that of another table, not even of one of the same name."""

    handle: int
    rules: list[str] = field(default_factory=list)
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    flushes: int = 0  # of sets


class FakeNftables:
    """``tables`` of the family ``ip``, by name; what nft refuses to do is in ``refuses``."""

    def __init__(self) -> None:
        self.tables: dict[str, FakeTable] = {}
        self.refuses: str | None = None  # why every run of nft fails
        self.lacks: str | None = None  # a statement that the kernel has no module for
        self.hidden: str | None = None  # why the kernel says nothing of its tables
        self.no_events: str | None = None  # why the kernel reports no changes
        self.runs: list[str] = []  # the transactions, in order
        self.looks = 0  # how often a table was listed
        self._notifications = Notifications()
        self._handles = count(1)

    # What the agent uses.

    async def transaction(self, text: str) -> None:
        await self._run(text)
        if self.lacks is not None and self.lacks in text:
            raise HostError("nft: /dev/stdin:9:3-50: Error: Could not process rule: No such file or directory")
        tables = deepcopy(self.tables)
        position = 0
        while position < len(text):
            statement = _STATEMENT.match(text, position)
            if statement is None:
                raise HostError(f"nft: syntax error: {text[position:]}")
            self._apply(tables, *statement.groups())
            position = statement.end()
        self.tables = tables
        self._notifications.report()

    async def table(self, name: str) -> Table | None:
        self.looks += 1
        await self._look()
        found = self.tables.get(name)
        return (
            None
            if found is None
            else Table("\n".join([str(found.handle), *found.counts, *found.rules]), dict(found.counts), {})
        )

    async def counts(self, name: str) -> dict[str, tuple[int, int]]:
        await self._look()
        return dict(self.tables[name].counts) if name in self.tables else {}

    @contextmanager
    def changes(self, name: str) -> Iterator[AsyncIterator[None]]:
        if self.no_events is not None:
            raise HostError(self.no_events)
        with self._notifications.subscribed() as notifications:
            yield notifications

    # What another program does, and the packets.

    def create(self, name: str, *rules: str) -> FakeTable:
        """Another program makes a table."""
        self.tables[name] = FakeTable(next(self._handles), list(rules))
        self._notifications.report()
        return self.tables[name]

    def delete(self, name: str) -> None:
        del self.tables[name]
        self._notifications.report()

    def flush_chains(self, name: str) -> None:
        """Another program deletes the rules; the chains stay."""
        table = self.tables[name]
        table.rules = [rule for rule in table.rules if rule.startswith(("chain", "type", "}"))]
        self._notifications.report()

    def insert(self, name: str, rule: str) -> None:
        self.tables[name].rules.insert(0, rule)
        self._notifications.report()

    def pass_packets(self, name: str, counter: str, packets: int, size: int = 100) -> None:
        """Packets match a rule with a counter, of which the kernel reports nothing."""
        counts = self.tables[name].counts
        before = counts[counter]
        counts[counter] = (before[0] + packets, before[1] + packets * size)

    async def _run(self, what: str) -> None:
        self.runs.append(what)
        await asyncio.sleep(LATENCY)
        if self.refuses is not None:
            raise HostError(self.refuses)

    async def _look(self) -> None:
        await asyncio.sleep(0)
        if self.hidden is not None:
            raise HostError(self.hidden)

    def _apply(self, tables: dict[str, FakeTable], command: str, name: str, part: str | None, body: str | None) -> None:
        if command == "delete table":
            if tables.pop(name, None) is None:
                raise HostError("nft: No such file or directory")
            return
        table = tables.setdefault(name, FakeTable(next(self._handles)))
        table.flushes += command == "flush set"
        if command == "delete counter":
            del table.counts[str(part)]
        elif command == "delete chain" and (head := f"chain {part} {{") in table.rules:
            start = table.rules.index(head)
            del table.rules[start : table.rules.index("}", start) + 1]
        for line in filter(None, map(str.strip, (body or "").splitlines())):
            if counter := _COUNTER.fullmatch(line):
                table.counts.setdefault(counter[1], (int(counter[2]), int(counter[3])))
            elif not line.startswith("set ") or line not in table.rules:
                table.rules.append(line)
