from ipaddress import IPv4Address, IPv4Interface
from itertools import product
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.config.model import Tunnel
from mcastd.config.mtu import gre_header, largest_mtu
from mcastd.config.proposals import Esp, Protocol, esp_of_proposal, esp_of_sa, problem_with
from mcastd.net.gre import GreHeader, GreOptions

Mode = Literal["tunnel", "transport", "interface"]

CBC = Esp(iv=16, block=16, icv=16)
GCM = Esp(iv=8, block=4, icv=16)


@pytest.mark.parametrize(
    ("mode", "esp", "encap", "expected"),
    [
        ("transport", CBC, False, 1434),
        ("transport", CBC, True, 1418),
        ("transport", GCM, False, 1442),
        ("transport", GCM, True, 1434),
        ("tunnel", CBC, False, 1414),
        ("tunnel", CBC, True, 1398),
        ("tunnel", GCM, False, 1422),
        ("tunnel", GCM, True, 1414),
    ],
)
def test_the_known_sizes_over_1500_bytes(mode: Mode, esp: Esp, encap: bool, expected: int) -> None:
    assert largest_mtu(1500, esp, mode=mode, encap=encap) == expected
    assert largest_mtu(1500, esp, mode=mode, encap=encap, gre=8) == expected - 4


@pytest.mark.parametrize(("esp", "encap", "expected"), [(CBC, True, 1422), (CBC, False, 1438), (GCM, True, 1438)])
def test_without_gre_an_xfrm_interface_carries_24_bytes_more(esp: Esp, encap: bool, expected: int) -> None:
    assert largest_mtu(1500, esp, mode="interface", encap=encap, gre=None) == expected
    assert largest_mtu(1500, esp, mode="interface", encap=encap) == expected - 24


def test_each_option_of_the_gre_header_takes_four_bytes() -> None:
    tunnel = Tunnel(name="gre1", local=IPv4Address(1), remote=IPv4Address(2), address=IPv4Interface("10.44.4.6/30"))
    assert gre_header(tunnel) == 4
    for key, checksum, sequence in product((None, 0, 40), (False, True), (False, True)):
        changed = msgspec.structs.replace(tunnel, gre=GreOptions(key, checksum, sequence))
        packet = GreHeader(0x0800, key, 0 if sequence else None, checksum).encode(b"")
        assert gre_header(changed) == len(packet)
    assert gre_header(msgspec.structs.replace(tunnel, encapsulation="none")) is None


def test_without_ipsec_only_gre_is_added() -> None:
    assert largest_mtu(1500, None) == 1476
    assert largest_mtu(1400, None) == 1376
    assert largest_mtu(1400, None, gre=8) == 1372


def wire_size(mtu: int, esp: Esp, mode: Mode, encap: bool, gre: int | None) -> int:
    """The outer packet of a full one on the tunnel, built from the inside out (RFC 4303, section 2.4)."""
    packet = mtu if gre is None else mtu + gre + 20
    inside = packet - 20 * (mode == "transport") + 2
    padded = -(-inside // esp.block) * esp.block
    return 20 + 8 * encap + 8 + esp.iv + padded + esp.icv


@given(
    path=st.integers(600, 9001),
    esp=st.builds(Esp, st.sampled_from((0, 8, 16)), st.sampled_from((4, 8, 16)), st.sampled_from((8, 12, 16, 24, 32))),
    mode=st.sampled_from(("tunnel", "transport", "interface")),
    encap=st.booleans(),
    gre=st.none() | st.sampled_from((4, 8, 12, 16)),
)
def test_the_largest_fits_and_one_more_does_not(path: int, esp: Esp, mode: Mode, encap: bool, gre: int | None) -> None:
    mtu = largest_mtu(path, esp, mode=mode, encap=encap, gre=gre)
    assert wire_size(mtu, esp, mode, encap, gre) <= path < wire_size(mtu + 1, esp, mode, encap, gre)


@pytest.mark.parametrize(
    ("proposal", "expected"),
    [
        ("aes256-sha256-modp2048", (CBC,)),
        ("aes128-sha1", (Esp(16, 16, 12),)),
        ("aes256-sha384", (Esp(16, 16, 24),)),
        ("aes256-sha512-ecp384-esn", (Esp(16, 16, 32),)),
        ("3des-md5", (Esp(8, 8, 12),)),
        ("aes256gcm16-modp2048", (GCM,)),
        ("aes128gcm128", (GCM,)),
        ("aes256gcm", (GCM,)),
        ("aes256gcm64", (Esp(8, 4, 8),)),
        ("aes128ccm12", (Esp(8, 4, 12),)),
        ("aes256ctr-sha256", (Esp(8, 4, 16),)),
        ("chacha20poly1305-x25519", (GCM,)),
        ("aes256-aes128-sha1-sha256", (Esp(16, 16, 12), CBC) * 2),
    ],
)
def test_what_esp_adds_by_its_proposal(proposal: str, expected: tuple[Esp, ...]) -> None:
    assert problem_with(proposal, "esp") is None
    assert esp_of_proposal(proposal) == expected


@pytest.mark.parametrize(
    ("encr", "integ", "expected"),
    [
        ("AES_CBC", "HMAC_SHA2_256_128", CBC),
        ("AES_CBC", "HMAC_SHA1_96", Esp(16, 16, 12)),
        ("AES_CBC", "HMAC_SHA2_512_256", Esp(16, 16, 32)),
        ("3DES_CBC", "HMAC_MD5_96", Esp(8, 8, 12)),
        ("AES_GCM_16", None, GCM),
        ("AES_GCM_8", None, Esp(8, 4, 8)),
        ("CHACHA20_POLY1305", None, GCM),
        ("AES_CBC", None, None),
        ("ROT_13", "HMAC_SHA1_96", None),
    ],
)
def test_what_esp_adds_by_the_names_of_list_sas(encr: str, integ: str | None, expected: Esp | None) -> None:
    assert esp_of_sa(encr, integ) == expected


@pytest.mark.parametrize(
    ("protocol", "proposal", "reason"),
    [
        ("esp", "aes256-sha256!", "leave out the '!'"),
        ("esp", "aes257-sha256", "'aes257'"),
        ("esp", "", "''"),
        ("esp", "AES256-sha256", "'AES256'"),
        ("esp", "aes256-sha256 ", "'sha256 '"),
        ("esp", "aes256", "no integrity"),
        ("esp", "sha256-modp2048", "no encryption"),
        ("esp", "aes256-aes256gcm16-sha256", "make them two"),
        ("esp", "aes256-sha256-prfsha256", "IKE only"),
        ("ike", "aes256-sha256", "no Diffie-Hellman"),
        ("ike", "aes256gcm16-modp2048", "no pseudo-random"),
        ("ike", "aes256-sha256-modp2048-esn", "ESP only"),
    ],
)
def test_unsound_proposals(protocol: Protocol, proposal: str, reason: str) -> None:
    assert reason in (problem_with(proposal, protocol) or "it is sound")


@pytest.mark.parametrize(
    "proposal",
    ["aes256-sha256-modp2048", "aes256gcm16-prfsha384-ecp384", "aes128-aes256-sha1-sha256-modp1024-curve25519"],
)
def test_sound_proposals_for_ike(proposal: str) -> None:
    assert problem_with(proposal, "ike") is None


def test_every_cipher_of_a_proposal_counts_once_for_each_integrity() -> None:
    for cipher, integrity in product(("aes256", "3des", "camellia192"), ("sha1", "sha256", "aescmac")):
        assert len(esp_of_proposal(f"{cipher}-{integrity}-modp2048")) == 1
