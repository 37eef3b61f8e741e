"""Pre-shared keys, from files of their own. What is in one appears in no message."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mcastd.config.model import Peer
from mcastd.errors import ConfigError, Problem

LONGEST: Final = 1024
"""Bytes, a good deal more than any sensible key has."""


@dataclass(frozen=True)
class _Found:
    key: bytes = field(default=b"", repr=False)
    refused: str | None = None
    note: str | None = None


def read_psk(peer: Peer) -> bytes | None:
    """The pre-shared key of a peer, a newline at its end cut off, or None if it has certificates instead.

    Raises ConfigError if it cannot be used.
    """
    if peer.psk_file is None:
        return None
    found = look(peer.psk_file)
    if found.refused:
        raise ConfigError((Problem(str(peer.psk_file), 1, f"peers.{peer.name}.psk_file", found.refused),))
    return found.key


def look(path: Path) -> _Found:
    """Read a key file: the key, or why it is refused, and what is worth a note."""
    try:
        with open(path, "rb", opener=_at_once) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                return _Found(refused=f"{path} is not a regular file")
            key = file.read(LONGEST + 3)
    except OSError as error:
        return _Found(refused=f"{path} cannot be read: {error.strerror}")
    key = key.removesuffix(b"\n").removesuffix(b"\r")
    if mode & 0o007:
        return _Found(refused=f"{path} is open to everybody (mode {mode & 0o777:04o}); allowed: at most 0640")
    if not key:
        return _Found(refused=f"{path} is empty; allowed: the pre-shared key on one line")
    if len(key) > LONGEST:
        return _Found(refused=f"{path} is too long; allowed: a pre-shared key of at most {LONGEST} bytes")
    if b"\n" in key or b"\0" in key:
        return _Found(refused=f"{path} has several lines or is binary; allowed: the pre-shared key alone, on one line")
    group = (
        f"{path} can be read by its group (mode {mode & 0o777:04o}), which is right only for the daemon's own"
        if mode & 0o070
        else None
    )
    return _Found(key=key, note=group)


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would wait for its writer
