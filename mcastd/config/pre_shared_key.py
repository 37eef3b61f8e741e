"""Pre-shared keys, each in a file of its own. Their content appears in no message."""

import re
from pathlib import Path
from typing import Final

from mcastd.config.key_files import KeyFile, KeyFileError, read_secret

LONGEST: Final = 1024
"""Bytes of a key."""

_LINE_OF_SECRETS: Final = re.compile(rb"(?:^|\s):\s+PSK\s", re.IGNORECASE)


def pre_shared_key(path: Path) -> KeyFile:
    """Read a key, without the newline at its end. Raises KeyFileError."""
    file = read_secret(path, LONGEST + 2)
    key = file.content.removesuffix(b"\n").removesuffix(b"\r")
    if not key:
        raise KeyFileError(f"{path} is empty; allowed: the pre-shared key on one line")
    if not key.strip():
        raise KeyFileError(f"{path} has only blanks; allowed: the pre-shared key on one line")
    if len(key) > LONGEST:
        raise KeyFileError(f"{path} is too long; allowed: a pre-shared key of at most {LONGEST} bytes")
    if b"\n" in key or b"\0" in key:
        raise KeyFileError(f"{path} has several lines or is binary; allowed: only the pre-shared key, on one line")
    odd = _odd(key)
    notes = [note for note in (file.note, f"{path}: {odd}" if odd else None) if note is not None]
    return KeyFile(key, "; ".join(notes) or None)


def _odd(key: bytes) -> str | None:
    """What is probably a mistake, though every byte is used as it is."""
    if _LINE_OF_SECRETS.search(key):
        return "it looks like a line of ipsec.secrets; the whole line is the key here, and only the key belongs in it"
    if len(key) > 1 and key[:1] == key[-1:] and key[:1] in (b'"', b"'"):
        return "the quotes around the key are a part of it here"
    if key[:2] in (b"0x", b"0s"):
        return f"it begins with {key[:2].decode()}, as an encoded key elsewhere; here it is used as it is"
    if key != key.strip():
        return "the blanks at the ends of the key are a part of it here"
    if not key.isascii():
        return "the key has bytes that are not ASCII, which the other side may encode otherwise, or not accept"
    return None
