from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcastd.errors import DecodeError
from mcastd.net.checksum import internet_checksum
from mcastd.tools.trace.igmp import words
from tests import pcap

GROUP, SOURCE = "239.1.1.1", "100.15.30.10"


def sealed(message: bytes) -> bytes:
    cleared = message[:2] + bytes(2) + message[4:]
    return cleared[:2] + internet_checksum(cleared).to_bytes(2, "big") + cleared[4:]


def record(kind: int, *sources: str, group: str = GROUP, count: int | None = None) -> bytes:
    held = b"".join(IPv4Address(source).packed for source in sources)
    announced = len(sources) if count is None else count
    return bytes([kind, 0]) + announced.to_bytes(2, "big") + IPv4Address(group).packed + held


def report(*records: bytes, count: int | None = None) -> bytes:
    announced = len(records) if count is None else count
    return sealed(b"\x22" + bytes(5) + announced.to_bytes(2, "big") + b"".join(records))


PLAIN = IPv4Address(GROUP).packed


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (sealed(b"\x11\0\0\0" + bytes(4)), "IGMPv1 query"),
        (sealed(b"\x11\x64\0\0" + PLAIN), "IGMPv2 query for 239.1.1.1"),
        (sealed(b"\x11\0\0\0" + bytes(8)), "IGMPv3 query"),
        (sealed(b"\x12\0\0\0" + PLAIN), "IGMPv1 report: joins 239.1.1.1"),
        (sealed(b"\x16\0\0\0" + PLAIN), "IGMPv2 report: joins 239.1.1.1"),
        (sealed(b"\x17\0\0\0" + PLAIN), "IGMPv2 leave: leaves 239.1.1.1"),
        (sealed(b"\x99\0\0\0" + PLAIN), "IGMP of type 0x99"),
        (report(record(4)), "IGMPv3 report: joins 239.1.1.1"),
        (report(record(3)), "IGMPv3 report: leaves 239.1.1.1"),
        (report(record(2)), "IGMPv3 report: is in 239.1.1.1"),
        (report(record(1, SOURCE)), "IGMPv3 report: is in 239.1.1.1 for 100.15.30.10"),
        (report(record(3, SOURCE)), "IGMPv3 report: changes to 100.15.30.10 of 239.1.1.1"),
        (report(record(4, SOURCE)), "IGMPv3 report: joins 239.1.1.1 except 100.15.30.10"),
        (report(record(5, SOURCE)), "IGMPv3 report: joins 239.1.1.1 for 100.15.30.10"),
        (report(record(6, SOURCE)), "IGMPv3 report: leaves 239.1.1.1 for 100.15.30.10"),
        (report(record(9)), "IGMPv3 report: record of type 9 of 239.1.1.1"),
        (report(record(4), record(4, group="239.1.1.2")), "IGMPv3 report: joins 239.1.1.1, joins 239.1.1.2"),
        (report(), "IGMPv3 report: nothing"),
        (report(*[record(4)] * 6), f"IGMPv3 report: {', '.join(['joins 239.1.1.1'] * 4)} and 2 more"),
    ],
)
def test_what_is_said(message: bytes, said: str) -> None:
    assert words(message) == said


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "igmp_short"),
        (sealed(b"\x16" + bytes(6)), "igmp_short"),
        (b"\x16\0\0\0" + PLAIN, "igmp_checksum"),
        (report(count=1), "igmp_records"),
        (report(record(4)[:7], count=1), "igmp_records"),
        (report(record(5, count=1)), "igmp_records"),
        (report(record(5, SOURCE, count=5000)), "igmp_records"),
        (report(b"\4\1\0\0" + PLAIN), "igmp_records"),  # auxiliary data announced
    ],
)
def test_what_is_broken(message: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        words(message)
    assert caught.value.reason == reason


def test_five_thousand_sources_are_one_short_line() -> None:
    assert len(words(report(record(5, *[SOURCE] * 5000))) or "") < 200


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_arbitrary_bytes_have_words_or_a_reason(data: bytes) -> None:
    message = sealed(b"\x22" + data) if len(data) > 6 else data
    try:
        assert words(message)
    except DecodeError as error:
        assert error.reason.startswith("igmp_")  # noqa: PT017  # both outcomes are right; this one has a name


def test_published_queries() -> None:
    frames = [frame[14:] for frame in pcap.read(pcap.CAPTURES / "igmpv3-queries.pcap")]
    told = [words(frame[4 * (frame[0] & 0x0F) : int.from_bytes(frame[2:4])]) or "" for frame in frames]
    assert told
    assert {text.partition(" for ")[0] for text in told} == {"IGMPv3 query"}


def test_of_one_group_only_what_is_said_of_it() -> None:
    second = IPv4Address("239.1.1.2")
    both = report(record(4), record(3, group=str(second)))
    assert words(both, second) == "IGMPv3 report: leaves 239.1.1.2"
    assert words(both, IPv4Address(SOURCE)) is None
    assert words(sealed(b"\x16\0\0\0" + PLAIN), IPv4Address(GROUP)) == "IGMPv2 report: joins 239.1.1.1"
    assert words(sealed(b"\x16\0\0\0" + PLAIN), second) is None
    assert words(sealed(b"\x11\0\0\0" + bytes(8)), second) is None  # a query for all groups
