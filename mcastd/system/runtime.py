"""The runtime directory, the lock file that prevents a second daemon from using it, and the name of a daemon that runs.

The name is an abstract socket address (unix(7)), which belongs to the network namespace: a daemon has it also while it
cannot make the directory, or another program has just removed it. Since any user may take it, no start depends on it.
"""

import contextlib
import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import Final

from mcastd.errors import AlreadyRunning, HostError

_LONGEST: Final = 100  # bytes of the path in the name, of the 108 that an address has


class RuntimeDirectory:
    """The directory. The name and its lock are held until ``close``, the lock unless another program removes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None  # the descriptor of the lock file, once it is held
        self._name: socket.socket | None = None  # bound to the name, once it is taken

    def claim(self) -> None:
        """Take the directory and the name at the start, if they can be used. Raises AlreadyRunning."""
        self._claim()
        with contextlib.suppress(OSError):
            self._take_name()

    def claim_for_cleanup(self) -> None:
        """Take the name, and the directory if it exists. Raises AlreadyRunning, and HostError if that is not known."""
        try:
            self._take_name()
            exists = self.path.exists()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise self._already_running() from None
            raise HostError(f"{self.path}: whether an mcastd is running is not known: {error.strerror}") from error
        if exists:
            self._claim()

    def _claim(self) -> None:
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
                raise self._already_running() from None
            raise HostError(f"{lock}: {error.strerror}") from error
        self._release()
        self._lock = found
        return True

    def close(self) -> None:
        """Release the lock and the name."""
        self._release()
        if self._name is not None:
            self._name.close()
            self._name = None

    def _take_name(self) -> None:
        self._name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._name.bind(b"\0mcastd:" + os.fsencode(self.path)[-_LONGEST:])

    def _already_running(self) -> AlreadyRunning:
        return AlreadyRunning(f"{self.path}: another mcastd is running with this directory")

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
