"""The wire form, against bytes made by hand from RFC 7761, section 4.9."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.errors import DecodeError
from mcastd.pim import packet
from mcastd.pim.packet import GroupSet, Hello, JoinPrune, LanPruneDelay, SourceEntry
from tests.pim.encoders import encode_join_prune, seal

HELLO = bytes.fromhex(
    "2000 5ba9"  # version 2, type 0
    "0001 0002 0069"  # holdtime 105
    "0002 0004 01f4 09c4"  # propagation delay 500 ms, override interval 2500 ms
    "0013 0004 00000001"  # DR priority 1
    "0014 0004 12345678"  # generation id
    "0018 0006 0100 0a2c0406"  # address list: 10.44.4.6
)
JOIN = bytes.fromhex(
    "2300 3d84"  # version 2, type 3
    "0100 0a2c0405 00 01 00d2"  # upstream neighbour 10.44.4.5, one group, 210 s
    "0100 0020 ef010203 0001 0001"  # 239.1.2.3/32: one join, one prune
    "0100 0720 640f1efd"  # 100.15.30.253/32, S W R
    "0100 0520 0a010203"  # 10.1.2.3/32, S R
)


def fix(data: bytes) -> bytes:
    """The message with its checksum put right."""
    return seal(data[0] & 15, data[4:])


def test_hello_is_encoded_and_decoded() -> None:
    hello = Hello(105, LanPruneDelay(0.5, 2.5), 1, 0x12345678, (IPv4Address("10.44.4.6"),))
    assert packet.encode_hello(hello) == HELLO
    kind, body = packet.unseal(HELLO)
    assert kind == packet.MessageType.HELLO
    assert packet.decode_hello(body) == hello


def test_join_prune_is_encoded_and_decoded() -> None:
    message = JoinPrune(
        IPv4Address("10.44.4.5"),
        210,
        (
            GroupSet(
                IPv4Address("239.1.2.3"),
                (SourceEntry(IPv4Address("100.15.30.253"), 0x07),),
                (SourceEntry(IPv4Address("10.1.2.3"), 0x05),),
            ),
        ),
    )
    assert encode_join_prune(message) == JOIN
    kind, body = packet.unseal(JOIN)
    assert kind == packet.MessageType.JOIN_PRUNE
    assert packet.decode_join_prune(body) == message


def test_unknown_options_are_kept_and_foreign_addresses_are_skipped() -> None:
    body = bytes.fromhex(
        "0015 0004 01000000"  # state refresh capable, as Cisco says it
        "fde9 0003 010203"
        "0018 0018 0200 fe800000000000000000000000000001 0100 0a2c0405"
    )
    unknown = ((21, b"\1\0\0\0"), (65001, b"\1\2\3"))
    assert packet.decode_hello(body) == Hello(addresses=(IPv4Address("10.44.4.5"),), unknown=unknown)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", Hello()),
        (
            "0013 0004 00000001 0014 0004 d76fc4dc 0001 0002 0069 0015 0004 01000000",
            Hello(105, None, 1, 0xD76FC4DC, unknown=((21, b"\1\0\0\0"),)),
        ),
        ("0001 0002 0069 0016 0000", Hello(105, unknown=((22, b""),))),  # Bidirectional Capable
        ("0001 0002 0069 001a 0000", Hello(105, unknown=((26, b""),))),  # Join Attribute (RFC 5384)
        (
            "0012 0004 00000001 0001 0002 0069",
            Hello(105, unknown=((18, b"\0\0\0\1"),)),
        ),  # DR priority's number before it had one
        (
            "0001 0002 0069 ffff 0001 ff fde8 0000",
            Hello(105, unknown=((65535, b"\xff"), (65000, b""))),
        ),  # of private use
        ("0001 0002 0069 0000 0000", Hello(105)),  # zeros behind the last option: an empty one of type 0, or padding
        ("0001 0002 0069 00", Hello(105)),
        ("0001 0002 0069 0000", Hello(105)),
        ("0001 0002 0069 000000", Hello(105)),
        ("0001 0002 0000 0001 0002 0069", Hello(105)),
        ("0002 0004 81f4 09c4", Hello(None, LanPruneDelay(0.5, 2.5, tracking=True))),
    ],
)
def test_hellos_as_others_make_them(body: str, expected: Hello) -> None:
    assert packet.decode_hello(bytes.fromhex(body)) == expected


ONE_SOURCE = "0100 0a2c0405 00 01 00d2 0100 0020 ef010203 0001 0000"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("0100 fc20 0a010203", (4, 32)),  # reserved bits
        ("0101 0420 0a010203 4004 01020304", (4, 32)),  # one join attribute
        ("0101 0420 0a010203 8102 0102 4500", (4, 32)),  # two, the second of them empty
        ("0100 0418 0a010200", (4, 24)),
    ],
)
def test_sources_as_others_encode_them(body: str, expected: tuple[int, int]) -> None:
    message = packet.decode_join_prune(bytes.fromhex(f"{ONE_SOURCE} {body}"))
    (source,) = message.groups[0].joined
    assert (source.flags, source.mask_len) == expected


@pytest.mark.parametrize("attributes", ["", "40", "4001", "0001 ff", "0000 0000"])
def test_join_attributes_that_do_not_end_are_refused(attributes: str) -> None:
    with pytest.raises(DecodeError, match=r"^truncated$"):
        packet.decode_join_prune(bytes.fromhex(f"{ONE_SOURCE} 0101 0420 0a010203 {attributes}"))


def test_an_address_list_ends_at_a_family_of_unknown_size() -> None:
    assert packet.decode_hello(bytes.fromhex("0018 000a 0100 0a2c0405 0900 0102")).addresses == (
        IPv4Address("10.44.4.5"),
    )


@pytest.mark.parametrize("size", range(4))
def test_less_than_a_header_is_short(size: int) -> None:
    with pytest.raises(DecodeError, match=r"^short$"):
        packet.unseal(HELLO[:size])


@pytest.mark.parametrize("version", [0, 1, 3, 15])
def test_other_versions_are_refused(version: int) -> None:
    with pytest.raises(DecodeError, match=r"^version$"):
        packet.unseal(bytes([version << 4]) + HELLO[1:])


def test_a_wrong_checksum_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"^checksum$"):
        packet.unseal(HELLO[:-1] + b"\x07")


def test_a_register_may_sum_its_header_or_everything() -> None:
    body = bytes.fromhex("00000000 45000014") + bytes(16)
    partly = seal(packet.MessageType.REGISTER, body, covered=8)
    wholly = seal(packet.MessageType.REGISTER, body)
    assert partly != wholly
    assert packet.unseal(partly) == packet.unseal(wholly) == (packet.MessageType.REGISTER, body)
    with pytest.raises(DecodeError, match=r"^checksum$"):
        packet.unseal(partly[:2] + b"\x12\x34" + partly[4:])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("0001", "truncated"),
        ("0001 0002 00", "truncated"),
        ("0001 0002 0069 0013 00", "truncated"),
        ("0001 0002 0069 01", "truncated"),
        ("0001 0001 00", "option_length"),
        ("0002 0002 0000", "option_length"),
        ("0013 0000", "option_length"),
        ("0014 0005 0000000000", "option_length"),
        ("0018 0001 01", "truncated"),
        ("0018 0004 0100 0a2c", "truncated"),
        ("0018 0006 0101 0a2c0405", "address_encoding"),
    ],
)
def test_bad_hellos_are_refused(body: str, reason: str) -> None:
    with pytest.raises(DecodeError, match=f"^{reason}$"):
        packet.decode_hello(bytes.fromhex(body))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "truncated"),
        ("0200 0a2c0405 00 00 00d2", "address_family"),
        ("0101 0a2c0405 00 00 00d2", "address_encoding"),
        ("0100 0a2c0405 00 01 00d2", "truncated"),
        ("0100 0a2c0405 00 01 00d2 0100 0021 ef010203 0000 0000", "mask_length"),
        ("0100 0a2c0405 00 01 00d2 0100 0020 0a010203 0000 0000", "group_address"),
        ("0100 0a2c0405 00 01 00d2 0100 0020 ef010203 0001 0000", "truncated"),
        ("0100 0a2c0405 00 01 00d2 0100 0020 ef010203 ffff ffff", "truncated"),
        ("0100 0a2c0405 00 01 00d2 0100 0020 ef010203 0001 0000 0100 0721 640f1efd", "mask_length"),
        ("0100 0a2c0405 00 01 00d2 0100 0020 ef010203 0001 0000 0200 0720 640f1efd", "address_family"),
    ],
)
def test_bad_join_prunes_are_refused(body: str, reason: str) -> None:
    with pytest.raises(DecodeError, match=f"^{reason}$"):
        packet.decode_join_prune(bytes.fromhex(body))


addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
groups = st.integers(0xE0000000, 0xEFFFFFFF).map(IPv4Address)
milliseconds = st.integers(0, 0x7FFF).map(lambda ms: ms / 1000)
hellos = st.builds(
    Hello,
    st.none() | st.integers(0, 0xFFFF),
    st.none() | st.builds(LanPruneDelay, milliseconds, milliseconds, st.booleans()),
    st.none() | st.integers(0, 2**32 - 1),
    st.none() | st.integers(0, 2**32 - 1),
    st.lists(addresses, max_size=5).map(tuple),
    st.dictionaries(st.integers(25, 0xFFFF), st.binary(max_size=9), max_size=3).map(lambda found: tuple(found.items())),
)
sources = st.lists(st.builds(SourceEntry, addresses, st.integers(0, 7), st.integers(0, 32)), max_size=4).map(tuple)
join_prunes = st.builds(
    JoinPrune,
    addresses,
    st.integers(0, 0xFFFF),
    st.lists(st.builds(GroupSet, groups, sources, sources, st.integers(4, 32), st.integers(0, 255)), max_size=5).map(
        tuple
    ),
)


@given(hellos)
def test_hellos_round_trip(hello: Hello) -> None:
    assert packet.decode_hello(packet.unseal(packet.encode_hello(hello))[1]) == hello


@given(join_prunes)
def test_join_prunes_round_trip(message: JoinPrune) -> None:
    assert packet.decode_join_prune(packet.unseal(encode_join_prune(message))[1]) == message


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    for decode in (packet.unseal, packet.decode_hello, packet.decode_join_prune):
        try:
            decode(data)
        except DecodeError:
            continue
