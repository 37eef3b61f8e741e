"""systemd's file descriptor store, in memory: descriptors outlive the process that stored them."""

import asyncio
import os

from mcastd.system.fdstore import FdStore


class FakeServiceManager:
    """``kept`` are the stored descriptors, by name; one that is removed is closed ``lag`` seconds later."""

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}
        self.lag = 0.0
        self._last: _Store | None = None  # of the process that runs, or ran last

    def store(self) -> FdStore:
        """The store of the next process, with copies of all descriptors; the last process has ended, with its own."""
        if self._last is not None:
            self._last.end()
        self._last = _Store(self)
        return self._last

    def remove(self, name: str) -> None:
        descriptor = self.kept.pop(name, None)
        if descriptor is None:
            return
        if self.lag:
            asyncio.get_running_loop().call_later(self.lag, os.close, descriptor)
        else:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        for name in list(self.kept):
            os.close(self.kept.pop(name))


class _Store(FdStore):
    def __init__(self, manager: FakeServiceManager) -> None:
        super().__init__({name: os.dup(descriptor) for name, descriptor in manager.kept.items()})
        self._manager = manager

    def end(self) -> None:
        """Close what was inherited and not taken, as the end of a process does."""
        for descriptor in self._found.values():
            os.close(descriptor)
        self._found.clear()

    def keep(self, name: str, descriptor: int) -> None:
        self.drop(name)
        self._manager.kept[name] = os.dup(descriptor)

    def drop(self, name: str) -> None:
        super().drop(name)
        self._manager.remove(name)
