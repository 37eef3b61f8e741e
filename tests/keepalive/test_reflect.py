from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP
from scapy.layers.l2 import GRE

from mcastd.errors import DecodeError
from mcastd.keepalive.packet import Endpoints
from mcastd.keepalive.reflect import Answer, reflect
from mcastd.net.gre import GreOptions

OURS, THEIRS = "10.44.6.1", "10.44.7.1"
TUNNEL = Endpoints(IPv4Address(OURS), IPv4Address(THEIRS))
KEYED = Endpoints(IPv4Address(OURS), IPv4Address(THEIRS), GreOptions(0x28))

# What shows up on gre1 of the article's keepalive: the inner packet, 24 bytes.
INNER = bytes.fromhex("45c0001800000000ff2f999d0a2c06010a2c070100000000")


def inner(payload: bytes = bytes(4), **fields: Any) -> bytes:
    header = IP(src=OURS, dst=THEIRS, proto=47, ttl=255, tos=0xC0, id=0)
    for name, value in fields.items():
        setattr(header, name, value)
    return bytes(header / payload)


def test_the_article_s_keepalive_is_answered_by_four_zero_bytes() -> None:
    assert inner() == INNER
    assert reflect(INNER, TUNNEL) == Answer(bytes(4), tos=0xC0, ttl=255)


def test_an_answer_has_the_tos_and_ttl_of_the_inner_header() -> None:
    assert reflect(inner(tos=0x20, ttl=17), TUNNEL) == Answer(bytes(4), tos=0x20, ttl=17)


def test_an_address_by_which_a_nat_makes_the_far_end_know_us() -> None:
    behind_nat = Endpoints(IPv4Address(OURS), IPv4Address(THEIRS), also=(IPv4Address("222.45.67.1"),))
    assert reflect(inner(src="222.45.67.1"), behind_nat).gre == reflect(INNER, behind_nat).gre == bytes(4)
    with pytest.raises(DecodeError, match="inner_source"):
        reflect(inner(src="222.45.67.2"), behind_nat)
    with pytest.raises(DecodeError, match="inner_destination"):
        reflect(inner(src="222.45.67.1", dst="222.45.67.1"), behind_nat)


def test_a_keyed_keepalive_of_a_real_cisco() -> None:
    """The inner packet of frame 11 of various_gre.pcap, of tcpdump's test suite; its answer is frame 12's GRE."""
    packet = bytes.fromhex("45c0001c00a30000ff2f24eb0aac40060aac40072000000000000028")
    cisco = Endpoints(IPv4Address("10.172.64.6"), IPv4Address("10.172.64.7"), GreOptions(0x28))
    assert reflect(packet, cisco).gre.hex() == "2000000000000028"


def test_checksum_and_sequence_number_are_sent_back_as_they_came() -> None:
    payload = bytes(GRE(proto=0, chksum_present=1, seqnum_present=1, key_present=1, key=0x28, sequence_number=9))
    assert reflect(inner(payload), KEYED).gre == payload


def test_what_ethernet_or_tun_pads_is_not_part_of_it() -> None:
    assert reflect(INNER + bytes(22), TUNNEL).gre == bytes(4)


GRE_SHORT = [
    b"",
    b"\0",
    b"\0\0",
    b"\0\0\0",
    b"\x80\0\0\0",
    b"\x20\0\0\0\0\0\0",
    b"\x10\0\0\0",
    b"\xb0\0\0\0" + bytes(11),
]


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"", "ip_short"),
        (INNER[:19], "ip_short"),
        (b"\x65" + INNER[1:], "ip_version"),
        (b"\x44" + INNER[1:], "ip_header_length"),
        (b"\x4f" + INNER[1:], "ip_header_length"),
        (INNER[:-1], "ip_total_length"),
        (INNER[:2] + b"\x00\x13" + INNER[4:], "ip_total_length"),
        (inner(proto=17), "not_gre"),
        (inner(src="10.44.6.2"), "inner_source"),
        (inner(src=THEIRS, dst=OURS), "inner_source"),  # our own request coming back
        (inner(src="239.1.1.2"), "inner_source"),
        (inner(dst="10.44.7.2"), "inner_destination"),
        (inner(dst=OURS), "inner_destination"),
        (inner(ttl=0), "inner_ttl"),
        *((inner(payload), "gre_short") for payload in GRE_SHORT),
        (inner(b"\x40\0\0\0" + bytes(8)), "gre_routing"),
        (inner(b"\0\x01\0\0"), "gre_version"),
        (inner(b"\x08\0\0\0"), "gre_reserved"),
        (inner(b"\x80\0\0\0\x12\x34\0\0"), "gre_checksum"),
        (inner(b"\0\0\x08\0"), "not_keepalive"),
        (inner(b"\0\0\x08\0" + INNER), "not_keepalive"),  # nested twice, as IPv4
        (inner(b"\x20\0\0\0\0\0\0\x28"), "inner_key"),
        (inner(b"\x20\0\0\0\0\0\0\0"), "inner_key"),  # the key 0 is not no key
        (inner(bytes(5)), "nested"),
        (inner(bytes(4) + INNER), "nested"),
    ],
)
def test_every_reason_for_no_answer(packet: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        reflect(packet, TUNNEL)
    assert caught.value.reason == reason


@pytest.mark.parametrize("payload", [bytes(4), b"\x20\0\0\0\0\0\0\x29", b"\x20\0\0\0\0\0\0\0"])
def test_a_keyed_tunnel_answers_its_own_key_only(payload: bytes) -> None:
    with pytest.raises(DecodeError, match="inner_key"):
        reflect(inner(payload), KEYED)
    assert reflect(inner(b"\x20\0\0\0\0\0\0\x28"), KEYED).gre == b"\x20\0\0\0\0\0\0\x28"


def answer(packet: bytes, tunnel: Endpoints) -> bytes | None:
    try:
        return reflect(packet, tunnel).gre
    except DecodeError as error:
        assert error.reason  # noqa: PT017  # both outcomes are right; this one has a name
        return None


@given(st.binary(max_size=80))
def test_arbitrary_bytes_get_no_answer(packet: bytes) -> None:
    assert answer(packet, TUNNEL) is None


@given(st.binary(max_size=40), st.sampled_from((TUNNEL, KEYED)))
def test_whatever_is_inside_the_right_addresses_is_answered_by_a_bare_gre_header_or_not(
    payload: bytes, tunnel: Endpoints
) -> None:
    reply = answer(inner(payload), tunnel)
    if reply is not None:
        assert reply == payload
        assert len(reply) <= 16
        assert GRE(reply).proto == 0
        assert not bytes(GRE(reply).payload)


@given(st.integers(0, len(INNER) - 1), st.integers(1, 255))
def test_one_changed_byte_of_a_good_one(at: int, change: int) -> None:
    packet = bytearray(INNER)
    packet[at] ^= change
    reply = answer(bytes(packet), TUNNEL)
    ignored = {1, 4, 5, 6, 7, 8, 10, 11}  # tos, id, fragment, ttl, checksum
    reserved = (at == 20 and change < 4) or (at == 21 and not change & 7)  # RFC 2784: bits 6-12 are ignored
    assert (reply is not None) == ((at in ignored or reserved) and packet[8] != 0)
