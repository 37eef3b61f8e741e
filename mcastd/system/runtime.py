"""The runtime directory, and the lock file that prevents a second daemon from using it."""

import fcntl
import os
from pathlib import Path

from mcastd.errors import HostError


def claim(directory: Path) -> int:
    """Create the runtime directory and lock it until the returned descriptor is closed.

    Raises HostError if the directory cannot be used or another daemon has the lock.
    """
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise HostError(f"{directory}: {error.strerror}; mcastd keeps its state in this directory") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise HostError(f"{directory}: another mcastd is running with this directory") from None
    return lock
