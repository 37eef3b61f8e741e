"""The runtime directory, and the lock file that prevents a second daemon from using it."""

import fcntl
import os
from pathlib import Path

from mcastd.errors import AlreadyRunning, HostError


class RuntimeDirectory:
    """The directory. Its lock is held until ``close``, or until another program removes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None  # the descriptor of the lock file, once it is held

    def claim(self) -> None:
        """Take the directory at the start, if it can be used. Raises AlreadyRunning."""
        try:
            self.hold()
        except AlreadyRunning:
            raise
        except HostError:
            return  # the daemon works without it, shows that, and tries again

    def hold(self) -> bool:
        """Make the directory and take its lock, unless it is held already; returns whether that was to be done.

        Raises AlreadyRunning if another daemon has the lock, HostError if the directory cannot be used.
        """
        lock = self.path / "lock"
        try:
            if self._lock is not None and lock.exists() and os.path.samestat(os.fstat(self._lock), lock.stat()):
                return False
            self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
            # For reading: the lock of a directory that has become read-only can still be taken.
            found = os.open(lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise HostError(f"{self.path}: {error.strerror}; mcastd keeps its state in this directory") from error
        try:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(found)
            if isinstance(error, BlockingIOError):
                raise AlreadyRunning(f"{self.path}: another mcastd is running with this directory") from None
            raise HostError(f"{lock}: {error.strerror}") from error
        self.close()
        self._lock = found
        return True

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
