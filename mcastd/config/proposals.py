"""charon's algorithm proposals (``aes256-sha256-modp2048``): are they sound, and how many bytes does their ESP add?

The keywords are those of strongSwan's proposal parser, limited to the algorithms that its stock plugins carry; the
sizes are those of RFC 3602, 3686, 4106, 4309, 4868 and 7634.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

Protocol = Literal["ike", "esp"]


@dataclass(frozen=True)
class Esp:
    """What an ESP transform adds, in bytes (RFC 4303, section 2): initialisation vector, alignment, integrity check."""

    iv: int
    block: int
    icv: int


_CIPHERS: Final[tuple[tuple[str, int, int], ...]] = (  # keyword, IV, alignment
    (r"null", 0, 4),
    (r"(?:des|3des|cast128|blowfish(?:128|192|256)?)", 8, 8),
    (r"(?:aes|camellia)(?:128|192|256)?", 16, 16),
    (r"(?:serpent|twofish)(?:128|192|256)?", 16, 16),
    (r"(?:aes|camellia)(?:128|192|256)?ctr", 8, 4),
)
_AEAD: Final = re.compile(r"(?:aes|camellia)(?:128|192|256)?(?:gcm|ccm)(8|12|16|64|96|128)?")
_AEAD_ICV: Final = {"8": 8, "64": 8, "12": 12, "96": 12, "16": 16, "128": 16}
_CHACHA: Final = re.compile(r"chacha20poly1305(?:compat)?")
_INTEGRITY: Final = {
    "md5": 12,
    "md5_128": 16,
    "sha": 12,
    "sha1": 12,
    "sha1_160": 20,
    "sha256": 16,
    "sha2_256": 16,
    "sha256_96": 12,
    "sha2_256_96": 12,
    "sha384": 24,
    "sha2_384": 24,
    "sha512": 32,
    "sha2_512": 32,
    "aesxcbc": 12,
    "camelliaxcbc": 12,
    "aescmac": 12,
}
_PRF: Final = re.compile(r"prf(?:md5|sha1|sha256|sha384|sha512|aesxcbc|camelliaxcbc|aescmac)")
_GROUP: Final = re.compile(
    r"modp(?:768|1024|1536|2048|3072|4096|6144|8192|1024s160|2048s224|2048s256)"
    r"|ecp(?:192|224|256|384|521|224bp|256bp|384bp|512bp)|curve25519|x25519|curve448|x448"
)
_ESN: Final = re.compile(r"(?:no)?esn")

# The names of VICI's list-sas: encr-alg, whose IV and alignment follow, and integ-alg, whose ICV does.
_VICI_CIPHERS: Final = {
    "NULL": (0, 4),
    "DES_CBC": (8, 8),
    "3DES_CBC": (8, 8),
    "CAST_CBC": (8, 8),
    "BLOWFISH_CBC": (8, 8),
    "AES_CBC": (16, 16),
    "CAMELLIA_CBC": (16, 16),
    "SERPENT_CBC": (16, 16),
    "TWOFISH_CBC": (16, 16),
    "AES_CTR": (8, 4),
    "CAMELLIA_CTR": (8, 4),
}
_VICI_AEAD: Final = re.compile(r"(?:AES_GCM|AES_CCM|CAMELLIA_CCM)_(8|12|16)")
_VICI_INTEGRITY: Final = {
    "HMAC_MD5_96": 12,
    "HMAC_MD5_128": 16,
    "HMAC_SHA1_96": 12,
    "HMAC_SHA1_160": 20,
    "HMAC_SHA2_256_96": 12,
    "HMAC_SHA2_256_128": 16,
    "HMAC_SHA2_384_192": 24,
    "HMAC_SHA2_512_256": 32,
    "AES_XCBC_96": 12,
    "CAMELLIA_XCBC_96": 12,
    "AES_CMAC_96": 12,
}


def problem_with(proposal: str, protocol: Protocol) -> str | None:
    """Why charon would refuse the proposal, in words; None if it is sound."""
    if proposal.endswith("!"):
        return "proposals are strict here as they are, leave out the '!'"
    tokens = proposal.split("-")
    kinds = [_kind(token) for token in tokens]
    if None in kinds:
        return f"charon knows no algorithm {tokens[kinds.index(None)]!r}"
    if "cipher" in kinds and "aead" in kinds:
        return "AEAD and other ciphers do not mix, make them two proposals"
    if "cipher" not in kinds and "aead" not in kinds:
        return "it has no encryption, for instance aes256"
    if "cipher" in kinds and "integrity" not in kinds:
        return "it has no integrity, for instance sha256"
    if protocol == "ike":
        if "integrity" not in kinds and "prf" not in kinds:
            return "it has no pseudo-random function, for instance prfsha256"
        if "group" not in kinds:
            return "it has no Diffie-Hellman group, for instance modp2048"
        if "esn" in kinds:
            return "sequence numbers (esn, noesn) are for ESP only"
    elif "prf" in kinds:
        return "a pseudo-random function is for IKE only"
    return None


def by_kind(proposal: str) -> dict[str, tuple[str, ...]]:
    """The keywords of a sound proposal: ``cipher``, ``aead``, ``integrity``, ``prf``, ``group``, ``esn``."""
    found: dict[str, tuple[str, ...]] = {}
    for token in proposal.split("-"):
        kind = _kind(token) or ""
        found[kind] = (*found.get(kind, ()), token)
    return found


def esp_of_proposal(proposal: str) -> tuple[Esp, ...]:
    """What ESP may add under a sound ESP proposal: one entry for each cipher and integrity algorithm that it allows."""
    tokens = proposal.split("-")
    integrity = [_INTEGRITY[token] for token in tokens if token in _INTEGRITY]
    found = []
    for token in tokens:
        if aead := _aead(token):
            found.append(aead)
        elif cipher := _cipher(token):
            found.extend(Esp(*cipher, icv) for icv in integrity)
    return tuple(found)


def esp_of_sa(encr_alg: str, integ_alg: str | None = None) -> Esp | None:
    """What the ESP of an SA adds, by the names of ``list-sas`` (``AES_CBC``, ``HMAC_SHA2_256_128``); None: unknown."""
    if aead := _VICI_AEAD.fullmatch(encr_alg):
        return Esp(8, 4, int(aead[1]))
    if encr_alg == "CHACHA20_POLY1305":
        return Esp(8, 4, 16)
    cipher, icv = _VICI_CIPHERS.get(encr_alg), _VICI_INTEGRITY.get(integ_alg or "")
    return Esp(*cipher, icv) if cipher is not None and icv is not None else None


def _kind(token: str) -> str | None:
    if _aead(token):
        return "aead"
    if _cipher(token):
        return "cipher"
    if token in _INTEGRITY:
        return "integrity"
    for kind, pattern in (("prf", _PRF), ("group", _GROUP), ("esn", _ESN)):
        if pattern.fullmatch(token):
            return kind
    return None


def _aead(token: str) -> Esp | None:
    if _CHACHA.fullmatch(token):
        return Esp(8, 4, 16)
    match = _AEAD.fullmatch(token)
    return Esp(8, 4, _AEAD_ICV[match[1] or "16"]) if match else None


def _cipher(token: str) -> tuple[int, int] | None:
    return next(((iv, block) for pattern, iv, block in _CIPHERS if re.fullmatch(pattern, token)), None)
