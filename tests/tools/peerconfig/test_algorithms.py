import pytest

from mcastd.config.proposal_words import GROUPS
from mcastd.config.proposals import problem_with
from mcastd.tools.peerconfig.algorithms import Esp, Ike, Isakmp, UnknownAlgorithmError, esp, ike, isakmp


@pytest.mark.parametrize(
    ("proposal", "words"),
    [
        ("aes256-sha256-modp2048", Ike(("aes-cbc-256",), ("sha256",), ("sha256",), (14,))),
        ("aes-sha1-modp1024", Ike(("aes-cbc-128",), ("sha1",), ("sha1",), (2,))),
        ("3des-md5-modp1536", Ike(("3des",), ("md5",), ("md5",), (5,))),
        ("aes256gcm16-prfsha384-ecp384", Ike(("aes-gcm-256",), (), ("sha384",), (20,))),
        ("aes128gcm128-sha256-ecp256", Ike(("aes-gcm-128",), (), ("sha256",), (19,))),
        (
            "aes256-aes192-sha512-sha384-prfsha256-modp4096-ecp521",
            Ike(("aes-cbc-256", "aes-cbc-192"), ("sha512", "sha384"), ("sha256",), (16, 21)),
        ),
    ],
)
def test_ikev2(proposal: str, words: Ike) -> None:
    assert problem_with(proposal, "ike") is None
    assert ike(proposal) == words


@pytest.mark.parametrize(
    ("proposal", "words"),
    [
        ("aes256-sha256-modp2048", (Isakmp("aes 256", "sha256", 14),)),
        ("aes128-sha1-modp1536", (Isakmp("aes", "sha", 5),)),
        ("3des-md5-sha1-modp1024", (Isakmp("3des", "md5", 2), Isakmp("3des", "sha", 2))),
    ],
)
def test_ikev1_has_a_policy_for_each_combination(proposal: str, words: tuple[Isakmp, ...]) -> None:
    assert isakmp(proposal) == words


@pytest.mark.parametrize(
    ("proposal", "words"),
    [
        ("aes256-sha256-modp2048", Esp(("esp-aes 256 esp-sha256-hmac",), (14,))),
        ("aes128-sha1", Esp(("esp-aes esp-sha-hmac",), ())),
        ("aes256gcm16-ecp256", Esp(("esp-gcm 256",), (19,))),
        ("aes128gcm16", Esp(("esp-gcm",), ())),
        ("3des-md5-modp1024", Esp(("esp-3des esp-md5-hmac",), (2,))),
        ("null-sha512", Esp(("esp-null esp-sha512-hmac",), ())),
        (
            "aes256-aes192-sha384-sha256-noesn",
            Esp(
                (
                    "esp-aes 256 esp-sha384-hmac",
                    "esp-aes 256 esp-sha256-hmac",
                    "esp-aes 192 esp-sha384-hmac",
                    "esp-aes 192 esp-sha256-hmac",
                ),
                (),
            ),
        ),
    ],
)
def test_esp(proposal: str, words: Esp) -> None:
    assert problem_with(proposal, "esp") is None
    assert esp(proposal) == words


@pytest.mark.parametrize(
    ("proposal", "word"),
    [
        ("chacha20poly1305-prfsha256-curve25519", "chacha20poly1305"),
        ("aes256gcm8-prfsha256-ecp256", "aes256gcm8"),
        ("aes256ccm16-prfsha256-ecp256", "aes256ccm16"),
        ("aes192gcm16-prfsha256-ecp256", "aes192gcm16"),
        ("aes256ctr-sha256-modp2048", "aes256ctr"),
        ("camellia256-sha256-modp2048", "camellia256"),
        ("aes256-aesxcbc-modp2048", "aesxcbc"),
        ("aes256-sha256-curve25519", "curve25519"),
        ("aes256-sha256-modp6144", "modp6144"),
        ("aes256-sha256-ecp256bp", "ecp256bp"),
        ("aes256-sha256-prfaesxcbc-modp2048", "prfaesxcbc"),
    ],
)
def test_what_ios_xe_does_not_have_is_named(proposal: str, word: str) -> None:
    assert problem_with(proposal, "ike") is None
    with pytest.raises(UnknownAlgorithmError, match=f"^{word}$"):
        ike(proposal)


def test_ikev1_and_esp_refuse_too() -> None:
    with pytest.raises(UnknownAlgorithmError, match="aes256gcm16"):
        isakmp("aes256gcm16-prfsha256-modp2048")
    with pytest.raises(UnknownAlgorithmError, match="sha256_96"):
        esp("aes256-sha256_96")
    with pytest.raises(UnknownAlgorithmError, match=r"^esn$"):
        esp("aes256-sha256-esn")


def test_every_group_is_one_that_charon_has() -> None:
    assert all(problem_with(f"aes256-sha256-{group}", "ike") is None for group in GROUPS)
