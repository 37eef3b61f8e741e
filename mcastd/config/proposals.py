"""charon's algorithm proposals (``aes256-sha256-modp2048``): whether they are valid, and what their ESP adds in bytes.

The keywords are those of strongSwan's proposal parser, limited to the algorithms that its stock plugins carry; the
sizes are those of RFC 3602, 3686, 4106, 4309, 4868 and 7634.
"""

import re
from typing import Final, Literal

import msgspec

from mcastd.config.proposal_words import in_strongswans_words

Protocol = Literal["ike", "esp"]


class Esp(msgspec.Struct, frozen=True):
    """What an ESP transform adds, in bytes (RFC 4303, section 2): initialisation vector, alignment, integrity check."""

    iv: int
    block: int
    icv: int


# For each cipher: keyword, name in VICI's list-sas (encr-alg), length of the IV, alignment.
_CIPHERS: Final[tuple[tuple[str, str, int, int], ...]] = (
    (r"null", r"NULL", 0, 4),
    (r"(?:des|3des|cast128|blowfish(?:128|192|256)?)", r"(?:DES|3DES|CAST|BLOWFISH)_CBC", 8, 8),
    (r"(?:aes|camellia)(?:128|192|256)?", r"(?:AES|CAMELLIA)_CBC", 16, 16),
    (r"(?:serpent|twofish)(?:128|192|256)?", r"(?:SERPENT|TWOFISH)_CBC", 16, 16),
    (r"(?:aes|camellia)(?:128|192|256)ctr", r"(?:AES|CAMELLIA)_CTR", 8, 4),
)
_AEAD: Final = re.compile(
    r"(?:aes(?:128|192|256)[gc]cm(8|12|16|64|96|128)?|camellia(?:128|192|256)ccm(8|12|16|64|96|128))"
)
_AEAD_ICV: Final = {"8": 8, "64": 8, "12": 12, "96": 12, "16": 16, "128": 16}
_CHACHA: Final = re.compile(r"chacha20poly1305(?:compat)?")
_INTEGRITY_BY_ICV: Final = {
    12: "md5 sha sha1 sha256_96 sha2_256_96 aesxcbc camelliaxcbc aescmac",
    16: "md5_128 sha256 sha2_256",
    20: "sha1_160",
    24: "sha384 sha2_384",
    32: "sha512 sha2_512",
}
_INTEGRITY: Final = {keyword: icv for icv, keywords in _INTEGRITY_BY_ICV.items() for keyword in keywords.split()}
_PRF: Final = re.compile(r"prf(?:md5|sha1|sha256|sha384|sha512|aesxcbc|camelliaxcbc|aescmac)")
_GROUP: Final = re.compile(
    r"modp(?:768|1024|1536|2048|3072|4096|6144|8192|1024s160|2048s224|2048s256)"
    r"|ecp(?:192|224|256|384|521|224bp|256bp|384bp|512bp)|curve25519|x25519|curve448|x448|mlkem(?:512|768|1024)"
)
_ADDITIONAL: Final = re.compile(rf"ke[1-7]_(?:none|{_GROUP.pattern})")  # RFC 9370
_ESN: Final = re.compile(r"(?:no)?esn")
_AEAD_OF_SA: Final = re.compile(r"(?:AES_GCM|AES_CCM|CAMELLIA_CCM)_(8|12|16)")
# integ-alg of list-sas; the name ends with the length of the ICV in bits.
_INTEGRITY_OF_SA: Final = re.compile(
    r"(?:HMAC_(?:MD5|SHA1|SHA2_256|SHA2_384|SHA2_512)|AES_XCBC|CAMELLIA_XCBC|AES_CMAC)_(96|128|160|192|256)"
)


def problem_with(proposal: str, protocol: Protocol) -> str | None:
    """Why charon would refuse the proposal; None if it is valid."""
    found = by_kind(proposal)
    unknown = found.get("", ())
    rules = (
        (proposal.endswith("!"), "leave out the '!', since proposals are always strict"),
        (unknown, f"unknown algorithm {', '.join(map(repr, unknown))}"),
        ("cipher" in found and "aead" in found, "AEAD and other ciphers in one proposal; make them two"),
        ("cipher" not in found and "aead" not in found, "no encryption algorithm (e.g. aes256)"),
        ("cipher" in found and "integrity" not in found, "no integrity algorithm (e.g. sha256)"),
        (protocol == "esp" and "prf" in found, "a pseudo-random function is for IKE only"),
        (protocol == "ike" and not {"integrity", "prf"} & found.keys(), "no pseudo-random function (e.g. prfsha256)"),
        (protocol == "ike" and "group" not in found, "no Diffie-Hellman group (e.g. modp2048)"),
        ("additional" in found and "group" not in found, "no first key exchange (e.g. x25519) for a further one"),
        (protocol == "ike" and "esn" in found, "sequence numbers (esn, noesn) are for ESP only"),
    )
    problem = next((text for is_violated, text in rules if is_violated), None)
    if unknown and (meant := in_strongswans_words(proposal, lambda word: _kind(word) is not None)):
        further = problem_with(meant, protocol)
        return f"{problem}; in strongSwan's words {meant}{f', {further}' if further else ''}"
    return problem


def by_kind(proposal: str) -> dict[str, tuple[str, ...]]:
    """The keywords of a proposal by kind: cipher, aead, integrity, prf, group, additional, esn; ``""``: unknown."""
    found: dict[str, tuple[str, ...]] = {}
    for token in proposal.split("-"):
        kind = _kind(token) or ""
        found[kind] = (*found.get(kind, ()), token)
    return found


def esp_of_proposal(proposal: str) -> tuple[Esp, ...]:
    """What ESP may add under a valid proposal: one entry for each pair of a cipher and an integrity algorithm."""
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
    if aead := _AEAD_OF_SA.fullmatch(encr_alg):
        return Esp(8, 4, int(aead[1]))
    if encr_alg == "CHACHA20_POLY1305":
        return Esp(8, 4, 16)
    integrity = _INTEGRITY_OF_SA.fullmatch(integ_alg or "")
    cipher = next(((iv, block) for _, name, iv, block in _CIPHERS if re.fullmatch(name, encr_alg)), None)
    return Esp(*cipher, int(integrity[1]) // 8) if cipher and integrity else None


def _kind(token: str) -> str | None:
    if _aead(token):
        return "aead"
    if _cipher(token):
        return "cipher"
    if token in _INTEGRITY:
        return "integrity"
    for kind, pattern in (("prf", _PRF), ("group", _GROUP), ("additional", _ADDITIONAL), ("esn", _ESN)):
        if pattern.fullmatch(token):
            return kind
    return None


def _aead(token: str) -> Esp | None:
    if _CHACHA.fullmatch(token):
        return Esp(8, 4, 16)
    match = _AEAD.fullmatch(token)
    return Esp(8, 4, _AEAD_ICV[match[1] or match[2] or "16"]) if match else None


def _cipher(token: str) -> tuple[int, int] | None:
    return next(((iv, block) for keyword, _, iv, block in _CIPHERS if re.fullmatch(keyword, token)), None)
