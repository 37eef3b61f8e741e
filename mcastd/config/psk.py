"""Pre-shared keys, from files of their own. What is in one appears in no message."""

import re
from pathlib import Path
from typing import Final

from mcastd.config.files import Found, read_secret
from mcastd.config.model import Peer
from mcastd.errors import ConfigError, ConfigProblem

LONGEST: Final = 1024
"""Bytes, a good deal more than any sensible key has."""

_LINE_OF_SECRETS: Final = re.compile(rb"(?:^|\s):\s+PSK\s", re.IGNORECASE)


def read_psk(peer: Peer) -> bytes | None:
    """The pre-shared key of a peer, a newline at its end cut off, or None if it has certificates instead.

    Raises ConfigError if it cannot be used.
    """
    if peer.psk_file is None:
        return None
    found = look(peer.psk_file)
    if found.refused:
        raise ConfigError((ConfigProblem(str(peer.psk_file), 1, f"peers.{peer.name}.psk_file", found.refused),))
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
    odd = _odd(key)
    notes = [note for note in (found.note, f"{path}: {odd}" if odd else None) if note is not None]
    return Found(key, note="; ".join(notes) or None)


def _odd(key: bytes) -> str | None:
    """What is no error, for every byte is taken as it stands, but was hardly meant so."""
    if _LINE_OF_SECRETS.search(key):
        return "it looks like a line of ipsec.secrets, and the whole line is the key here: only the key belongs into it"
    if len(key) > 1 and key[:1] == key[-1:] and key[:1] in (b'"', b"'"):
        return "the quotes around the key are a part of it here"
    if key[:2] in (b"0x", b"0s"):
        return f"it begins with {key[:2].decode()}, as an encoded key elsewhere; here it is taken as it stands"
    if key != key.strip():
        return "the blanks at the ends of the key are a part of it here"
    if not key.isascii():
        return "the key has bytes that are not ASCII, which the other side may encode otherwise, or not take"
    return None
