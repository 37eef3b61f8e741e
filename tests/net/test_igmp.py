"""The IGMP codec: what is encoded decodes to the same, and whatever is malformed is refused for a reason."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.errors import DecodeError
from mcastd.net.igmp import (
    Leave,
    Message,
    Query,
    Record,
    RecordType,
    Report,
    V3Report,
    decode,
    decode_code,
    encode_code,
    encode_query,
)
from tests.igmp.encoders import encode, encode_record, encode_v3_report, seal

GROUP, SOURCE = IPv4Address("239.1.2.3"), IPv4Address("100.15.30.10")
GROUPS = st.integers(0xE0000000, 0xEFFFFFFF).map(IPv4Address)
SOURCES = st.integers(0x01000000, 0xDFFFFFFF).filter(lambda number: number >> 24 != 127).map(IPv4Address)
CODES = st.integers(0, 255).map(decode_code)
SOURCE_LISTS = st.lists(SOURCES, max_size=5).map(tuple)
RECORDS = st.builds(Record, st.sampled_from(RecordType), GROUPS, SOURCE_LISTS)


@st.composite
def queries(draw: st.DrawFn) -> Query:
    version = draw(st.integers(1, 3))
    if version == 1:
        return Query(1, 10.0)
    group = draw(st.none() | GROUPS)
    if version == 2:
        return Query(2, draw(st.integers(1, 255)) / 10, group)
    sources = draw(SOURCE_LISTS) if group is not None else ()
    return Query(3, draw(CODES) / 10, group, sources, draw(st.booleans()), draw(st.integers(0, 7)), float(draw(CODES)))


MESSAGES = (
    queries()
    | st.builds(Report, st.integers(1, 2), GROUPS)
    | st.builds(Leave, GROUPS)
    | st.builds(V3Report, st.lists(RECORDS, max_size=5).map(tuple))
)


def outcome(data: bytes) -> str | None:
    """Why a message is refused; None if it is not."""
    try:
        decode(data)
    except DecodeError as error:
        return error.reason
    return None


@given(MESSAGES)
def test_what_is_encoded_decodes_to_the_same(message: Message) -> None:
    assert decode(encode(message)) == message


@given(MESSAGES, st.data())
def test_a_message_that_is_cut_is_refused_or_shorter(message: Message, data: st.DataObject) -> None:
    whole = encode(message)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(DecodeError):
        decode(cut)
    if len(cut) >= 8:
        reason = outcome(seal(cut))
        if reason is None:  # a query that ends behind its group address is one of version 1 or 2
            found = decode(seal(cut))
            assert isinstance(found, Query)
            assert found.version < 3
        else:
            assert reason in ("truncated", "query_length")


@given(MESSAGES, st.binary(min_size=1, max_size=9))
def test_bytes_behind_the_last_field_are_ignored(message: Message, more: bytes) -> None:
    whole = seal(encode(message) + more)
    if isinstance(message, Query) and message.version < 3:  # the length of a query is its version
        return
    assert decode(whole) == message


@given(st.integers(0, 40_000))
def test_a_value_becomes_the_next_lower_one_that_has_a_code(value: int) -> None:
    code = encode_code(value)
    assert decode_code(code) <= value
    assert code == 255 or decode_code(code + 1) > value


@pytest.mark.parametrize(("code", "value"), [(0, 0), (127, 127), (128, 128), (0x8F, 248), (0x90, 256), (255, 31744)])
def test_floating_codes(code: int, value: int) -> None:
    assert decode_code(code) == value
    assert encode_code(value) == code


def test_versions_of_queries() -> None:
    assert decode(seal(bytes.fromhex("1100000000000000"))) == Query(1, 10.0)
    assert decode(seal(bytes.fromhex("11640000") + GROUP.packed)) == Query(2, 10.0, GROUP)
    assert decode(seal(bytes.fromhex("11ff0000") + GROUP.packed)) == Query(2, 25.5, GROUP)  # no floating code
    assert decode(seal(bytes.fromhex("1164000000000000027d0000"))) == Query(3, 10.0, robustness=2, interval=125.0)
    # The group address is no field of version 1.
    assert decode(seal(bytes.fromhex("11000000") + GROUP.packed)) == Query(1, 10.0)


def test_older_versions_are_written_in_their_form() -> None:
    assert encode_query(Query(2, 1.0, GROUP, (SOURCE,), True, 2, 125.0)) == seal(
        bytes.fromhex("110a0000") + GROUP.packed
    )
    assert encode_query(Query(2, 30.0)) == seal(bytes.fromhex("11ff000000000000"))
    assert encode_query(Query(1, 10.0)) == seal(bytes.fromhex("1100000000000000"))


def test_a_robustness_that_does_not_fit_is_not_stated() -> None:
    found = decode(encode_query(Query(3, 1.0, robustness=9, interval=125.0)))
    assert isinstance(found, Query)
    assert found.robustness == 0


def test_records_of_an_unknown_type_and_auxiliary_data_are_skipped() -> None:
    records = (
        encode_record(7, GROUP, (SOURCE,)),
        encode_record(RecordType.ALLOW, GROUP, (SOURCE,), b"auxiliary da"),
        encode_record(0, GROUP),
        encode_record(RecordType.TO_IN, GROUP),
    )
    expected = (Record(RecordType.ALLOW, GROUP, (SOURCE,)), Record(RecordType.TO_IN, GROUP))
    assert decode(encode_v3_report(records)) == V3Report(expected)


UNICAST = IPv4Address("10.0.0.1")


def test_a_bad_address_costs_its_source_or_its_record_and_not_the_report() -> None:
    bad = (IPv4Address(0), IPv4Address("127.0.0.1"), IPv4Address("224.0.0.5"))
    records = (
        encode_record(RecordType.IS_IN, GROUP, bad),  # says nothing without its sources
        encode_record(RecordType.IS_IN, GROUP + 1, (bad[0], SOURCE)),
        encode_record(RecordType.IS_EX, UNICAST),
        encode_record(RecordType.TO_EX, GROUP + 2, bad),  # excludes what is never sent
        encode_record(RecordType.TO_IN, GROUP + 3, bad),  # a leave
        encode_record(RecordType.IS_EX, GROUP + 4),
    )
    expected = (
        Record(RecordType.IS_IN, GROUP + 1, (SOURCE,)),
        Record(RecordType.TO_EX, GROUP + 2),
        Record(RecordType.TO_IN, GROUP + 3),
        Record(RecordType.IS_EX, GROUP + 4),
    )
    reasons = ("source_address", "source_address", "group_address", "source_address", "source_address")
    assert decode(encode_v3_report(records)) == V3Report(expected, reasons)


MALFORMED = {
    "short": [b"", b"\x11", seal(b"\x22" + bytes(6))],
    "checksum": [bytes.fromhex("1164ffff00000000"), encode(Leave(GROUP))[:-1] + b"\x04"],
    "unexpected_type": [seal(bytes([kind]) + bytes(7)) for kind in (0x00, 0x10, 0x13, 0x14, 0x1F, 0x30, 0xFF)],
    "query_length": [seal(bytes.fromhex("1164000000000000") + bytes(extra)) for extra in (1, 2, 3)],
    "truncated": [
        seal(bytes.fromhex("220000000000ffff")),  # records that are not there
        seal(encode(V3Report((Record(RecordType.ALLOW, GROUP, (SOURCE,)),)))[:-1]),
        seal(bytes.fromhex("2200000000000001") + bytes.fromhex("04ff0000") + GROUP.packed),  # auxiliary data
        seal(bytes.fromhex("2200000000000001") + bytes.fromhex("04001388") + GROUP.packed),  # 5,000 sources
        seal(bytes.fromhex("11640000") + GROUP.packed + bytes.fromhex("027d0002") + SOURCE.packed),
    ],
    "group_address": [
        seal(bytes.fromhex("16000000") + UNICAST.packed),
        seal(bytes.fromhex("17000000") + bytes(4)),
        seal(bytes.fromhex("11640000") + UNICAST.packed),
        encode_v3_report([encode_record(RecordType.TO_EX, UNICAST)]),
    ],
    "source_address": [
        encode_v3_report([encode_record(RecordType.ALLOW, GROUP, (IPv4Address(source),))])
        for source in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255")
    ],
    "sources_without_group": [seal(bytes.fromhex("1164000000000000027d0001") + SOURCE.packed)],
}


@pytest.mark.parametrize(("reason", "data"), [(reason, data) for reason, found in MALFORMED.items() for data in found])
def test_what_is_malformed_is_refused_for_a_reason(reason: str, data: bytes) -> None:
    with pytest.raises(DecodeError) as refused:
        decode(data)
    assert refused.value.reason == reason


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_decoded_or_refused(data: bytes) -> None:
    for held in (data, seal(data) if len(data) >= 4 else data):
        assert outcome(held) in {None, *MALFORMED}
