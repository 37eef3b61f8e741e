"""What the host looked like before our first change, kept on disk so that it outlives a crash.

An entry is written before its change is made. Going down replays the entries and removes them; a start after a crash
finds them and keeps the *first* value seen, which is the one to put back.
"""

import contextlib
from pathlib import Path

import msgspec

from mcastd.errors import HostError

Value = str | int | None


class Ledger:
    """Entries ``kind -> key -> value before``, in one JSON file that is replaced atomically."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, dict[str, Value]] = {}
        try:
            self._entries = msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, Value]])
        except FileNotFoundError:
            pass
        except msgspec.DecodeError as error:
            raise HostError(f"{path}: not a ledger of ours ({error}); remove it if no mcastd runs") from error
        except OSError as error:
            raise HostError(f"{path}: {error.strerror}; mcastd remembers there what to put back") from error

    def remember(self, kind: str, key: str, before: Value = None) -> None:
        """Record the value before a change, unless an earlier one is recorded already.

        Raises HostError where it cannot be kept; then the change must not be made.
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
        """Drop an entry, once what it says has been put back.

        Where the file cannot be written it keeps the entry, until it can: to put back twice does no harm.
        """
        entries = self._entries.get(kind, {})
        if key in entries:
            del entries[key]
            if not entries:
                del self._entries[kind]
            with contextlib.suppress(HostError):
                self._save()

    def has(self, kind: str, key: str) -> bool:
        """Whether the change named by kind and key is ours."""
        return key in self._entries.get(kind, {})

    def entries(self, kind: str) -> dict[str, Value]:
        """The entries of one kind, oldest first, as a copy."""
        return dict(self._entries.get(kind, {}))

    def _save(self) -> None:
        try:
            if not self._entries:
                self._path.unlink(missing_ok=True)
                return
            fresh = self._path.with_suffix(".new")
            fresh.write_bytes(msgspec.json.encode(self._entries))
            fresh.replace(self._path)
        except OSError as error:
            raise HostError(f"{self._path}: {error.strerror}; mcastd remembers there what to put back") from error
