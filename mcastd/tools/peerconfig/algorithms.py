"""strongSwan's proposals in the words of Cisco IOS XE.

IOS XE's keywords are those of its commands ``crypto ikev2 proposal``, ``crypto isakmp policy``, ``crypto ipsec
transform-set`` and ``set pfs``; group numbers are IANA's (RFC 3526, 5114, 5903, 8031).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Final

from mcastd.config.proposals import by_kind

GROUPS: Final[Mapping[str, int]] = {
    "modp768": 1,
    "modp1024": 2,
    "modp1536": 5,
    "modp2048": 14,
    "modp3072": 15,
    "modp4096": 16,
    "modp6144": 17,
    "modp8192": 18,
    "ecp256": 19,
    "ecp384": 20,
    "ecp521": 21,
    "modp1024s160": 22,
    "modp2048s224": 23,
    "modp2048s256": 24,
    "ecp192": 25,
    "ecp224": 26,
    "curve25519": 31,
    "x25519": 31,
    "curve448": 32,
    "x448": 32,
}
"""Diffie-Hellman groups by their number in IKE."""

_IOS_GROUPS: Final = frozenset((1, 2, 5, 14, 15, 16, 19, 20, 21, 24))
_AES: Final = re.compile(r"aes(128|192|256)?")
_GCM: Final = re.compile(r"aes(128|192|256)?gcm(?:16|128)?")
_HASHES: Final = {
    "md5": "md5",
    "sha": "sha1",
    "sha1": "sha1",
    "sha256": "sha256",
    "sha2_256": "sha256",
    "sha384": "sha384",
    "sha2_384": "sha384",
    "sha512": "sha512",
    "sha2_512": "sha512",
}
_PRFS: Final = {f"prf{name}": name for name in ("md5", "sha1", "sha256", "sha384", "sha512")}
_DEFAULT_KEY: Final = "128"


@dataclass(frozen=True)
class Ike:
    """One ``crypto ikev2 proposal``: its keywords. ``integrity`` is empty with AES-GCM."""

    encryption: tuple[str, ...]
    integrity: tuple[str, ...]
    prf: tuple[str, ...]
    groups: tuple[int, ...]


@dataclass(frozen=True)
class Isakmp:
    """One ``crypto isakmp policy`` (IKEv1)."""

    encryption: str
    hash: str
    group: int


@dataclass(frozen=True)
class Esp:
    """One ESP proposal: the words of each transform set that it allows, and the groups for PFS."""

    transforms: tuple[str, ...]
    groups: tuple[int, ...]


class UnknownAlgorithmError(Exception):
    """IOS XE has no such algorithm; the text is strongSwan's word for it."""


def ike(proposal: str) -> Ike:
    """A sound IKE proposal for IKEv2. Raises UnknownAlgorithmError."""
    parts = by_kind(proposal)
    encryption = tuple(_ikev2_gcm(word) for word in parts.get("aead", ()))
    encryption += tuple(_ikev2_cipher(word) for word in parts.get("cipher", ()))
    integrity = tuple(_of(_HASHES, word) for word in parts.get("integrity", ()))
    prf = tuple(_of(_PRFS, word) for word in parts.get("prf", ())) or integrity
    if "aead" in parts:
        integrity = ()
    return Ike(encryption, integrity, prf, _groups(parts))


def isakmp(proposal: str) -> tuple[Isakmp, ...]:
    """A sound IKE proposal for IKEv1, where each policy has one algorithm of a kind. Raises UnknownAlgorithmError."""
    parts = by_kind(proposal)
    if "aead" in parts:
        raise UnknownAlgorithmError(parts["aead"][0])
    ciphers = [_isakmp_cipher(word) for word in parts.get("cipher", ())]
    hashes = [_of(_HASHES, word).replace("sha1", "sha") for word in parts.get("integrity", ())]
    return tuple(Isakmp(*one) for one in product(ciphers, hashes, _groups(parts)))


def esp(proposal: str) -> Esp:
    """A sound ESP proposal. Raises UnknownAlgorithmError."""
    parts = by_kind(proposal)
    transforms = [_sized("esp-gcm", _gcm_bits(word)) for word in parts.get("aead", ())]
    hashes = [_of(_HASHES, word).replace("sha1", "sha") for word in parts.get("integrity", ())]
    for word, name in product(parts.get("cipher", ()), hashes):
        transforms.append(f"{_esp_cipher(word)} esp-{name}-hmac")
    if parts.get("esn") == ("esn",):
        raise UnknownAlgorithmError("esn")
    return Esp(tuple(transforms), _groups(parts))


def _groups(parts: Mapping[str, tuple[str, ...]]) -> tuple[int, ...]:
    for word in parts.get("group", ()):
        if GROUPS.get(word) not in _IOS_GROUPS:
            raise UnknownAlgorithmError(word)
    return tuple(GROUPS[word] for word in parts.get("group", ()))


def _of(words: Mapping[str, str], word: str) -> str:
    if word not in words:
        raise UnknownAlgorithmError(word)
    return words[word]


def _gcm_bits(word: str) -> str:
    if match := _GCM.fullmatch(word):
        return match[1] or _DEFAULT_KEY
    raise UnknownAlgorithmError(word)


def _ikev2_gcm(word: str) -> str:
    bits = _gcm_bits(word)
    if bits == "192":  # which ESP has
        raise UnknownAlgorithmError(word)
    return f"aes-gcm-{bits}"


def _ikev2_cipher(word: str) -> str:
    if match := _AES.fullmatch(word):
        return f"aes-cbc-{match[1] or _DEFAULT_KEY}"
    return _of({"des": "des", "3des": "3des"}, word)


def _isakmp_cipher(word: str) -> str:
    if match := _AES.fullmatch(word):
        return _sized("aes", match[1] or _DEFAULT_KEY)
    return _of({"des": "des", "3des": "3des"}, word)


def _esp_cipher(word: str) -> str:
    if match := _AES.fullmatch(word):
        return _sized("esp-aes", match[1] or _DEFAULT_KEY)
    return _of({"des": "esp-des", "3des": "esp-3des", "null": "esp-null"}, word)


def _sized(word: str, bits: str) -> str:
    """Without a number, IOS XE takes 128 bits, and writes it that way."""
    return word if bits == _DEFAULT_KEY else f"{word} {bits}"
