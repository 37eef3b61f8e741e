"""Files with keys and certificates that the configuration names. Their content appears in no message."""

import grp
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mcastd.errors import SHORTAGES, HostError

GROUP: Final = "mcastd"
"""The group of the service, which may read a key."""


class KeyFileError(Exception):
    """A file that cannot be used; the text says why."""


@dataclass(frozen=True)
class KeyFile:
    """The content of a file; ``note`` is what is not an error but may be a mistake."""

    content: bytes = field(repr=False)
    note: str | None = None


def read_public(path: Path, longest: int) -> bytes:
    """Read a file that every user may read, but not write; of a longer one, at least ``longest`` + 1 bytes.

    Raises KeyFileError.
    """
    return _read(path, longest, 0o002, "writable by all users", "0644").content


def read_secret(path: Path, longest: int) -> KeyFile:
    """Read a file that only its owner and group may read; of a longer one, at least ``longest`` + 1 bytes.

    Raises KeyFileError.
    """
    return _read(path, longest, 0o007, "accessible to all users", "0640")


def _read(path: Path, longest: int, forbidden: int, what: str, allowed: str) -> KeyFile:
    try:
        with open(path, "rb", opener=without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise KeyFileError(f"{path} is not a regular file; allowed: a file")
            content = file.read(longest + 1)
    except OSError as error:
        if error.errno in SHORTAGES:
            raise HostError(f"{path}: {error.strerror}") from error
        raise KeyFileError(f"{path} cannot be read: {error.strerror}; allowed: a readable file") from error
    mode = f"mode {found.st_mode & 0o777:04o}"
    if found.st_mode & forbidden:
        raise KeyFileError(f"{path} is {what} ({mode}); allowed: at most {allowed}")
    if found.st_mode & 0o070 and forbidden == 0o007 and not _is_the_services(found.st_gid):
        return KeyFile(content, f"{path} can be read by its group ({mode}), which should be {GROUP}")
    return KeyFile(content)


def _is_the_services(group: int) -> bool:
    try:
        return grp.getgrgid(group).gr_name == GROUP
    except KeyError:
        return False


def without_waiting(path: str, flags: int) -> int:
    """For ``open``: a pipe as the file is empty."""
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would wait for its writer
