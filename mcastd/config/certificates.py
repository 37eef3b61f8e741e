"""Certificates and private keys, from files in PEM or DER. The content of a key appears in no message.

Only the form is checked here, deep enough to distinguish a certificate, a key and an encrypted key (RFC 5280 section
4.1, RFC 5208, RFC 7468); charon reads what is inside.
"""

import base64
import binascii
import re
from pathlib import Path
from typing import Final

from mcastd.config.key_files import KeyFile, KeyFileError, read_public, read_secret

LONGEST: Final = 64 << 10
"""Bytes of a file."""

_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s(.*?)-----END \1-----", re.DOTALL)
_CERTIFICATES: Final = (b"CERTIFICATE", b"X509 CERTIFICATE")
_KEYS: Final = (b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY")
_SEQUENCE, _INTEGER = 0x30, 0x02


def certificate(path: Path) -> KeyFile:
    """Read a file with one X.509 certificate, as DER. Raises KeyFileError."""
    content = read_public(path, LONGEST)
    bodies = [match[2] for match in _PEM.finditer(content) if match[1] in _CERTIFICATES]
    if len(bodies) > 1:
        raise KeyFileError(f"{path} has {len(bodies)} certificates; allowed: one in each file")
    der = _decoded(bodies[0]) if bodies else content
    if _first_inside(der) != _SEQUENCE:
        raise KeyFileError(f"{path} is no certificate; allowed: X.509 in PEM or DER")
    return KeyFile(der)


def private_key(path: Path) -> KeyFile:
    """Read a file with a private key that is not encrypted, as DER. Raises KeyFileError."""
    file = read_secret(path, LONGEST)
    blocks = [(match[1], match[2]) for match in _PEM.finditer(file.content)]
    bodies = [body for label, body in blocks if label in _KEYS]
    der = _decoded(bodies[0]) if bodies else file.content
    if (
        any(label == b"ENCRYPTED PRIVATE KEY" for label, _ in blocks)
        or b"ENCRYPTED" in b"".join(bodies)
        or (not blocks and _is_encrypted(der))
    ):
        raise KeyFileError(f"{path} is encrypted, and the password cannot be entered; allowed: an unencrypted key")
    if len(bodies) > 1:
        raise KeyFileError(f"{path} has {len(bodies)} private keys; allowed: one")
    if _first_inside(der) != _INTEGER:
        raise KeyFileError(f"{path} is no private key; allowed: PKCS#8, PKCS#1 or EC (SEC 1) in PEM or DER")
    return KeyFile(der, file.note)


def _decoded(body: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error:
        return b""


def _first_inside(der: bytes) -> int | None:
    """The tag of the first element in a SEQUENCE that fills all of ``der``; None for anything else (X.690, 8.1)."""
    header = _header(der)
    return der[header] if header is not None and len(der) > header else None


def _header(der: bytes) -> int | None:
    if len(der) < 2 or der[0] != _SEQUENCE:
        return None
    size = der[1] & 0x7F if der[1] & 0x80 else 0
    length = int.from_bytes(der[2 : 2 + size]) if size else der[1]
    return 2 + size if len(der) == 2 + size + length else None


def _is_encrypted(der: bytes) -> bool:
    # EncryptedPrivateKeyInfo begins with an algorithm: a short SEQUENCE that begins with an object identifier.
    header = _header(der) or 0
    return _first_inside(der) == _SEQUENCE and der[header + 1] < 0x80 and der[header + 2 : header + 3] == b"\x06"
