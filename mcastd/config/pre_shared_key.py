"""Pre-shared keys, each in a file of its own. Their content appears in no message."""

import binascii
import re
from base64 import b64decode
from pathlib import Path
from typing import Final, Literal

from mcastd.config.key_files import KeyFile, KeyFileError, read_secret

LONGEST: Final = 1024
"""Bytes of a key."""

PskEncoding = Literal["text", "base64", "hex"]
"""How a key is written: its bytes, or encoded, on as many lines as it takes."""

_ENCODED: Final = 4 * LONGEST  # bytes of a file with an encoded key
_LINE_OF_SECRETS: Final = re.compile(rb"(?:^|\s):\s+PSK\s", re.IGNORECASE)


def pre_shared_key(path: Path, encoding: PskEncoding = "text") -> KeyFile:
    """Read a key, decoded, or without the newline at its end. Raises KeyFileError."""
    if encoding != "text":
        return _decoded(path, encoding)
    file = read_secret(path, LONGEST + 2)
    key = file.content.removesuffix(b"\n").removesuffix(b"\r")
    if not key:
        raise KeyFileError(f"{path} is empty; allowed: the pre-shared key on one line")
    if not key.strip():
        raise KeyFileError(f"{path} has only blanks; allowed: the pre-shared key on one line")
    if len(key) > LONGEST:
        raise KeyFileError(f"{path} is too long; allowed: a pre-shared key of at most {LONGEST} bytes")
    if b"\n" in key or b"\0" in key:
        allowed = 'only the pre-shared key, on one line; or psk_encoding = "base64" with a key that has such bytes'
        raise KeyFileError(f"{path} has several lines or is binary; allowed: {allowed}")
    odd = _odd(key)
    notes = [note for note in (file.note, f"{path}: {odd}" if odd else None) if note is not None]
    return KeyFile(key, "; ".join(notes) or None)


def _decoded(path: Path, encoding: PskEncoding) -> KeyFile:
    """A key in base64 (RFC 4648, section 4) or hexadecimal, also after ``0s`` or ``0x`` as strongSwan writes them."""
    file = read_secret(path, _ENCODED)
    digits = b"".join(file.content.split())
    try:
        if encoding == "base64":
            key = b64decode(digits.removeprefix(b"0s"), validate=True)
        else:
            key = binascii.unhexlify(digits.removeprefix(b"0x"))
    except ValueError:
        raise KeyFileError(f"{path} is not {encoding}; allowed: the key in {encoding}, as psk_encoding says") from None
    if not 0 < len(key) <= LONGEST:
        raise KeyFileError(f"{path} has {len(key)} bytes in {encoding}; allowed: a key of 1 to {LONGEST} bytes")
    return KeyFile(key, file.note)


def _odd(key: bytes) -> str | None:
    """What is probably a mistake, though every byte is used as it is."""
    if _LINE_OF_SECRETS.search(key):
        return "it looks like a line of ipsec.secrets; the whole line is the key here, and only the key belongs in it"
    if len(key) > 1 and key[:1] == key[-1:] and key[:1] in (b'"', b"'"):
        return "the quotes around the key are a part of it here"
    if key[:2] in (b"0x", b"0s"):
        return f"it begins with {key[:2].decode()} and is used as it is; an encoded key needs psk_encoding"
    if key != key.strip():
        return "the blanks at the ends of the key are a part of it here"
    if not key.isascii():
        return "the key has bytes that are not ASCII, which the other side may encode otherwise, or not accept"
    return None
