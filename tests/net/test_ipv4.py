"""The IPv4 header against hand-made bytes, scapy, and arbitrary bytes."""

from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, IPOption

from mcastd.errors import DecodeError
from mcastd.net.checksum import internet_checksum
from mcastd.net.ipv4 import HEADER_LENGTH, encode, parse


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
        parse(packet)
    assert caught.value.reason == reason


def test_ip_options_are_not_payload() -> None:
    assert bytes(parse(ip_header(first=0x46, total=26, size=24) + b"ab").payload) == b"ab"


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_what_the_link_layer_pads_is_not_payload(size: int) -> None:
    assert len(parse(ip_header(total=20 + size, size=24)).payload) == size


@pytest.mark.parametrize(("size", "payload"), [(28, 8), (24, 4), (20, 0)])
def test_a_packet_that_was_cut_off(size: int, payload: int) -> None:
    packet = ip_header(total=28, size=28)[:size]
    assert len(parse(packet, truncated=True).payload) == payload
    if size < 28:
        with pytest.raises(DecodeError, match="ip_total_length"):
            parse(packet)


def test_what_is_cut_off_within_its_header_is_refused() -> None:
    with pytest.raises(DecodeError, match="ip_header_length"):
        parse(ip_header(first=0x46, total=28), truncated=True)
    with pytest.raises(DecodeError, match="ip_short"):
        parse(ip_header()[:19], truncated=True)


BYTES = st.integers(0, 255)
FIELDS = st.fixed_dictionaries({
    "src": st.ip_addresses(v=4).map(str),
    "dst": st.ip_addresses(v=4).map(str),
    "proto": BYTES,
    "tos": BYTES,
    "ttl": BYTES,
    "frag": st.integers(0, 0x1FFF),
    "flags": st.integers(0, 7),
    "id": st.integers(0, 0xFFFF),
    "options": st.sampled_from(([], [IPOption(b"\x94\x04\0\0")])),
})  # fmt: skip


@given(FIELDS, st.binary(max_size=16))
def test_scapy_agrees(fields: dict[str, Any], payload: bytes) -> None:
    packet = bytes(IP(**fields) / payload)
    found = parse(packet)
    assert bytes(found.header) + bytes(found.payload) == packet
    assert bytes(found.payload) == payload
    assert internet_checksum(found.header) == 0
    assert (str(found.source), str(found.destination)) == (fields["src"], fields["dst"])
    assert (found.protocol, found.tos, found.ttl) == (fields["proto"], fields["tos"], fields["ttl"])
    assert (found.length, found.fragment_offset) == (len(packet), fields["frag"])
    assert found.is_fragment == bool(fields["frag"] or fields["flags"] & 1)


@given(
    st.binary(max_size=64),
    st.ip_addresses(v=4),
    st.ip_addresses(v=4),
    st.fixed_dictionaries({"protocol": BYTES, "tos": BYTES, "ttl": BYTES}),
)
def test_what_is_encoded_is_what_scapy_makes_and_parses(
    payload: bytes, source: IPv4Address, destination: IPv4Address, fields: dict[str, int]
) -> None:
    packet = encode(payload, source, destination, **fields)
    theirs = IP(src=str(source), dst=str(destination), proto=fields["protocol"], tos=fields["tos"], ttl=fields["ttl"])
    theirs.id = 0
    assert packet == bytes(theirs / payload)
    found = parse(packet)
    assert (found.source, found.destination, bytes(found.payload)) == (source, destination, payload)


@given(st.binary(max_size=80), st.booleans())
def test_arbitrary_bytes_are_read_or_refused_with_a_reason(packet: bytes, truncated: bool) -> None:
    reason = ""
    try:
        found = parse(packet, truncated=truncated)
    except DecodeError as error:
        reason = error.reason
    else:
        assert HEADER_LENGTH <= len(found.header) <= 60
        assert len(found.header) + len(found.payload) <= min(len(packet), max(found.length, len(found.header)))
        assert truncated or len(found.header) + len(found.payload) == found.length
    assert reason in {"", "ip_short", "ip_version", "ip_header_length", "ip_total_length"}
