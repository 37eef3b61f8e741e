"""Auto-RP's wire form, against bytes made by hand from pim-autorp-spec01 and against Wireshark's dissector."""

import struct
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.errors import DecodeError
from mcastd.pim.auto_rp_packet import (
    RP_ANNOUNCE,
    RP_DISCOVERY,
    AutoRp,
    AutoRpEntry,
    AutoRpGroups,
    AutoRpType,
    decode_auto_rp,
    decode_udp,
)
from tests import pcap
from tests.pim.encoders import encode_auto_rp

# As IOS sends them every 60 s: a candidate for everything, and a mapping agent that keeps one range in dense mode.
ANNOUNCEMENT = bytes.fromhex(
    "11 01 00b5 00000000"  # version 1, announcement, one RP, 181 s
    "0a010101 03 01"  # 10.1.1.1, PIM version 1 and 2, one range
    "00 04 e0000000"  # 224.0.0.0/4
)
MAPPING = bytes.fromhex(
    "12 02 00b5 00000000"  # version 1, mapping, two RPs, 181 s
    "0a010101 02 01 00 08 ef000000"  # 10.1.1.1, PIM version 2: 239.0.0.0/8
    "0a010102 03 02 00 10 efc00000 01 10 efff0000"  # 10.1.1.2: 239.192.0.0/16, and not 239.255.0.0/16
)
MAPPED = AutoRp(
    AutoRpType.MAPPING,
    181,
    (
        AutoRpEntry(IPv4Address("10.1.1.1"), (AutoRpGroups(IPv4Network("239.0.0.0/8")),), 2),
        AutoRpEntry(
            IPv4Address("10.1.1.2"),
            (AutoRpGroups(IPv4Network("239.192.0.0/16")), AutoRpGroups(IPv4Network("239.255.0.0/16"), negative=True)),
            3,
        ),
    ),
)


def udp(message: bytes, port: int = 496, length: int | None = None) -> bytes:
    return struct.pack("!HHHH", 496, port, 8 + len(message) if length is None else length, 0) + message


def test_messages_as_a_cisco_sends_them() -> None:
    ranges = (AutoRpGroups(IPv4Network("224.0.0.0/4")),)
    announced = AutoRp(AutoRpType.ANNOUNCEMENT, 181, (AutoRpEntry(IPv4Address("10.1.1.1"), ranges, 3),))
    assert decode_auto_rp(ANNOUNCEMENT) == announced
    assert decode_auto_rp(MAPPING) == MAPPED
    assert encode_auto_rp(announced) == ANNOUNCEMENT
    assert encode_auto_rp(MAPPED) == MAPPING


def test_reserved_bits_and_trailing_bytes_are_ignored() -> None:
    odd = bytes.fromhex("12 01 00b5 ffffffff 0a010101 fe 01 fe 08 ef010203") + b"trailing"
    (rp,) = decode_auto_rp(odd).rps
    assert rp == AutoRpEntry(IPv4Address("10.1.1.1"), (AutoRpGroups(IPv4Network("239.0.0.0/8")),), 2)


def test_nobody_may_be_the_rp_of_negative_ranges_alone() -> None:
    head, ranges = "12 01 00b5 00000000 00000000 02", "01 04 e0000000"
    (rp,) = decode_auto_rp(bytes.fromhex(f"{head} 01 {ranges}")).rps
    assert rp.ranges == (AutoRpGroups(IPv4Network("224.0.0.0/4"), negative=True),)
    with pytest.raises(DecodeError, match=r"^rp_address$"):
        decode_auto_rp(bytes.fromhex(f"{head} 02 {ranges} 00 08 ef000000"))


