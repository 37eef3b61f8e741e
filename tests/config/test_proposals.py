"""Charon's own parser accepts what is accepted here; other vendors' words are translated, and weak ones named."""

import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from mcastd.config.load import load
from mcastd.config.proposal_words import GROUPS, needs_charon_6, weaknesses
from mcastd.config.proposals import Protocol, by_kind, problem_with
from mcastd.errors import ConfigError

TEXT = (Path(__file__).parents[2] / "etc" / "mcastd.toml").read_text()
LIBRARY = Path("/usr/lib/ipsec/libstrongswan.so.0")
# Its arguments are PROTOCOL:PROPOSAL; it prints those that charon's parser takes.
ASK_CHARON = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.library_init.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
library.library_init(None, b"test")
parse = library.proposal_create_from_string
parse.restype, parse.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_char_p]
for one in sys.argv[2:]:
    protocol, _, proposal = one.partition(":")
    if parse({"ike": 1, "esp": 3}[protocol], proposal.encode()):
        print(one)
"""
SIZES, MODES = ("", "128", "192", "256"), ("ctr", "gcm", "gcm16", "ccm")
WORDS = [
    *(f"{name}{size}" for name in ("aes", "camellia", "serpent", "twofish") for size in SIZES),
    *(f"{name}{size}{mode}" for name, size, mode in product(("aes", "camellia"), SIZES, MODES)),
    *(f"{name}ccm{icv}" for name in ("aes256", "camellia256") for icv in (8, 12, 16, 64, 96, 128)),
    *("null", "des", "3des", "cast128", "blowfish", "blowfish256", "chacha20poly1305", "aesxcbc", "aescmac", "sha"),
    *("sha1", "sha256", "sha384", "sha512", "sha256_96", "md5", "md5_128", "sha1_160", "prfmd5", "prfsha1"),
    *("prfsha256", "prfsha512", "prfaescmac", "esn", "noesn"),
    *(group for group in GROUPS if not group.startswith("mlkem")),
]
PROTOCOLS: tuple[Protocol, ...] = ("ike", "esp")


def around(word: str, protocol: Protocol) -> str:
    """A proposal that is complete but for what the word is."""
    kind = next(iter(by_kind(word)))
    complete = {"cipher": f"{word}-sha256", "aead": word, "integrity": f"aes256-{word}"}
    parts = [complete.get(kind, f"aes256-sha256-{word}")]
    if protocol == "ike":
        parts += [part for part, what in (("prfsha256", "prf"), ("x25519", "group")) if kind != what]
    return "-".join(parts)


def test_charons_parser_takes_what_is_accepted_here() -> None:
    accepted = [
        f"{protocol}:{proposal}"
        for protocol, word in product(PROTOCOLS, WORDS)
        if problem_with(proposal := around(word, protocol), protocol) is None
    ]
    assert len(accepted) > 100
    command = (sys.executable, "-c", ASK_CHARON, str(LIBRARY), *accepted)
    taken = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert taken == accepted


@pytest.mark.parametrize(
    ("proposal", "protocol", "meant"),
    [
        ("aes256-sha256-group14", "ike", "aes256-sha256-modp2048"),
        ("aes256-sha256-dh14", "esp", "aes256-sha256-modp2048"),
        ("aes-256-sha-256-group 14", "ike", "aes256-sha256-modp2048"),
        ("aes 256, sha256, group 14", "ike", "aes256-sha256-modp2048"),
        ("AES256-SHA256-MODP2048", "ike", "aes256-sha256-modp2048"),
        ("aes-cbc-256/sha2-256/14", "ike", "aes256-sha256-modp2048"),
        ("esp-aes 256 esp-sha256-hmac", "esp", "aes256-sha256"),
        ("esp-gcm 256", "esp", "aes256gcm16"),
        ("aes-gcm-256-prfsha256-dh20", "ike", "aes256gcm16-prfsha256-ecp384"),
        ("3des-md5-group2", "ike", "3des-md5-modp1024"),
        ("aes256-sha256-secp256r1", "ike", "aes256-sha256-ecp256"),
        ("aes256-group14", "ike", "aes256-modp2048, no integrity algorithm (e.g. sha256)"),
    ],
)
def test_other_vendors_words_are_translated(proposal: str, protocol: Protocol, meant: str) -> None:
    assert (problem_with(proposal, protocol) or "").endswith(f"; in strongSwan's words {meant}")


@pytest.mark.parametrize("proposal", ["rot13", "", "aes256-sha256-group99", "aes256-sha256-ke8_mlkem768"])
def test_what_nothing_is_like_is_not_translated(proposal: str) -> None:
    assert "unknown algorithm" in (said := problem_with(proposal, "ike") or "")
    assert "words" not in said


def test_ml_kem_is_known_and_needs_a_newer_charon() -> None:
    for proposal, word in (
        ("aes256-sha256-x25519-ke1_mlkem768", "ke1_mlkem768"),
        ("aes256-sha256-mlkem768", "mlkem768"),
    ):
        assert problem_with(proposal, "ike") is problem_with(proposal, "esp") is None
        assert needs_charon_6(proposal) == word
    assert needs_charon_6("aes256-sha256-x25519") is None
    assert "no first key exchange" in (problem_with("aes256-sha256-ke1_mlkem768", "esp") or "")


def notes(text: str, folder: Path) -> list[str]:
    (folder / "m.toml").write_text(text)
    found = load(folder / "m.toml", check_files=False).notes
    return [f"{note.key}: {note.text}" for note in found if ".proposals[" in note.key]


@pytest.mark.parametrize(
    "weak", ["3des-sha256-modp2048", "des-sha256-modp2048", "aes256-md5-modp2048", "aes256-sha256-modp1024",
             "aes256-sha256-modp1536", "aes256-sha256-ecp192", "aes256-sha256-prfmd5-modp2048"]
)  # fmt: skip
def test_what_is_weak_is_named(weak: str, tmp_path: Path) -> None:
    (found,) = notes(TEXT.replace("aes256-sha256-modp2048", weak, 1), tmp_path)
    assert found.startswith("peers.dc-tun.proposals[0]: ")
    assert any(f": {word}: " in found for word in weak.split("-"))
    assert "modp2048 or more" in found


def test_esp_without_encryption_is_named(tmp_path: Path) -> None:
    text = TEXT.replace('["aes256-sha256-modp2048"]  # ESP', '["null-sha256"] # ESP', 1)
    (found,) = notes(text, tmp_path)
    assert found.startswith("peers.dc-tun.children.dc-tun-gre.proposals[0]: null: it encrypts nothing")


def test_what_has_no_effect_is_noted(tmp_path: Path) -> None:
    text = TEXT.replace('["aes256-sha256-modp2048"]  # ESP', '["aes256gcm16-sha256", "aes256gcm16-sha256"] # ESP', 1)
    found = notes(text, tmp_path)
    assert len(found) == 3
    assert "sha256 has no effect beside aes256gcm16" in found[0]
    assert "is there already" in found[-1]


def test_what_is_strong_is_not_named() -> None:
    for proposal in ("aes256-sha256-modp2048", "aes128gcm16-prfsha384-ecp384", "aes256-sha1-modp2048s256"):
        assert list(weaknesses(proposal)) == []


def test_ikev1_has_diffie_hellman_alone(tmp_path: Path) -> None:
    text = TEXT.replace("aes256-sha256-modp2048", "aes256-sha256-mlkem768").replace("# version = 2", "version = 1")
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "m.toml", check_files=False)
    assert len(caught.value.problems) == 3
    assert all("mlkem768: IKEv1 has Diffie-Hellman groups only; allowed: " in one.text for one in caught.value.problems)
