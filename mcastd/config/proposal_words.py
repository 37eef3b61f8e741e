"""What a proposal that charon would refuse probably means, in strongSwan's words, and which valid ones are weak."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

GROUPS: Final[Mapping[str, int]] = {
    "modp768": 1,
    "modp1024": 2,
    "modp1536": 5,
    "modp2048": 14,
    "modp3072": 15,
    "modp4096": 16,
    "modp6144": 17,
    "modp8192": 18,
    "modp1024s160": 22,
    "modp2048s224": 23,
    "modp2048s256": 24,
    "ecp256": 19,
    "ecp384": 20,
    "ecp521": 21,
    "ecp192": 25,
    "ecp224": 26,
    "curve25519": 31,
    "x25519": 31,
    "curve448": 32,
    "x448": 32,
    "mlkem512": 35,
    "mlkem768": 36,
    "mlkem1024": 37,
}
"""The numbers of key exchange methods in IKE, Diffie-Hellman groups among them."""

_BY_NUMBER: Final = {number: word for word, number in GROUPS.items()}
_SEPARATORS: Final = re.compile(r"[\s,;/+:_-]+")
# As other vendors write them, after the separators are gone: what strongSwan's word is made of.
_OTHERS: Final[tuple[tuple[str, str | Callable[[re.Match[str]], str | None]], ...]] = (
    (r"(?:dh|pfs|grp|group)*(\d{1,2})", lambda found: _BY_NUMBER.get(int(found[1]))),
    (r"(?:esp)?aes(?:cbc)?(128|192|256)(?:cbc)?", r"aes\1"),
    (r"(?:esp)?aes(?:cbc)?", "aes128"),
    (r"(?:esp)?(?:aes)?gcm(?:16)?(128|192|256)?(?:16)?", lambda found: f"aes{found[1] or 256}gcm16"),
    (r"(?:esp)?aes(128|192|256)gcm", r"aes\1gcm16"),
    (r"(?:esp)?(?:3des|tripledes|des3)(?:cbc)?", "3des"),
    (r"(?:esp)?(?:hmac)?sha(?:2)?(256|384|512)(?:128|192|256)?(?:hmac)?", r"sha\1"),
    (r"(?:esp)?(?:hmac)?sha1?(?:96)?(?:hmac)?", "sha1"),
    (r"(?:esp)?(?:hmac)?md5(?:96)?(?:hmac)?", "md5"),
    (r"prf(?:hmac)?sha2?(256|384|512)", r"prfsha\1"),
    (r"(?:nistp|secp|p|ecp|ecdh|prime)(256|384|521)(?:[rv]1)?", r"ecp\1"),
    (r"(?:x|curve|ecdh)25519", "x25519"),
    (r"mlkem(512|768|1024)", r"mlkem\1"),
)  # fmt: skip
_WEAK: Final = {
    r"null": "it encrypts nothing, so that all can be read on the way",
    r"des": "DES has been broken",
    r"(?:3des|cast128|blowfish\d*)": "its blocks of 64 bits do not suffice for a feed's volume",
    r"(?:prf)?md5(?:_128)?": "MD5 has been broken",
    r"modp(768|1024|1536)": "the Diffie-Hellman group has less than 2048 bits",
    r"modp1024s160": "the Diffie-Hellman group has less than 2048 bits",
    r"ecp192": "the group is weaker than one of 2048 bits",
}
_STRONG: Final = "allowed for other sides that have nothing else; better: aes256, sha256, modp2048 or more"


def in_strongswans_words(proposal: str, is_known: Callable[[str], bool]) -> str | None:
    """The proposal that is probably meant by one in another vendor's words; None if a word is unknown."""
    words = [word for word in _SEPARATORS.split(proposal.strip().lower().rstrip("!")) if word]
    meant = []
    while words:
        # A name may have separators in it, "group 14" or "aes-cbc-256": the longest that is known.
        for length in range(min(4, len(words)), 0, -1):
            if word := _meant("".join(words[:length]), is_known):
                meant.append(word)
                words = words[length:]
                break
        else:
            return None
    return "-".join(meant) or None


def _meant(word: str, is_known: Callable[[str], bool]) -> str | None:
    if is_known(word):
        return word
    for pattern, replacement in _OTHERS:
        if found := re.fullmatch(pattern, word):
            return found.expand(replacement) if isinstance(replacement, str) else replacement(found)
    return None


def weaknesses(proposal: str) -> Iterator[str]:
    """What is weak in a valid proposal, each with its name and why (RFC 8221, RFC 8247)."""
    for word in proposal.split("-"):
        for pattern, why in _WEAK.items():
            if re.fullmatch(pattern, word):
                yield f"{word}: {why}; {_STRONG}"


def needs_charon_6(proposal: str) -> str | None:
    """The word in a valid proposal that charon has since strongSwan 6.0 alone: ML-KEM, or a second key exchange."""
    return next((word for word in proposal.split("-") if re.match(r"mlkem|ke\d_", word)), None)


def not_in_the_kernel(proposal: str) -> str | None:
    """The word in a valid proposal for ESP that charon cannot install in the kernel (its kernel-netlink plugin)."""
    return next((word for word in proposal.split("-") if re.match(r"camellia(?:\d+(?:ctr|ccm)|xcbc)", word)), None)
