"""Certificates and private keys, from files in PEM or DER. What is in a key appears in no message.

Only the form is looked at here, deep enough to tell a certificate from a key and a key from an encrypted one (RFC 5280
section 4.1, RFC 5208, RFC 7468); charon reads what is inside.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mcastd.config.files import Found, read_public, read_secret
from mcastd.config.lines import KeyPath
from mcastd.config.model import Peer
from mcastd.errors import ConfigError, ConfigProblem

LONGEST: Final = 64 << 10
"""Bytes of a file."""

_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s(.*?)-----END \1-----", re.DOTALL)
_CERTIFICATES: Final = (b"CERTIFICATE", b"X509 CERTIFICATE")
_KEYS: Final = (b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY")
_SEQUENCE, _INTEGER = 0x30, 0x02


@dataclass(frozen=True)
class Certificates:
    """What a peer authenticates with, in DER: our certificate and key, and what vouches for the other side."""

    local: bytes
    key: bytes = field(repr=False)
    authorities: tuple[bytes, ...] = ()
    remote: bytes | None = None


def read_certificates(peer: Peer) -> Certificates | None:
    """The certificates of a peer; None if it has a pre-shared key. Raises ConfigError if one cannot be used."""
    if peer.local_cert is None or peer.local_key is None:
        return None
    found: dict[str, list[bytes]] = {"local_cert": [], "local_key": [], "ca_certs": [], "remote_cert": []}
    problems = []
    for key, path, one in look(peer):
        found[str(key[0])].append(one.content)
        if one.refused:
            problems.append(ConfigProblem(str(path), 1, f"peers.{peer.name}.{key[0]}", one.refused))
    if problems:
        raise ConfigError(tuple(problems))
    return Certificates(
        local=found["local_cert"][0],
        key=found["local_key"][0],
        authorities=tuple(found["ca_certs"]),
        remote=found["remote_cert"][0] if found["remote_cert"] else None,
    )


def look(peer: Peer) -> Iterator[tuple[KeyPath, Path, Found]]:
    """Each file that the peer names, by its key: its DER, or why it is refused, and what is worth a note."""
    for name, path in (("local_cert", peer.local_cert), ("remote_cert", peer.remote_cert)):
        if path is not None:
            yield (name,), path, certificate(path)
    for index, path in enumerate(peer.ca_certs):
        yield ("ca_certs", index), path, certificate(path)
    if peer.local_key is not None:
        yield ("local_key",), peer.local_key, private_key(peer.local_key)


def certificate(path: Path) -> Found:
    """Read a file with one X.509 certificate."""
    found = read_public(path, LONGEST)
    if found.refused:
        return found
    blocks = [block for block in _blocks(found.content) if block[0] in _CERTIFICATES]
    if len(blocks) > 1:
        return Found(refused=f"{path} has {len(blocks)} certificates; allowed: one in each file")
    der = _decoded(blocks[0][1]) if blocks else found.content
    if _first_inside(der) != _SEQUENCE:
        return Found(refused=f"{path} is no certificate; allowed: X.509 in PEM or DER")
    return Found(der)


def private_key(path: Path) -> Found:
    """Read a file with a private key that is not encrypted."""
    found = read_secret(path, LONGEST)
    if found.refused:
        return found
    blocks = _blocks(found.content)
    keys = [body for label, body in blocks if label in _KEYS]
    encrypted = f"{path} is encrypted, and nobody is there to ask; allowed: a private key that is not"
    if b"ENCRYPTED" in b"".join(keys) or any(label == b"ENCRYPTED PRIVATE KEY" for label, _ in blocks):
        return Found(refused=encrypted)
    if len(keys) > 1:
        return Found(refused=f"{path} has {len(keys)} private keys; allowed: one")
    der = _decoded(keys[0]) if keys else found.content
    first = _first_inside(der)
    if not blocks and first == _SEQUENCE and _is_encrypted(der):
        return Found(refused=encrypted)
    if first != _INTEGER:
        return Found(refused=f"{path} is no private key; allowed: PKCS#8, PKCS#1 or EC (SEC 1) in PEM or DER")
    return Found(der, note=found.note)


def _blocks(content: bytes) -> list[tuple[bytes, bytes]]:
    return [(match[1], match[2]) for match in _PEM.finditer(content)]


def _decoded(body: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error:
        return b""


def _first_inside(der: bytes) -> int | None:
    """The tag of the first element in a SEQUENCE that is all there is; None for anything else (X.690, 8.1)."""
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
    return der[header + 1] < 0x80 and der[header + 2 : header + 3] == b"\x06"
