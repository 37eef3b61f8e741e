"""The RP set from Bootstrap messages (RFC 5059), and the choice of an RP (RFC 7761, section 4.7.1)."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.config.model import Pim, RpRange
from mcastd.errors import DecodeError
from mcastd.pim import bootstrap_rps as bsr
from mcastd.pim.bootstrap_rps import BS_TIMEOUT, MAX_RPS, MAX_SCOPES, SZ_TIMEOUT, RpSet, hash_value
from mcastd.pim.messages import (
    Bootstrap,
    CandidateRpAdvertisement,
    RpEntry,
    RpRangeEntry,
    decode_bootstrap,
    decode_candidate_rp,
)
from mcastd.pim.packet import unseal
from mcastd.pim.rp import RpMap
from tests.pim.encoders import encode_bootstrap, encode_candidate_rp

BSR, BETTER = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
R1, R2, R3 = (IPv4Address(f"100.15.30.{n}") for n in (1, 2, 3))
ALL = IPv4Network("224.0.0.0/4")
SITE = IPv4Network("239.1.0.0/16")
GROUP = IPv4Address("239.1.2.3")

VECTOR = bytes.fromhex(
    "2400 3ade"
    "1234 1e 40 0100 0a000001"  # tag, hash mask 30, priority 64, 10.0.0.1
    "0100 0004 e0000000 01 01 0000"  # 224.0.0.0/4: one RP
    "0100 640f1e01 0096 00 00"  # 100.15.30.1, 150 s, priority 0
)


def rps(*addresses: IPv4Address, priority: int = 0, holdtime: int = 150) -> tuple[RpEntry, ...]:
    return tuple(RpEntry(address, holdtime, priority) for address in addresses)


def message(*ranges: RpRangeEntry, tag: int = 1, priority: int = 64, address: IPv4Address = BSR) -> Bootstrap:
    return Bootstrap(tag, 30, priority, address, ranges)


def whole(groups: IPv4Network, *found: RpEntry) -> RpRangeEntry:
    return RpRangeEntry(groups, len(found), found)


def test_a_bootstrap_message_made_by_hand() -> None:
    expected = Bootstrap(0x1234, 30, 64, BSR, (whole(ALL, RpEntry(R1, 150, 0)),))
    assert encode_bootstrap(expected) == VECTOR
    assert decode_bootstrap(unseal(VECTOR)[1]) == expected


@pytest.mark.parametrize("padding", range(12))
def test_zeros_behind_the_last_range_are_padding(padding: int) -> None:
    assert decode_bootstrap(unseal(VECTOR)[1] + bytes(padding)) == decode_bootstrap(unseal(VECTOR)[1])


def test_no_forward_is_in_the_header() -> None:
    data = encode_bootstrap(message(), no_forward=True)
    assert data[1] == 0x80
    unseal(data)


addresses = st.integers(1, 0xDFFFFFFF).map(IPv4Address)
networks = st.tuples(st.integers(0xE0000000, 0xEFFFFFFF), st.integers(4, 32)).map(
    lambda pair: IPv4Network(pair, strict=False)
)
entries = st.builds(RpEntry, addresses, st.integers(0, 0xFFFF), st.integers(0, 255))
ranges = st.tuples(networks, st.lists(entries, max_size=4), st.integers(0, 9), st.booleans()).map(
    lambda t: RpRangeEntry(t[0], len(t[1]) + t[2], tuple(t[1]), t[3])
)


@given(
    st.builds(
        Bootstrap,
        st.integers(0, 0xFFFF),
        st.integers(0, 32),
        st.integers(0, 255),
        addresses,
        st.lists(ranges, max_size=4).map(tuple),
    )
)
def test_bootstrap_messages_round_trip(found: Bootstrap) -> None:
    assert decode_bootstrap(unseal(encode_bootstrap(found))[1]) == found


@given(
    st.builds(
        CandidateRpAdvertisement,
        st.integers(0, 255),
        st.integers(0, 0xFFFF),
        addresses,
        st.lists(networks, max_size=4).map(tuple),
    )
)
def test_candidate_rp_advertisements_round_trip(found: CandidateRpAdvertisement) -> None:
    assert decode_candidate_rp(unseal(encode_candidate_rp(found))[1]) == found


HEAD = "1234 1e 40 0100 0a000001"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "truncated"),
        ("1234 1e 40 0100 0a00", "truncated"),
        ("1234 21 40 0100 0a000001", "hash_mask_length"),
        ("1234 1e 40 0200 0a000001", "address_family"),
        (HEAD + "0100 0004 e0000000", "truncated"),
        (HEAD + "0100 0021 e0000000 00 00 0000", "mask_length"),
        (HEAD + "0100 0004 e0000000 01 02 0000", "rp_count"),
        (HEAD + "0100 0004 e0000000 01 01 0000", "truncated"),
        (HEAD + "0100 0004 e0000000 ff ff 0000 0100 640f1e01 0096 00 00", "truncated"),
        (HEAD + "0100 0004 e0000000 01 01 0000 0100 e0000001 0096 00 00", "rp_address"),
    ],
)
def test_bad_bootstrap_messages_are_refused(body: str, reason: str) -> None:
    with pytest.raises(DecodeError, match=f"^{reason}$"):
        decode_bootstrap(bytes.fromhex(body))


def test_longest_range_then_lowest_priority_number_then_hash_then_address() -> None:
    found = RpSet()
    assert found.received(message(whole(ALL, *rps(R1)), whole(SITE, *rps(R2, priority=5), *rps(R3, priority=1))), 0.0)
    assert found.rp(GROUP) == R3
    assert found.rp(IPv4Address("239.2.0.1")) == R1
    found.received(message(whole(SITE, *rps(R1, R2, R3))), 1.0)
    for n in range(64):
        group = GROUP + n
        expected = max((R1, R2, R3), key=lambda rp: (hash_value(group, rp, 30), rp))
        assert found.rp(group) == expected
    assert len({found.rp(GROUP + n) for n in range(64)}) > 1
    assert found.rp(GROUP) == found.rp(IPv4Address(int(GROUP) ^ 1))  # of one block of 4


def test_the_hash_is_the_rfcs() -> None:
    # Value(G,M,C) worked out by hand, step by step, for 239.1.2.3/30 and 100.15.30.1.
    masked = 0xEF010200
    step = (1103515245 * masked + 12345) ^ 0x640F1E01
    assert hash_value(GROUP, R1, 30) == (1103515245 * step + 12345) % 2147483648


def test_a_set_in_fragments_replaces_the_old_one_when_it_is_complete() -> None:
    found = RpSet()
    found.received(message(whole(ALL, *rps(R1))), 0.0)
    assert not found.received(message(RpRangeEntry(ALL, 2, rps(R2)), tag=2), 1.0)
    assert found.rp(GROUP) == R1
    assert found.received(message(RpRangeEntry(ALL, 2, rps(R3)), tag=2), 1.1)
    assert found.rp(GROUP) in (R2, R3)
    assert found.summary() == (1, (R2, R3))


def test_a_message_without_ranges_changes_nothing_but_an_empty_zone_takes_its_groups_away() -> None:
    found = RpSet()
    assert not found.received(message(), 0.0)
    assert found.bootstrap_router() == (BSR, 64)
    assert found.received(message(whole(ALL, *rps(R1))), 1.0)
    assert found.received(message(RpRangeEntry(SITE, 0, (), scoped=True)), 2.0)
    assert found.rp(GROUP) is None


def test_fragments_of_different_tags_do_not_mix() -> None:
    found = RpSet()
    found.received(message(RpRangeEntry(ALL, 2, rps(R1)), tag=1), 0.0)
    found.received(message(RpRangeEntry(ALL, 2, rps(R2)), tag=2), 0.1)
    assert found.rp(GROUP) is None


def test_holdtime_zero_withdraws_and_so_does_an_empty_range() -> None:
    found = RpSet()
    found.received(message(whole(ALL, *rps(R1)), whole(SITE, *rps(R2))), 0.0)
    assert found.received(message(whole(SITE, *rps(R2, holdtime=0))), 1.0)
    assert found.rp(GROUP) == R1
    assert found.received(message(whole(ALL)), 2.0)
    assert found.rp(GROUP) is None
    assert not found.received(message(whole(SITE, *rps(R3, holdtime=0))), 3.0)


def test_a_better_bootstrap_router_wins_and_a_worse_one_waits_for_the_timer() -> None:
    found = RpSet()
    found.received(message(whole(ALL, *rps(R1))), 0.0)
    with pytest.raises(DecodeError, match="bsr_not_preferred"):
        found.received(message(whole(ALL, *rps(R2)), priority=63, address=BETTER), 1.0)
    assert found.received(message(whole(ALL, *rps(R2)), address=BETTER), 1.0)
    assert found.rp(GROUP) == R2
    assert found.next_deadline() == 1.0 + BS_TIMEOUT
    found.expire(1.0 + BS_TIMEOUT)
    assert found.received(message(whole(ALL, *rps(R3)), priority=0), 2.0 + BS_TIMEOUT)
    assert found.rp(GROUP) == R3


def test_rps_and_zones_expire() -> None:
    found = RpSet()
    found.received(message(whole(ALL, *rps(R1, holdtime=100), *rps(R2, holdtime=300))), 0.0)
    assert found.expire(100.0)
    assert found.rp(GROUP) == R2
    assert not found.expire(BS_TIMEOUT)
    assert found.expire(BS_TIMEOUT + 300.0)
    assert found.rp(GROUP) is None
    assert found.expire(SZ_TIMEOUT)
    assert found.zones() == {}
    assert found.next_deadline() == float("inf")


def test_when_the_bootstrap_router_falls_silent_what_it_said_last_holds_again() -> None:
    found = RpSet()
    found.received(message(whole(SITE, *rps(R1, holdtime=200)), tag=1), 0.0)
    found.received(message(whole(ALL, *rps(R2, holdtime=200)), tag=2), 1.0)
    assert not found.expire(1.0 + BS_TIMEOUT)
    assert found.expire(200.0)  # of the message before the last
    assert found.rp(GROUP) == R2
    assert not found.expire(201.0 + BS_TIMEOUT - 1)
    assert found.expire(201.0 + BS_TIMEOUT)
    assert found.rp(GROUP) is None


def test_a_scope_zone_answers_for_its_groups_alone() -> None:
    found = RpSet()
    found.received(message(whole(ALL, *rps(R1))), 0.0)
    zone = message(RpRangeEntry(SITE, 1, rps(R2), scoped=True), whole(IPv4Network("239.9.0.0/16"), *rps(R3)))
    assert found.received(zone, 0.0)
    assert found.rp(GROUP) == R2
    assert found.rp(IPv4Address("239.9.0.1")) == R1  # outside the zone: ignored
    assert found.received(message(RpRangeEntry(SITE, 0, (), scoped=True)), 1.0)
    assert found.rp(GROUP) is None


def test_what_is_kept_is_bounded() -> None:
    found = RpSet()
    for n in range(MAX_RPS // 200 * 2):
        many = tuple(RpEntry(IPv4Address("10.1.0.0") + (n * 250 + k), 150, 0) for k in range(200))
        entry = whole(IPv4Network((int(IPv4Address("239.0.0.0")) + n * 256, 24)), *many)
        try:
            found.received(message(entry), 0.0)
        except DecodeError as error:
            assert error.reason == "too_many_rps"  # noqa: PT017
            break
    else:
        pytest.fail("no limit")
    zones = RpSet()
    for n in range(MAX_SCOPES):
        net = IPv4Network((int(IPv4Address("239.0.0.0")) + n * 256, 24))
        zones.received(message(RpRangeEntry(net, 1, rps(R1), scoped=True)), 0.0)
    with pytest.raises(DecodeError, match="too_many_scopes"):
        zones.received(message(whole(ALL, *rps(R1))), 0.0)


def test_static_rps_by_longest_range_then_highest_address() -> None:
    ranges = (
        RpRange(address=R1),
        RpRange(address=R3, groups=(SITE,)),
        RpRange(address=R2, groups=(SITE, IPv4Network("239.9.0.0/16"))),
    )
    static = RpMap(Pim(rp=ranges))
    assert static.rp(GROUP) == R3
    assert static.rp(IPv4Address("239.9.0.1")) == R2
    assert static.rp(IPv4Address("239.2.0.1")) == R1
    assert RpMap(Pim(rp=ranges[1:])).rp(IPv4Address("239.2.0.1")) is None


def test_the_constants_are_the_rfcs() -> None:
    assert (bsr.BS_PERIOD, bsr.BS_TIMEOUT, bsr.SZ_TIMEOUT) == (60, 130, 1300)
