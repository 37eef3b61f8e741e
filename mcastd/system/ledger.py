"""The ledger: values of the host before mcastd changed them, on disk, so that they survive a crash.

An entry is written before its change is made. The teardown restores the values and removes the entries. A start after
a crash finds the entries and keeps the first value, which is the one to restore.

What carries mcastd's mark is found on the host without the file, so that its change does not wait for a file that
cannot be written. The value of a sysctl is nowhere else: while it cannot be recorded, the sysctl is not changed.
"""

from pathlib import Path
from typing import Final

from mcastd.errors import HostError
from mcastd.system import files, ledger_file
from mcastd.system.ledger_file import LARGEST, Value

_ONLY_HERE: Final = frozenset({"sysctl"})  # kinds whose values nothing on the host shows
_LOST: Final = "what carries the mark of mcastd is taken over; net.ipv4.ip_forward stays as it is: its value is lost"


class Ledger:
    """Entries ``kind -> key -> value before``, in one JSON file that is replaced atomically.

    A file that cannot be read is kept aside, and what it cannot be read for is in ``warnings``; so is each entry that
    cannot be used. Constructing it raises nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: ledger_file.Entries = {}  # as they should be in the file
        self.warnings: tuple[str, ...] = ()  # what of the file could not be used
        self.is_incomplete = False  # whether a previous process has made what the file did not have
        self.problem: str | None = None  # why the file is not what it should be
        self.is_ours = True  # the file is not another daemon's, of which nothing is written or removed
        self._had_file = False  # whether there was one with entries
        try:
            self._entries, wrong = ledger_file.decode(files.read(path, LARGEST + 1))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            self.warnings = (f"{path} cannot be read: {files.reason(error)}; {files.keep_aside(path)}", _LOST)
        else:
            self.warnings = tuple(f"{path}: an entry is not used: {one}" for one in wrong)
        self.is_incomplete = bool(self.warnings)
        self._had_file = any(self._entries.values())

    @property
    def is_whole(self) -> bool:
        """Whether the file was there, and nothing is known to be missing in it."""
        return self._had_file and not self.is_incomplete

    def remember(self, kind: str, key: str, before: Value = None) -> None:
        """Record the value before a change, unless one is recorded already.

        Raises HostError if the value of a sysctl cannot be written; then the change must not be made.
        """
        entries = self._entries.setdefault(kind, {})
        if key in entries:
            return
        entries[key] = before
        self.save()
        if self.problem is not None and kind in _ONLY_HERE:
            del entries[key]
            raise HostError(self.problem)

    def found(self, kind: str, key: str, value: Value = None) -> bool:
        """Record what carries mcastd's mark on the host; returns whether it was not recorded."""
        if self.has(kind, key):
            return False
        self.is_incomplete = True
        self.remember(kind, key, value)
        return True

    def forget(self, kind: str, key: str) -> None:
        """Remove an entry after its value has been restored.

        If the file cannot be written, the entry stays in it until the next write: restoring a value twice is harmless.
        """
        entries = self._entries.get(kind, {})
        if key in entries:
            del entries[key]
            if not entries:
                del self._entries[kind]
            self.save()

    def has(self, kind: str, key: str) -> bool:
        """Whether mcastd made the change that kind and key name."""
        return key in self._entries.get(kind, {})

    def entries(self, kind: str) -> dict[str, Value]:
        """A copy of the entries of one kind, oldest first."""
        return dict(self._entries.get(kind, {}))

    def save(self) -> None:
        """Write the file; if that fails, the reason is ``problem``."""
        try:
            self._save()
        except HostError as error:
            self.problem = str(error)
        else:
            self.problem = None

    def keep(self) -> None:
        """Write the file again if it was removed, or could not be written before."""
        if self.problem is not None or (any(self._entries.values()) and not self._is_there()):
            self.save()

    def _is_there(self) -> bool:
        try:
            return self._path.exists()
        except OSError:  # a directory that may not be searched; saving says so
            return False

    def _save(self) -> None:
        if not self.is_ours:
            raise HostError(f"{self._path} is another daemon's; mcastd records in it what it has to restore")
        try:
            if not any(self._entries.values()):
                self._path.unlink(missing_ok=True)
            else:
                files.replace(self._path, ledger_file.encode(self._entries))
        except OSError as error:
            raise HostError(f"{self._path}: {error.strerror}; mcastd records in it what it has to restore") from error
