"""Logging: one line a change of state, with fields; journal fields under systemd, readable lines elsewhere.

A field ``tunnel="gre1"`` is ``MCASTD_TUNNEL=gre1`` in the journal, where ``journalctl MCASTD_TUNNEL=gre1`` finds it.
"""

import os
import sys
from collections.abc import MutableMapping
from datetime import datetime
from typing import Any, Final

# structlog.dev imports rich where it is installed: 100 ms and 10 MB that a daemon has no use for. An entry of None
# makes that import fail, as if rich were absent.
_hidden = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment]  # None is how the import system spells "absent"
import structlog  # noqa: E402

if _hidden is None:
    del sys.modules["rich"]
else:
    sys.modules["rich"] = _hidden

from mcastd.system.events import message_id  # noqa: E402

Logger = structlog.typing.FilteringBoundLogger

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_PRIORITY: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def get_logger() -> Logger:
    """The logger of the daemon; ``bind`` fields to it."""
    logger: Logger = structlog.get_logger()
    return logger


def configure(level: str = "info") -> None:
    """Send the log to the journal where stderr is connected to it (``JOURNAL_STREAM``), else to stderr as text."""
    sink = _journal_sink() if _stderr_is_the_journal() else None
    structlog.configure(
        processors=[_journal_fields if sink else _text],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=sink or structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    if sink is None and _stderr_is_the_journal():
        get_logger().warning("the journal gets lines without fields", missing="systemd-python")


def _stderr_is_the_journal() -> bool:
    stream = os.environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"


def _fields(event: MutableMapping[str, Any]) -> str:
    return " ".join(f"{key}={_quoted(value)}" for key, value in event.items())


def _quoted(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    # What charon, and so the other side, says ends up here: it must not make lines or colours of its own.
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    shown = shown.replace('"', r"\"")
    return f'"{shown}"' if " " in shown or not shown or shown != text else shown


def _text(_logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    message = event.pop("event")
    stamp = datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-3]
    fields = _fields(event)
    return f"{stamp} {method:<7} {message}" + (f"  {fields}" if fields else "")


def _journal_fields(_logger: object, method: str, event: MutableMapping[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
    message = event.pop("event")
    fields = _fields(event)
    record: dict[str, Any] = {f"MCASTD_{key.upper()}": str(value) for key, value in event.items()}
    record["MESSAGE"] = f"{message}: {fields}" if fields else message
    record["PRIORITY"] = _PRIORITY[method]
    record["SYSLOG_IDENTIFIER"] = "mcastd"
    explained = message_id(message)
    if explained is not None:
        record["MESSAGE_ID"] = explained
    return (), record


class _Journal:
    """What structlog calls a logger: one method a level, each of which sends the finished record."""

    def __init__(self) -> None:
        from systemd import journal

        self._send = journal.send

    def msg(self, **record: Any) -> None:
        """Send one record."""
        text = record.pop("MESSAGE")
        self._send(text, **record)

    debug = info = warning = error = critical = msg


def _journal_sink() -> Any:
    try:
        logger = _Journal()
    except ImportError:
        return None
    return lambda *_args: logger
