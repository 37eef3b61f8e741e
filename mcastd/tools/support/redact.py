"""Removing secrets from text: keys that are known, and everything that has the form of a secret. Pure.

What is collected should hold no secret in the first place. This is the second barrier: for a key that was put into the
configuration by mistake, and for charon's log at level 4, which has session keys as hexadecimal dumps.
"""

import base64
import re
from collections.abc import Iterable
from typing import Final

REDACTED: Final = b"[redacted]"
_SHORTEST: Final = 4  # bytes; removing shorter keys would destroy the text and protect nothing

_VALUE: Final = rb"""(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s"',;]+)"""
_FORMS: Final = (
    # A private key in PEM, also one that is cut off.
    rb"(?s)()-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    # NAME = VALUE and "NAME": VALUE, but neither psk_file, whose value is a path, nor psk_encoding.
    rb"(?is)(\b\w*(?:psk|secret|passw(?:or)?d|passphrase|token|private_?key)(?!\w*_(?:file|encoding))\w*[\"']?\s*[=:]\s*)"
    + _VALUE,
    # ipsec.secrets: ID ID : PSK "VALUE"
    rb"(?i)(\bPSK\s+)(?:\"[^\"\n]*\"|0[xs]\S+)",
    # Hexadecimal numbers of 128 bits and more, as `ip xfrm state` prints keys.
    rb"(?i)()\b0x[0-9a-f]{32,}",
    # A line of charon's hexadecimal dumps: "   0: 1F 2E ...  ..."
    rb"(?m)(\b\d+: )[0-9A-F]{2}(?: [0-9A-F]{2}){0,15}(?= |$)[^\n]*",
)


def redact(text: bytes, keys: Iterable[bytes] = ()) -> bytes:
    """The text without ``keys``, raw, in hexadecimal and in base64, and without what has the form of a secret."""
    for key in (key for key in keys if len(key) >= _SHORTEST):
        for encoded in (key, key.hex().encode(), base64.b64encode(key).rstrip(b"=")):
            text = re.sub(re.escape(encoded), REDACTED, text, flags=re.IGNORECASE)
    for form in _FORMS:
        text = re.sub(form, rb"\1" + REDACTED, text)
    return text
