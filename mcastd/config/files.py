"""Files that the configuration names: keys and certificates. What is in one appears in no message."""

import grp
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

GROUP: Final = "mcastd"
"""The service's: that it can read a key is as it should be."""


@dataclass(frozen=True)
class Found:
    """What is in a file, or why it is refused; ``note`` is worth saying though it is no error."""

    content: bytes = field(default=b"", repr=False)
    refused: str | None = None
    note: str | None = None


def read_public(path: Path, longest: int) -> Found:
    """Read a file that everybody may read, but not write; of a longer one, at least one byte more than ``longest``."""
    return _read(path, longest, 0o002, "writable by everybody", "0644")


def read_secret(path: Path, longest: int) -> Found:
    """Read a file that is nobody else's business; of a longer one, at least one byte more than ``longest``."""
    return _read(path, longest, 0o007, "open to everybody", "0640")


def _read(path: Path, longest: int, forbidden: int, what: str, allowed: str) -> Found:
    try:
        with open(path, "rb", opener=_at_once) as file:
            found = os.fstat(file.fileno())
            mode = found.st_mode
            if not stat.S_ISREG(mode):
                return Found(refused=f"{path} is not a regular file")
            content = file.read(longest + 1)
    except OSError as error:
        return Found(refused=f"{path} cannot be read: {error.strerror}")
    if mode & forbidden:
        return Found(refused=f"{path} is {what} (mode {mode & 0o777:04o}); allowed: at most {allowed}")
    if mode & 0o070 and forbidden == 0o007 and not _is_the_services(found.st_gid):
        text = f"{path} can be read by its group (mode {mode & 0o777:04o}), which is right only for the daemon's own"
        return Found(content, note=text)
    return Found(content)


def _is_the_services(group: int) -> bool:
    try:
        return grp.getgrgid(group).gr_name == GROUP
    except KeyError:
        return False


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would wait for its writer