@pytest.mark.parametrize("size", range(len(MAPPING)))
def test_every_message_that_ends_early_is_refused(size: int) -> None:
    with pytest.raises(DecodeError, match=r"^truncated$"):
        decode_auto_rp(MAPPING[:size])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("21 00 00b5 00000000", "auto_rp_version"),
        ("01 00 00b5 00000000", "auto_rp_version"),
        ("13 00 00b5 00000000", "auto_rp_type"),
        ("10 00 00b5 00000000", "auto_rp_type"),
        ("12 01 00b5 00000000 0a010101 02 01 00 21 ef000000", "mask_length"),
        ("12 01 00b5 00000000 0a010101 02 01 00 03 e0000000", "group_address"),
        ("12 01 00b5 00000000 0a010101 02 01 00 08 0a000000", "group_address"),
        ("12 01 00b5 00000000 ef010101 02 01 00 08 ef000000", "rp_address"),
        ("12 ff 00b5 00000000 0a010101 02 00", "truncated"),
    ],
)
def test_bad_messages_are_refused(data: str, reason: str) -> None:
    with pytest.raises(DecodeError, match=f"^{reason}$"):
        decode_auto_rp(bytes.fromhex(data))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "udp_length"),
        (bytes(7), "udp_length"),
        (udp(MAPPING, length=7), "udp_length"),
        (udp(MAPPING, length=9 + len(MAPPING)), "udp_length"),
        (udp(MAPPING, port=497), "udp_port"),
    ],
)
def test_bad_datagrams_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=f"^{reason}$"):
        decode_udp(data)


def test_what_is_behind_the_datagram_is_cut_off() -> None:
    assert decode_udp(udp(MAPPING) + b"padding") == MAPPING


NETS = st.builds(
    lambda number, length: IPv4Network((0xE0000000 | number, length), strict=False),
    st.integers(0, 0x0FFFFFFF),
    st.integers(4, 32),
)
ENTRIES = st.builds(
    AutoRpEntry,
    st.builds(IPv4Address, st.integers(1, 0xDFFFFFFF)),
    st.lists(st.builds(AutoRpGroups, NETS, st.booleans()), max_size=6).map(tuple),
    st.integers(0, 3),
)
MESSAGES = st.builds(
    AutoRp, st.sampled_from(AutoRpType), st.integers(0, 0xFFFF), st.lists(ENTRIES, max_size=6).map(tuple)
)


@given(MESSAGES)
def test_what_is_encoded_is_decoded(message: AutoRp) -> None:
    assert decode_auto_rp(decode_udp(udp(encode_auto_rp(message)))) == message


@given(st.binary(max_size=120))
def test_arbitrary_bytes_are_a_message_or_a_reason(data: bytes) -> None:
    try:
        message = decode_auto_rp(data)
    except DecodeError as error:
        assert error.reason  # noqa: PT017
    else:
        assert decode_auto_rp(encode_auto_rp(message)) == message


def test_tshark_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "autorp.pcap"
    agent = IPv4Address("10.1.1.9")
    packets = [(ANNOUNCEMENT, RP_ANNOUNCE), (MAPPING, RP_DISCOVERY)]
    pcap.write(path, [pcap.ipv4(udp(data), agent, group, protocol=pcap.UDP) for data, group in packets])
    for layers, (data, _) in zip(pcap.tshark(path), packets, strict=True):
        theirs, ours = layers["auto_rp"], decode_auto_rp(data)
        assert "_ws.malformed" not in layers
        assert list(pcap.values(theirs, "auto_rp.type")) == [str(int(ours.kind))]
        assert list(pcap.values(theirs, "auto_rp.holdtime")) == [str(ours.holdtime)]
        assert list(pcap.values(theirs, "auto_rp.rp_addr")) == [str(rp.address) for rp in ours.rps]
        assert list(pcap.values(theirs, "auto_rp.pim_ver")) == [str(rp.pim_version) for rp in ours.rps]
        found = [one for rp in ours.rps for one in rp.ranges]
        assert list(pcap.values(theirs, "auto_rp.group_prefix")) == [str(one.groups.network_address) for one in found]
        assert list(pcap.values(theirs, "auto_rp.mask_len")) == [str(one.groups.prefixlen) for one in found]
        assert list(pcap.values(theirs, "auto_rp.prefix_sign")) == [str(int(one.negative)) for one in found]
