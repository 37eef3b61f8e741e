import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.contrib import ikev2

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
        (header(1, 2, 0, 0, 0x10), f"IKEv1 Main Mode, message 00000000, {SPIS}, length 28"),
        (header(8, 32, 1, 0xABC, 0x10), f"IKEv1 Quick Mode, message 00000abc, {SPIS}, length 28, encrypted"),
        (
            header(46, 35, 0x08, 1) + b"behind",
            f"IKEv2 IKE_AUTH request 1 of the initiator, {SPIS}, length 28, encrypted",
        ),
    ],
)
def test_exchange_direction_and_number(message: bytes, said: str) -> None:
    assert words(message) == said


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


@settings(deadline=None, max_examples=200)
@given(st.integers(16, len(WHOLE) - 1), st.binary(min_size=1, max_size=4), st.integers(28, len(WHOLE)))
def test_a_damaged_message_has_words_or_a_reason(at: int, damage: bytes, length: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[at : at + len(damage)] = damage
    message = bytes(damaged[: len(WHOLE)])[:length]
    try:
        assert words(message).startswith("IKEv")
    except DecodeError as error:
        assert error.reason.startswith("ike_")  # noqa: PT017  # both outcomes are right; this one has a name
