"""strongSwan's proposals as Cisco IOS XE writes them.

IOS XE's keywords are those of its commands ``crypto ikev2 proposal``, ``crypto isakmp policy``, ``crypto ipsec
transform-set`` and ``set pfs``; group numbers are IANA's (RFC 3526, 5114, 5903, 8031).
"""

import re
from collections.abc import Callable, Mapping
from itertools import product
from typing import Final, NamedTuple

from mcastd.config.proposal_words import GROUPS
from mcastd.config.proposals import by_kind

_IOS_GROUPS: Final = frozenset((1, 2, 5, 14, 15, 16, 19, 20, 21, 24))
_AES: Final = re.compile(r"aes(128|192|256)?")
_GCM: Final = re.compile(r"aes(128|192|256)?gcm(?:16|128)?")
_NAMES: Final = ("md5", "sha1", "sha256", "sha384", "sha512")
_HASHES: Final = {
    **{name: name for name in _NAMES},
    "sha": "sha1",
    "sha2_256": "sha256",
    "sha2_384": "sha384",
    "sha2_512": "sha512",
}
_PRFS: Final = {f"prf{name}": name for name in _NAMES}
_CIPHERS: Final = {"des": "des", "3des": "3des"}
_ESP_CIPHERS: Final = {"des": "esp-des", "3des": "esp-3des", "null": "esp-null"}


class Ike(NamedTuple):
    """One ``crypto ikev2 proposal``: its keywords. ``integrity`` is empty with AES-GCM."""

    encryption: tuple[str, ...]
    integrity: tuple[str, ...]
    prf: tuple[str, ...]
    groups: tuple[int, ...]


class Isakmp(NamedTuple):
    """One ``crypto isakmp policy`` (IKEv1)."""

    encryption: str
    hash: str
    group: int


class Esp(NamedTuple):
    """One ESP proposal: the keywords of each transform set that it allows, and the groups for PFS."""

    transforms: tuple[str, ...]
    groups: tuple[int, ...]


class UnknownAlgorithmError(Exception):
    """IOS XE does not have the algorithm; the text is strongSwan's keyword for it."""


def ike(proposal: str) -> Ike:
    """A valid IKE proposal for IKEv2. Raises UnknownAlgorithmError."""
    parts = by_kind(proposal)
    encryption = [f"aes-gcm-{_bits(_GCM, word, refused='192')}" for word in parts.get("aead", ())]
    encryption += [_cipher(word, "aes-cbc-{}".format, _CIPHERS) for word in parts.get("cipher", ())]
    integrity = tuple(_of(_HASHES, word) for word in parts.get("integrity", ()))
    prf = tuple(_of(_PRFS, word) for word in parts.get("prf", ())) or integrity
    return Ike(tuple(encryption), () if "aead" in parts else integrity, prf, _groups(parts))


def isakmp(proposal: str) -> tuple[Isakmp, ...]:
    """A valid IKE proposal for IKEv1, where each policy has one algorithm of a kind. Raises UnknownAlgorithmError."""
    parts = by_kind(proposal)
    for word in parts.get("aead", ()):
        raise UnknownAlgorithmError(word)
    ciphers = [_cipher(word, _sized("aes"), _CIPHERS) for word in parts.get("cipher", ())]
    return tuple(Isakmp(*one) for one in product(ciphers, _hashes(parts), _groups(parts)))


def esp(proposal: str) -> Esp:
    """A valid ESP proposal. Raises UnknownAlgorithmError."""
    parts = by_kind(proposal)
    if parts.get("esn") == ("esn",):
        raise UnknownAlgorithmError("esn")
    transforms = [_sized("esp-gcm")(_bits(_GCM, word)) for word in parts.get("aead", ())]
    ciphers = [_cipher(word, _sized("esp-aes"), _ESP_CIPHERS) for word in parts.get("cipher", ())]
    transforms += [f"{cipher} esp-{name}-hmac" for cipher, name in product(ciphers, _hashes(parts))]
    return Esp(tuple(transforms), _groups(parts))


def _groups(parts: Mapping[str, tuple[str, ...]]) -> tuple[int, ...]:
    for word in parts.get("additional", ()):
        raise UnknownAlgorithmError(word)
    for word in parts.get("group", ()):
        if GROUPS.get(word) not in _IOS_GROUPS:
            raise UnknownAlgorithmError(word)
    return tuple(GROUPS[word] for word in parts.get("group", ()))


def _hashes(parts: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The hashes of IKEv1 and ESP, where SHA-1 is ``sha``."""
    return [_of(_HASHES, word).replace("sha1", "sha") for word in parts.get("integrity", ())]


def _of(keywords: Mapping[str, str], word: str) -> str:
    if word not in keywords:
        raise UnknownAlgorithmError(word)
    return keywords[word]


def _bits(aes: re.Pattern[str], word: str, refused: str = "") -> str:
    """The length of an AES key, which is 128 by default."""
    match = aes.fullmatch(word)
    bits = (match[1] or "128") if match else refused
    if bits == refused:
        raise UnknownAlgorithmError(word)
    return bits


def _cipher(word: str, aes: Callable[[str], str], others: Mapping[str, str]) -> str:
    return aes(_bits(_AES, word)) if _AES.fullmatch(word) else _of(others, word)


def _sized(keyword: str) -> Callable[[str], str]:
    """A keyword with the length of the key behind it; IOS XE writes 128 bits without a number."""
    return lambda bits: keyword if bits == "128" else f"{keyword} {bits}"
