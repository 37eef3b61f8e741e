"""Sending to the journal: one datagram per record (systemd.io/JOURNAL_NATIVE_PROTOCOL).

Implemented here and not by systemd's Python library: its ``journal.send`` keeps the interpreter lock while journald
hangs (python-systemd, pull request 170), which stops the event loop even from a thread, and it reports nothing when
journald is absent. Records that journald does not accept are appended to a file in the runtime directory, as text.
"""

import os
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SOCKET: Final = "/run/systemd/journal/socket"
_LARGEST = 1 << 20


class Journal:
    """The journal, and ``file`` for records that it does not accept."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._missed = 0  # records not accepted since the journal last accepted one
        self.problem: str | None = None  # why the last record is not in the journal, and where it is instead

    def send(self, record: Mapping[str, str], line: str) -> None:
        """Send a record of journal fields; ``line`` is the same as text, for the file."""
        try:
            if self._missed:
                _send(_missed(self._missed, self._file))
                self._missed = 0
            _send(record)
            self.problem = None
        except OSError as error:
            self._missed += 1
            self.problem = f"the journal accepts no records ({error.strerror}): the last lines are {self._keep(line)}"

    def _keep(self, line: str) -> str:
        """Append a line to the file, with one rotation (``.old``); returns where the line is, as text."""
        try:
            with self._file.open("a") as file:
                file.write(f"{line}\n")
                large = file.tell() > _LARGEST
            if large:
                self._file.replace(self._file.with_suffix(".old"))
        except OSError as error:
            return f"lost, because {self._file} cannot be written either ({error.strerror})"
        return f"in {self._file}"


def is_for_us() -> bool:
    """Whether stderr is connected to the journal, or would be if journald had run when systemd started the process."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    if "JOURNAL_STREAM" in os.environ:
        return os.environ["JOURNAL_STREAM"] == f"{found.st_dev}:{found.st_ino}"
    # Without journald systemd connects stderr to /dev/null; with StandardError=null as well, but then journald runs.
    nowhere = found.st_rdev == Path(os.devnull).stat().st_rdev
    return nowhere and "INVOCATION_ID" in os.environ and not _listening()


def _missed(lines: int, file: Path) -> dict[str, str]:
    text = f"the journal did not accept {lines} lines: lines={lines} file={file}"
    return {"MESSAGE": text, "PRIORITY": "4", "SYSLOG_IDENTIFIER": "mcastd"}


def _send(record: Mapping[str, str]) -> None:
    with _socket() as sock:
        sock.sendto(b"".join(_field(name, value.encode()) for name, value in record.items()), SOCKET)


def _field(name: str, value: bytes) -> bytes:
    return b"%b\n%b%b\n" % (name.encode(), struct.pack("<Q", len(value)), value)


def _listening() -> bool:
    with _socket() as sock:
        return sock.connect_ex(SOCKET) == 0


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
