"""Files that other programs write, and word of it: inotify(7), by ctypes.

::

    struct inotify_event    watch 32, mask 32, cookie 32, length 32, name of that length
"""

import asyncio
import contextlib
import ctypes
import os
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

# sys/inotify.h: a file was closed by who wrote it, moved here or away, or deleted; the folder itself was deleted.
_EVENTS: Final = 0x8 | 0x40 | 0x80 | 0x200 | 0x400
_ONLYDIR: Final = 0x01000000
_NONBLOCK_CLOEXEC: Final = os.O_NONBLOCK | os.O_CLOEXEC
_LONGEST: Final = 1 << 16  # bytes of events that are read at once

_libc = ctypes.CDLL(None, use_errno=True)


class FolderWatch:
    """``on_change`` is called after something has changed in one of the folders, whatever it was."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """Raise OSError."""
        self._descriptor = _checked(_libc.inotify_init1(_NONBLOCK_CLOEXEC))
        self._watched: dict[Path, int] = {}  # the number of each watch
        self._on_change = on_change
        asyncio.get_running_loop().add_reader(self._descriptor, self._readable)

    def folders(self, folders: Iterable[Path]) -> None:
        """Watch these folders, as far as they are there; to be repeated, since a folder may be another one by then."""
        watched: dict[Path, int] = {}
        for folder in set(folders):
            with contextlib.suppress(OSError):  # it is looked at periodically
                name = ctypes.c_char_p(os.fsencode(folder))
                watched[folder] = _checked(_libc.inotify_add_watch(self._descriptor, name, _EVENTS | _ONLYDIR))
        for number in set(self._watched.values()) - set(watched.values()):
            _libc.inotify_rm_watch(self._descriptor, number)  # which the kernel has done already where it is gone
        self._watched = watched

    def close(self) -> None:
        """End it."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, _LONGEST)
        self._on_change()


def watch(on_change: Callable[[], None]) -> FolderWatch:
    """Call back after a file was written, or moved to its name. Raises OSError."""
    return FolderWatch(on_change)


def read(path: Path, longest: int) -> tuple[bytes, float]:
    """Up to ``longest`` bytes of a file, and how many seconds ago it was written. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe's writer is not waited for
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(0, "it is no regular file")
        return file.read(longest), max(0.0, time.time() - found.st_mtime)  # the clock may have been set back


def stamp(path: Path) -> tuple[int, int, int] | None:
    """What is another one when the file has been written or replaced; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
