"""What an agent is constructed with, in memory: a ledger and a log."""

from collections.abc import MutableMapping
from typing import Any, NoReturn

import structlog

from mcastd.errors import HostError
from mcastd.system.ledger import Ledger
from mcastd.system.ledger_file import Value
from mcastd.system.log import LEVELS, Logger


class MemoryLedger(Ledger):
    """A ledger without a file. While ``full`` is set it cannot be written."""

    def __init__(self, entries: dict[str, dict[str, Value]] | None = None) -> None:
        self._entries = {kind: dict(values) for kind, values in (entries or {}).items() if values}
        self.warnings = ()
        self.is_incomplete = False
        self.problem = None
        self.is_ours = True
        self._had_file = bool(self._entries)
        self.full = False

    @classmethod
    def of(cls, read: Ledger) -> "MemoryLedger":
        """What is found in a file, without the file."""
        memory = cls(read._entries)
        memory.warnings, memory.is_incomplete, memory._had_file = read.warnings, read.is_incomplete, read._had_file
        return memory

    def keep(self) -> None:
        if self.problem is not None:
            self.save()

    def _save(self) -> None:
        if self.full:
            raise HostError("ledger.json: No space left on device")

    def copy(self) -> dict[str, dict[str, Value]]:
        """All entries, as the next process would find them."""
        return {kind: dict(values) for kind, values in self._entries.items() if values}


class MemoryLog:
    """Keeps what ``logger`` logs: each line's fields, with ``event`` and ``level``."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        wrapper = structlog.make_filtering_bound_logger(LEVELS["debug"])
        self.logger: Logger = structlog.wrap_logger(None, processors=[self._keep], wrapper_class=wrapper)

    def events(self, without: str = "") -> list[str]:
        """The keys of what was logged, in order, but those of the level ``without``."""
        return [record["event"] for record in self.records if record["level"] != without]

    def _keep(self, _logger: object, level: str, fields: MutableMapping[str, Any]) -> NoReturn:
        self.records.append({**fields, "level": level})
        raise structlog.DropEvent
