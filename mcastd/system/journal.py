"""The journal's native protocol: one datagram a record (systemd.io/JOURNAL_NATIVE_PROTOCOL).

Spoken here rather than by systemd's library, which waits for a journald that does not read, and says nothing where
there is none. What journald does not take goes into a file of the runtime directory, as text.
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
    """``problem`` says where the last line is, if it is not in the journal."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._elsewhere = 0
        self.problem: str | None = None

    def send(self, record: Mapping[str, str], line: str) -> None:
        """Send a record of fields; ``line`` is what people are to read where journald does not take it."""
        try:
            if self._elsewhere:
                _send(_missed(self._elsewhere, self._file))
                self._elsewhere = 0
            _send(record)
            self.problem = None
        except OSError as error:
            self._elsewhere += 1
            self.problem = f"the journal does not take it ({error.strerror}): the last lines are {self._keep(line)}"

    def _keep(self, line: str) -> str:
        """Append a line to the file, which has one predecessor; returns where the line is."""
        try:
            with self._file.open("a") as file:
                file.write(f"{line}\n")
                large = file.tell() > _LARGEST
            if large:
                self._file.replace(self._file.with_suffix(".old"))
        except OSError as error:
            return f"lost, for neither does {self._file} ({error.strerror})"
        return f"in {self._file}"


def is_for_us() -> bool:
    """Whether stderr is connected to the journal, or would be if journald had been there when systemd started us."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    if "JOURNAL_STREAM" in os.environ:
        return os.environ["JOURNAL_STREAM"] == f"{found.st_dev}:{found.st_ino}"
    # Without journald it is /dev/null; with StandardError=null it is as well, but then journald is there.
    nowhere = found.st_rdev == Path(os.devnull).stat().st_rdev
    return nowhere and "INVOCATION_ID" in os.environ and not _listening()


def _missed(lines: int, file: Path) -> dict[str, str]:
    text = f"the journal did not take {lines} lines: lines={lines} file={file}"
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
