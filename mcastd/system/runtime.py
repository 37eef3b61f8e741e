"""The runtime directory, and the lock that keeps a second daemon out of it."""

import fcntl
import os
from pathlib import Path

from mcastd.errors import HostError


def claim(directory: Path) -> int:
    """Make the runtime directory and lock it; returns the lock's descriptor, which holds until it is closed."""
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise HostError(f"{directory}: {error.strerror}; mcastd keeps its state there") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise HostError(f"{directory}: another mcastd runs there") from None
    return lock
