"""The C library's heap, from which Python takes what is larger than 512 bytes (mallopt(3))."""

import contextlib
import ctypes
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
_LARGE: Final = 128 * 1024  # bytes; glibc's own value at the start


def keep_large_buffers_apart() -> None:
    """Keep large buffers out of the heap; a no-op without glibc.

    asyncio receives into 256 KiB and gives back what was not needed. glibc takes the second such buffer from the heap,
    where what is made meanwhile and stays keeps it in pieces: the daemon grew by 5 to 10 KiB with each reload.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
