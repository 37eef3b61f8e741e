"""Logging: one line for each change of state, with fields; journal fields under systemd, text elsewhere.

A field ``tunnel="gre1"`` is ``MCASTD_TUNNEL=gre1`` in the journal, where ``journalctl MCASTD_TUNNEL=gre1`` finds it.
"""

import contextlib
import os
import sys
from collections.abc import MutableMapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

# structlog.dev imports rich if it is installed: 100 ms and 10 MB that the daemon does not use. An entry of None makes
# that import fail, as if rich were absent.
_hidden = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment]  # None is how the import system spells "absent"
import structlog  # noqa: E402

if _hidden is None:
    del sys.modules["rich"]
else:
    sys.modules["rich"] = _hidden

from mcastd.system import journal  # noqa: E402
from mcastd.system.events import EVENTS, Event  # noqa: E402

Logger = structlog.typing.FilteringBoundLogger

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_PRIORITY: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def get_logger() -> Logger:
    """The logger of the daemon; ``bind`` fields to it."""
    logger: Logger = structlog.get_logger()
    return logger


def configure(level: str = "info") -> journal.Journal | None:
    """Send the log to the journal, which is returned, if stderr is connected to it; else to stderr as text."""
    folder = Path(os.environ.get("RUNTIME_DIRECTORY", "/run/mcastd"))  # the unit's RuntimeDirectory=
    sink = journal.Journal(folder / "log") if journal.is_for_us() else None
    structlog.configure(
        processors=[_journal_fields if sink else _text],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=_Journal(sink) if sink else _Terminal(),
        cache_logger_on_first_use=False,
    )
    return sink


def _event(key: str) -> Event:
    """An event of the table; a key that is missing there must not fail where it is logged."""
    return EVENTS.get(key) or Event("info", key)


def _fields(event: MutableMapping[str, Any]) -> str:
    return " ".join(f"{key}={_quoted(value)}" for key, value in event.items())


def _quoted(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    # Some text comes from charon, and so from the other side: it must not start new lines or use escape sequences.
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    shown = shown.replace('"', r"\"")
    return f'"{shown}"' if " " in shown or not shown or shown != text else shown


def _text(_logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    message = _event(event.pop("event")).text
    stamp = datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-3]
    fields = _fields(event)
    return f"{stamp} {method:<7} {message}" + (f"  {fields}" if fields else "")


def _journal_fields(_logger: object, method: str, event: MutableMapping[str, Any]) -> tuple[tuple[str], dict[str, str]]:
    line = _text(_logger, method, dict(event))
    key = event.pop("event")
    shown, fields = _event(key), _fields(event)
    record = {f"MCASTD_{key.upper()}": str(value) for key, value in event.items()}
    record["MESSAGE"] = f"{shown.text}: {fields}" if fields else shown.text
    record["PRIORITY"] = str(_PRIORITY[method])
    record["SYSLOG_IDENTIFIER"] = "mcastd"
    record["MCASTD_EVENT"] = key
    if shown.message_id is not None:
        record["MESSAGE_ID"] = shown.message_id
    return (line,), record


class _Terminal:
    """A logger of structlog and its own factory, with a method for each level; each writes the finished line."""

    def __call__(self, *_args: object) -> Self:
        return self

    def msg(self, line: str) -> None:
        """Write one line; one that cannot be written, as on a full disk, is lost, and ends nothing."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = msg


class _Journal:
    """A logger of structlog and its own factory, with a method for each level; each sends the finished record."""

    def __init__(self, sink: journal.Journal) -> None:
        self._sink = sink

    def __call__(self, *_args: object) -> Self:
        return self

    def msg(self, line: str, **record: str) -> None:
        """Send one record."""
        self._sink.send(record, line)

    debug = info = warning = error = critical = msg
