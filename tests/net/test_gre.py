"""The GRE codec against hand-made bytes, frames of a real Cisco, scapy, and arbitrary bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.l2 import GRE

from mcastd.errors import DecodeError
from mcastd.net.gre import PROTOCOL_CMD, PROTOCOL_IPV4, GreHeader, GreOptions, behind_cmd, decode
from mcastd.net.ipv4 import parse

# Frames 11, 12, 25 (cut to its GRE header) and 49 (cut) of various_gre.pcap of tcpdump's test suite: GRE between two
# Ciscos with key 0x28, a keepalive behind a CMD header (0x8909), its answer, a ping behind a CMD header, and CDP.
CISCO_KEEPALIVE = bytes.fromhex(
    "45c0004000a40000ff2f24c60aac40070aac4006"
    "2000890900000028"
    "0800010100010000"
    "45c0001c00a30000ff2f24eb0aac40060aac4007"
    "2000000000000028"
)
CISCO_ANSWER = bytes.fromhex("45c0001c00a30000fe2f25eb0aac40060aac40072000000000000028")
CISCO_PING = bytes.fromhex("2000890900000028080001010001000045000064")
CISCO_CDP = bytes.fromhex("200020000000002802b4a82e00010006523200050105436973636f")

# The keepalive of the article's data centre, 48 bytes: outer IP, GRE, inner IP, GRE with protocol 0.
KEEPALIVE = bytes.fromhex(
    "45c0003000000000ff2f99850a2c07010a2c0601"
    "00000800"
    "45c0001800000000ff2f999d0a2c06010a2c0701"
    "00000000"
)  # fmt: skip


@pytest.mark.parametrize(
    ("header", "encoded"),
    [
        (GreHeader(0x0800), "00000800"),
        (GreHeader(0x0000), "00000000"),
        (GreHeader(0x0800, key=0x28), "2000080000000028"),
        (GreHeader(0x0800, key=0), "2000080000000000"),
        (GreHeader(0x0800, sequence=7), "1000080000000007"),
        (GreHeader(0x0800, key=0xDEADBEEF, sequence=0xFFFFFFFF), "30000800deadbeefffffffff"),
        # Checksums by hand: ~(8000 + 0800) = 77ff, ~(a000 + 0800 + 0028) = 57d7, ~(b000 + 0800 + 0028 + 0001) = 47d6.
        (GreHeader(0x0800, checksum=True), "8000080077ff0000"),
        (GreHeader(0x0800, key=0x28, checksum=True), "a000080057d7000000000028"),
        (GreHeader(0x0800, key=0x28, sequence=1, checksum=True), "b000080047d600000000002800000001"),
    ],
)
def test_hand_made_headers(header: GreHeader, encoded: str) -> None:
    assert header.encode(b"").hex() == encoded
    assert decode(bytes.fromhex(encoded)) == header
    assert header.length == len(encoded) // 2


def test_the_checksum_covers_the_payload_and_pads_an_odd_one() -> None:
    # ~(8000 + 0800 + 4500) = 32ff
    assert GreHeader(0x0800, checksum=True).encode(b"\x45").hex() == "8000080032ff000045"
    assert decode(bytes.fromhex("8000080032ff000045")).checksum


def test_the_article_s_keepalive_is_two_gre_packets_one_inside_the_other() -> None:
    outer = parse(KEEPALIVE).payload
    assert len(KEEPALIVE) == 48
    assert decode(outer) == GreHeader(0x0800)
    inner = parse(outer[4:]).payload
    assert bytes(inner) == bytes(4)
    assert decode(inner) == GreHeader(0)


def test_frames_of_a_real_cisco() -> None:
    request = parse(CISCO_KEEPALIVE).payload
    assert decode(request) == GreHeader(0x8909, key=0x28)
    assert decode(parse(request[16:]).payload) == GreHeader(0, key=0x28)
    assert decode(parse(CISCO_ANSWER).payload) == GreHeader(0, key=0x28)
    assert decode(CISCO_PING) == GreHeader(0x8909, key=0x28)
    assert decode(CISCO_CDP) == GreHeader(0x2000, key=0x28)
    assert GreHeader(0x8909, key=0x28).encode(bytes(request[8:])) == request


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        ("", "gre_short"),
        ("00", "gre_short"),
        ("000008", "gre_short"),
        ("80000800", "gre_short"),  # C without its checksum
        ("80000800000000", "gre_short"),
        ("20000800", "gre_short"),  # K without its key
        ("20000800000000", "gre_short"),
        ("10000800", "gre_short"),  # S without its number
        ("a0000800" + 4 * "00", "gre_short"),
        ("b0000800" + 8 * "00", "gre_short"),
        ("b0000800" + 11 * "00", "gre_short"),
        ("30000800" + 7 * "00", "gre_short"),
        ("00010800", "gre_version"),
        ("3081880b0000000000000000", "gre_version"),  # PPTP's
        ("40000800" + 8 * "00", "gre_routing"),
        ("08000800", "gre_reserved"),  # RFC 1701's strict source route
        ("04000800", "gre_reserved"),  # the first bit of its recursion control
        ("8000080077fe0000", "gre_checksum"),
        ("8000080077ff000001", "gre_checksum"),
    ],
)
def test_hostile_headers(packet: str, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(bytes.fromhex(packet))
    assert caught.value.reason == reason


def test_reserved_bits_that_a_receiver_ignores() -> None:
    """RFC 2784, section 2.2: bits 6-12 are ignored."""
    assert decode(bytes.fromhex("03f80800")) == GreHeader(0x0800)


HEADERS = st.builds(
    GreHeader,
    protocol=st.integers(0, 0xFFFF),
    key=st.none() | st.integers(0, 0xFFFFFFFF),
    sequence=st.none() | st.integers(0, 0xFFFFFFFF),
    checksum=st.booleans(),
)


@given(HEADERS, st.binary(max_size=64))
def test_what_is_encoded_decodes(header: GreHeader, payload: bytes) -> None:
    packet = header.encode(payload)
    assert decode(packet) == decode(memoryview(packet)) == header
    assert packet[header.length :] == payload


@given(HEADERS, st.binary(min_size=1, max_size=64), st.data())
def test_the_checksum_finds_any_one_changed_bit(header: GreHeader, payload: bytes, data: st.DataObject) -> None:
    header = GreHeader(header.protocol, header.key, header.sequence, checksum=True)
    packet = bytearray(header.encode(payload))
    bit = data.draw(st.integers(32, len(packet) * 8 - 1))  # anything behind flags and protocol
    packet[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DecodeError, match="gre_checksum"):
        decode(bytes(packet))


@given(HEADERS, st.binary(max_size=32).filter(lambda payload: len(payload) % 2 == 0))
def test_scapy_agrees(header: GreHeader, payload: bytes) -> None:
    theirs = GRE(
        proto=header.protocol,
        chksum_present=int(header.checksum),
        key_present=int(header.key is not None),
        seqnum_present=int(header.sequence is not None),
        key=header.key,
        sequence_number=header.sequence,
    )
    assert bytes(theirs / payload) == header.encode(payload)


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_read_or_refused_with_a_reason(packet: bytes) -> None:
    reason = ""
    try:
        assert decode(packet).length <= len(packet)
    except DecodeError as error:
        reason = error.reason
    assert reason in {"", "gre_short", "gre_version", "gre_routing", "gre_reserved", "gre_checksum"}


OPTIONS = st.builds(GreOptions, key=st.none() | st.integers(0, 2), checksum=st.booleans(), sequence=st.booleans())


@given(OPTIONS, st.integers(0, 0xFFFFFFFF))
def test_a_tunnel_accepts_what_the_same_options_send(options: GreOptions, number: int) -> None:
    header = options.header(PROTOCOL_IPV4, number if options.sequence else None)
    assert options.receives(header)
    assert options.sends(header)
    assert options.refusal(header) is None
    assert header.flags == options.feed_header.flags
    assert header.length == options.feed_header.length
    assert header.is_constant == (header == options.feed_header and not options.checksum and not options.sequence)


@given(OPTIONS, OPTIONS)
def test_a_tunnel_refuses_other_options_but_numbers_that_it_did_not_ask_for(one: GreOptions, other: GreOptions) -> None:
    expected = None
    if one.key != other.key:
        expected = "gre_key"
    elif one.checksum != other.checksum:
        expected = "gre_checksum_unexpected" if other.checksum else "gre_checksum_missing"
    elif one.sequence and not other.sequence:
        expected = "gre_sequence_missing"
    assert one.refusal(other.feed_header) == expected
    assert one.receives(other.feed_header) == (one.key == other.key)


def test_the_packet_behind_a_cmd_header() -> None:
    payload = memoryview(CISCO_PING)[decode(CISCO_PING).length :]
    assert decode(CISCO_PING).protocol == PROTOCOL_CMD
    assert bytes(behind_cmd(payload)) == CISCO_PING[16:]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("08000101000100", "cmd_short"),
        ("86dd010100010000", "cmd_header"),  # IPv6
        ("0800020100010000", "cmd_header"),  # version 2
        ("0800010200010000", "cmd_header"),  # another length
    ],
)
def test_cmd_headers_that_are_refused(header: str, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        behind_cmd(memoryview(bytes.fromhex(header)))
