"""Pre-shared keys, from files of their own. What is in one appears in no message."""

from pathlib import Path
from typing import Final

from mcastd.config.files import Found, read_secret
from mcastd.config.model import Peer
from mcastd.errors import ConfigError, Problem

LONGEST: Final = 1024
"""Bytes, a good deal more than any sensible key has."""


def read_psk(peer: Peer) -> bytes | None:
    """The pre-shared key of a peer, a newline at its end cut off, or None if it has certificates instead.

    Raises ConfigError if it cannot be used.
    """
    if peer.psk_file is None:
        return None
    found = look(peer.psk_file)
    if found.refused:
        raise ConfigError((Problem(str(peer.psk_file), 1, f"peers.{peer.name}.psk_file", found.refused),))
    return found.content


def look(path: Path) -> Found:
    """Read a key file: the key, or why it is refused, and what is worth a note."""
    found = read_secret(path, LONGEST + 2)
    if found.refused:
        return found
    key = found.content.removesuffix(b"\n").removesuffix(b"\r")
    if not key:
        return Found(refused=f"{path} is empty; allowed: the pre-shared key on one line")
    if len(key) > LONGEST:
        return Found(refused=f"{path} is too long; allowed: a pre-shared key of at most {LONGEST} bytes")
    if b"\n" in key or b"\0" in key:
        return Found(refused=f"{path} has several lines or is binary; allowed: the pre-shared key alone, on one line")
    return Found(key, note=found.note)
