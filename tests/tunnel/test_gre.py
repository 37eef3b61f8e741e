"""The GRE codec against hand-made bytes, frames of a real Cisco, scapy, and arbitrary bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.l2 import GRE

from mcastd.errors import DecodeError
from mcastd.tunnel.gre import GreHeader, decode, internet_checksum, ipv4_payload

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
    outer = ipv4_payload(KEEPALIVE)
    assert len(KEEPALIVE) == 48
    assert decode(outer) == GreHeader(0x0800)
    inner = ipv4_payload(outer[4:])
    assert bytes(inner) == bytes(4)
    assert decode(inner) == GreHeader(0)


def test_frames_of_a_real_cisco() -> None:
    request = ipv4_payload(CISCO_KEEPALIVE)
    assert decode(request) == GreHeader(0x8909, key=0x28)
    assert decode(ipv4_payload(request[16:])) == GreHeader(0, key=0x28)
    assert decode(ipv4_payload(CISCO_ANSWER)) == GreHeader(0, key=0x28)
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


def ip_header(first: int = 0x45, total: int = 20, size: int = 20) -> bytes:
    return bytes([first, 0]) + total.to_bytes(2, "big") + bytes(size - 4)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"", "ip_short"),
        (b"\x45", "ip_short"),
        (b"\x45\x00\x00", "ip_short"),
        (ip_header()[:19], "ip_short"),
        (ip_header(first=0x65), "ip_version"),
        (ip_header(first=0x05), "ip_version"),
        (ip_header(first=0x44), "ip_header_length"),
        (ip_header(first=0x40), "ip_header_length"),
        (ip_header(first=0x46, total=24), "ip_header_length"),  # beyond the datagram
        (ip_header(first=0x4F, total=20), "ip_header_length"),
        (ip_header(total=21), "ip_total_length"),  # beyond the bytes held
        (ip_header(total=0xFFFF), "ip_total_length"),
        (ip_header(total=19), "ip_total_length"),
        (ip_header(total=0), "ip_total_length"),
        (ip_header(first=0x46, total=23, size=24), "ip_total_length"),
    ],
)
def test_hostile_ip_headers(packet: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        ipv4_payload(packet)
    assert caught.value.reason == reason


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_payloads_too_short_for_gre_are_refused_by_gre(size: int) -> None:
    payload = ipv4_payload(ip_header(total=20 + size, size=24))  # trailing bytes, as Ethernet pads, are not payload
    assert len(payload) == size
    with pytest.raises(DecodeError, match="gre_short"):
        decode(payload)


def test_ip_options_are_not_payload() -> None:
    assert bytes(ipv4_payload(ip_header(first=0x46, total=26, size=24) + b"ab")) == b"ab"


def test_internet_checksum_of_rfc_1071() -> None:
    """RFC 1071, section 3: the example's sum is ddf2."""
    assert internet_checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2 ^ 0xFFFF
    assert internet_checksum(b"") == 0xFFFF
    assert internet_checksum(bytes.fromhex("0001f203f4f5f6f7220d")) == 0
