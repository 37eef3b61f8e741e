import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.contrib import ikev2
from scapy.layers import isakmp
from scapy.packet import Packet

from mcastd.errors import DecodeError
from mcastd.tools.trace.ike import words

I_SPI, R_SPI = bytes.fromhex("a62a46f88ff6e9c2"), bytes.fromhex("50d27be1188d653d")


def header(first: int, exchange: int, flags: int, number: int = 0, version: int = 0x20, more: int = 0) -> bytes:
    return struct.pack("!8s8sBBBBII", I_SPI, R_SPI, first, version, exchange, flags, number, 28 + more)


SA_INIT = (
    ikev2.IKEv2(init_SPI=I_SPI, exch_type=34, flags=8, id=0)
    / ikev2.IKEv2_SA(
        prop=ikev2.IKEv2_Proposal(
            proto=1,
            trans_nb=2,
            trans=ikev2.IKEv2_Transform(transform_type=1, transform_id=12, length=12, key_length=0x800E0100)
            / ikev2.IKEv2_Transform(transform_type=4, transform_id=14),
        )
    )
    / ikev2.IKEv2_Nonce(nonce=bytes(16))
    / ikev2.IKEv2_Notify(type=16388)
)
SPIS = "SPIs a62a46f88ff6e9c2_i 50d27be1188d653d_r"


def test_what_is_in_the_clear_is_told_by_payloads_and_proposals() -> None:
    message = bytes(SA_INIT)
    assert words(message) == (
        f"IKEv2 IKE_SA_INIT request 0 of the initiator, SPIs a62a46f88ff6e9c2_i 0000000000000000_r, "
        f"length {len(message)}: SA (AES-CBC-256/2048MODPgr), Nonce, NAT_DETECTION_SOURCE_IP"
    )


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (header(46, 35, 0x08, 1), f"IKEv2 IKE_AUTH request 1 of the initiator, {SPIS}, length 28, encrypted"),
        (header(46, 36, 0x20, 7), f"IKEv2 CREATE_CHILD_SA response 7 of the responder, {SPIS}, length 28, encrypted"),
        (header(53, 37, 0x00, 2), f"IKEv2 INFORMATIONAL request 2 of the responder, {SPIS}, length 28, encrypted"),
        (header(0, 99, 0x28, 2), f"IKEv2 exchange 99 response 2 of the initiator, {SPIS}, length 28: no payload"),
        (header(0, 2, 0, 0, 0x10), f"IKEv1 Main Mode, message 00000000, {SPIS}, length 28: no payload"),
        (header(8, 32, 1, 0xABC, 0x10), f"IKEv1 Quick Mode, message 00000abc, {SPIS}, length 28, encrypted"),
        (
            header(46, 35, 0x08, 1) + b"behind",
            f"IKEv2 IKE_AUTH request 1 of the initiator, {SPIS}, length 28, encrypted",
        ),
    ],
)
def test_exchange_direction_and_number(message: bytes, said: str) -> None:
    assert words(message) == said


def main_mode(*transforms: Packet, vendors: int) -> bytes:
    offered = transforms[0]
    for transform in transforms[1:]:
        offered /= transform
    proposal = isakmp.ISAKMP_payload_Proposal(trans_nb=len(transforms), trans=offered)
    message = isakmp.ISAKMP(init_cookie=I_SPI, exch_type=2) / isakmp.ISAKMP_payload_SA(prop=proposal)
    for _ in range(vendors):
        message /= isakmp.ISAKMP_payload_VendorID(VendorID=bytes(16))
    return bytes(message)


FIRST = isakmp.ISAKMP_payload_Transform(
    transforms=[
        ("Encryption", "AES-CBC"),
        ("KeyLength", 256),
        ("Hash", "SHA2-256"),
        ("GroupDesc", "2048MODPgr"),
        ("Authentication", "PSK"),
        ("LifeType", "Seconds"),
        ("LifeDuration", 86400),
    ]
)
SECOND = isakmp.ISAKMP_payload_Transform(transform_count=2, transforms=[("Encryption", "3DES-CBC"), ("Hash", "SHA")])


def test_main_mode_is_told_by_transforms() -> None:
    assert words(main_mode(FIRST, SECOND, vendors=3)).endswith(
        ": SA (AES-CBC-256/SHA2-256/2048MODPgr/PSK/86400 Seconds, 3DES-CBC/SHA), 3 x Vendor ID"
    )


def test_a_refusal_of_version_1_is_told_by_its_name() -> None:
    refusal = "414141414141414142424242424242420b10050000001234000000280000000c000000010100000e"
    assert words(bytes.fromhex(refusal)) == (
        "IKEv1 Informational, message 00001234, SPIs 4141414141414141_i 4242424242424242_r, length 40: "
        "NO_PROPOSAL_CHOSEN"
    )


def test_a_first_fragment_has_its_header_told() -> None:
    assert words(WHOLE[:60], whole=False) == words(WHOLE).partition(": SA")[0]


def test_a_refusal_is_told_by_its_name() -> None:
    refusal = bytes(ikev2.IKEv2(init_SPI=I_SPI, exch_type=34, flags=0x20) / ikev2.IKEv2_Notify(type=14))
    assert words(refusal).endswith("length 36: NO_PROPOSAL_CHOSEN")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "ike_short"),
        (header(46, 35, 8)[:27], "ike_short"),
        (header(46, 35, 8, more=1), "ike_length"),
        (header(46, 35, 8, more=-1), "ike_length"),
        (header(46, 35, 8, version=0x30), "ike_version"),
    ],
)
def test_what_is_broken(message: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        words(message)
    assert caught.value.reason == reason


WHOLE = bytes(SA_INIT)
MAIN_MODE = main_mode(FIRST, SECOND, vendors=2)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from((WHOLE, MAIN_MODE)), st.data(), st.binary(min_size=1, max_size=4))
def test_a_damaged_message_has_words_or_a_reason(whole: bytes, data: st.DataObject, damage: bytes) -> None:
    at, length = data.draw(st.integers(16, len(whole) - 1)), data.draw(st.integers(28, len(whole)))
    damaged = bytearray(whole)
    damaged[at : at + len(damage)] = damage
    message = bytes(damaged[: len(whole)])[:length]
    try:
        assert words(message).startswith("IKEv")
    except DecodeError as error:
        assert error.reason.startswith("ike_")  # noqa: PT017  # both outcomes are right; this one has a name
