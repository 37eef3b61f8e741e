"""The ledger: values of the host before mcastd changed them, on disk, so that they survive a crash.

An entry is written before its change is made. The teardown restores the values and removes the entries. A start after
a crash finds the entries and keeps the first value, which is the one to restore.
"""

import contextlib
from pathlib import Path

import msgspec

from mcastd.errors import HostError
from mcastd.system import files

Value = str | int | None


class Ledger:
    """Entries ``kind -> key -> value before``, in one JSON file that is replaced atomically.

    Raises HostError if the file exists and cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, dict[str, Value]] = {}  # as in the file
        try:
            self._entries = msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, Value]])
        except FileNotFoundError:
            pass
        except msgspec.DecodeError as error:
            raise HostError(f"{path}: not a ledger of mcastd ({error}); remove it if no mcastd is running") from error
        except OSError as error:
            raise HostError(f"{path}: {error.strerror}; mcastd records in it what it has to restore") from error

    def remember(self, kind: str, key: str, before: Value = None) -> None:
        """Record the value before a change, unless one is recorded already.

        Raises HostError if the entry cannot be written; then the change must not be made.
        """
        entries = self._entries.setdefault(kind, {})
        if key not in entries:
            entries[key] = before
            try:
                self._save()
            except HostError:
                del entries[key]
                raise

    def forget(self, kind: str, key: str) -> None:
        """Remove an entry after its value has been restored.

        If the file cannot be written, the entry stays in it until the next write: restoring a value twice is harmless.
        """
        entries = self._entries.get(kind, {})
        if key in entries:
            del entries[key]
            if not entries:
                del self._entries[kind]
            with contextlib.suppress(HostError):
                self._save()

    def has(self, kind: str, key: str) -> bool:
        """Whether mcastd made the change that kind and key name."""
        return key in self._entries.get(kind, {})

    def entries(self, kind: str) -> dict[str, Value]:
        """A copy of the entries of one kind, oldest first."""
        return dict(self._entries.get(kind, {}))

    def _save(self) -> None:
        try:
            if not self._entries:
                self._path.unlink(missing_ok=True)
                return
            files.replace(self._path, msgspec.json.encode(self._entries))
        except OSError as error:
            raise HostError(f"{self._path}: {error.strerror}; mcastd records in it what it has to restore") from error
