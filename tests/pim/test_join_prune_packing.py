"""Packing within the MTU and 255 groups, in nearly the fewest messages (RFC 7761, section 4.9.5)."""

from ipaddress import IPv4Address
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.pim.join_prune_packing import GROUP_HEAD, MAX_GROUPS, SOURCE, messages, records, room_for_groups
from mcastd.pim.packet import SPARSE, JoinPrune, decode_join_prune, encode_source, unseal

UPSTREAM = IPv4Address("10.44.4.5")
BASE = IPv4Address("239.0.0.0")


def single(count: int, mtu: int) -> list[bytes]:
    return [
        record
        for n in range(count)
        for record in records(BASE + n, room_for_groups(mtu), joined=[encode_source(UPSTREAM, 7)])
    ]


def decoded(found: list[bytes]) -> list[JoinPrune]:
    return [decode_join_prune(unseal(data)[1]) for data in found]


def test_68_single_source_groups_fit_into_1398_bytes() -> None:
    found = messages(single(69, 1398), UPSTREAM, 210, 1398)
    assert [len(message.groups) for message in decoded(found)] == [68, 1]
    assert len(found[0]) + 20 <= 1398


@pytest.mark.parametrize(("count", "shape"), [(255, [255]), (256, [255, 1]), (510, [255, 255]), (300, [255, 45])])
def test_the_group_count_never_exceeds_255(count: int, shape: list[int]) -> None:
    found = messages(single(count, 65535), UPSTREAM, 210, 65535)
    assert [len(message.groups) for message in decoded(found)] == shape
    assert [data[11] for data in found] == shape


def test_join_star_g_and_its_rpt_prunes_stay_together_and_the_first_that_fit_are_kept() -> None:
    star = [encode_source(UPSTREAM, 7)]
    prunes = [encode_source(IPv4Address(n), 5) for n in range(1, 500)]
    joined = [encode_source(IPv4Address(1000 + n), 4) for n in range(300)]
    found = decoded(messages(records(BASE, room_for_groups(1398), (star, prunes), joined), UPSTREAM, 210, 1398))
    first = found[0].groups[0]
    most = (room_for_groups(1398) - GROUP_HEAD) // SOURCE
    assert len(first.joined) == 1
    assert [int(source.address) for source in first.pruned] == list(range(1, most))
    assert all(source.flags == 4 for message in found[1:] for entry in message.groups for source in entry.joined)
    assert sum(len(entry.joined) for message in found for entry in message.groups) == 301


def test_a_tiny_mtu_still_carries_one_source() -> None:
    assert len(messages(single(3, 40), UPSTREAM, 210, 40)) == 3


def fewest(made: list[bytes], room: int) -> int:
    """A lower bound of the number of messages: by bytes, and by groups."""
    return max(-(-sum(map(len, made)) // room), -(-len(made) // MAX_GROUPS))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=200), st.integers(300, 9000))
def test_mixed_sizes_all_arrive_in_nearly_the_fewest_messages(sizes: list[int], mtu: int) -> None:
    room = room_for_groups(mtu)
    wanted = {(BASE + n, IPv4Address(1 + source)) for n, size in enumerate(sizes) for source in range(size)}
    made = [
        record
        for n, size in enumerate(sizes)
        for record in records(BASE + n, room, joined=[encode_source(IPv4Address(1 + s), 4) for s in range(size)])
    ]
    found = messages(made, UPSTREAM, 210, mtu)
    got = [(entry.group, s.address) for message in decoded(found) for entry in message.groups for s in entry.joined]
    assert sorted(got) == sorted(wanted)
    assert all(len(data) + 20 <= mtu for data in found)
    assert all(len(message.groups) <= MAX_GROUPS for message in decoded(found))
    # Where a group goes on in the next message, its head comes again; less than a head with a source may be left over.
    by_bytes = -(-sum(map(len, made)) // (room - GROUP_HEAD - GROUP_HEAD - SOURCE))
    assert len(found) <= max(by_bytes, fewest(made, room)) + 1


@pytest.mark.parametrize("mtu", [1398, 1500, 9000])
@pytest.mark.parametrize("most", [1, 3, 12, 60, 200])
@pytest.mark.parametrize("with_star", [False, True])
def test_many_groups_take_at_most_a_tenth_more_messages_than_the_lower_bound(
    mtu: int, most: int, with_star: bool
) -> None:
    room, random = room_for_groups(mtu), Random(most)
    made: list[bytes] = []
    for n in range(3000):
        sources = [encode_source(IPv4Address(s), 5 if with_star else 4) for s in range(random.randint(0, most))]
        if with_star:  # what cannot be divided, of up to a tenth of a message
            made += records(BASE + n, room, ([encode_source(UPSTREAM, 7)], sources[: room // 10 // SOURCE]))
        else:
            made += records(BASE + n, room, joined=sources)
    found = messages(made, UPSTREAM, 210, mtu)
    assert fewest(made, room) <= len(found) <= fewest(made, room) * 1.1
    assert max(map(len, found)) + 20 <= mtu


@pytest.mark.parametrize("prunes", [0, 40])
def test_groups_of_half_a_message_are_divided_so_that_none_is_half_empty(prunes: int) -> None:
    joined = [encode_source(IPv4Address(n), SPARSE) for n in range(90)]
    pruned = [encode_source(IPv4Address(1000 + n), SPARSE) for n in range(prunes)]
    made = [r for n in range(20) for r in records(BASE + n, room_for_groups(1398), joined=joined, pruned=pruned)]
    found = decoded(messages(made, UPSTREAM, 210, 1398))
    assert len(found) == -(-20 * (12 + (90 + prunes) * 8) // (1364 - 20))
    for which, wanted in ((False, joined), (True, pruned)):
        got = [
            encode_source(source.address, source.flags)
            for message in found
            for entry in message.groups
            for source in (entry.pruned if which else entry.joined)
        ]
        assert sorted(got) == sorted(wanted * 20)


def test_shared_trees_with_their_prunes_are_not_divided() -> None:
    star, prunes = [encode_source(UPSTREAM, 7)], [encode_source(IPv4Address(n), 5) for n in range(90)]
    made = [r for n in range(5) for r in records(BASE + n, room_for_groups(1398), (star, prunes))]
    found = decoded(messages(made, UPSTREAM, 210, 1398))
    assert [[len(entry.pruned) for entry in message.groups] for message in found] == [[90]] * 5


def test_order_does_not_matter_to_the_number_of_messages() -> None:
    made = [records(BASE + n, 1364, joined=[encode_source(UPSTREAM, 4)] * (1 + n % 3))[0] for n in range(3000)]
    ordered = len(messages(made, UPSTREAM, 210, 1398))
    Random(1).shuffle(made)
    assert len(messages(made, UPSTREAM, 210, 1398)) == ordered
    assert ordered <= fewest(made, 1364) * 1.02


def test_a_large_group_is_divided_between_its_joins_and_prunes_as_well() -> None:
    joined = [encode_source(IPv4Address(n), SPARSE) for n in range(100)]
    pruned = [encode_source(IPv4Address(1000), 7)] + [encode_source(IPv4Address(n), SPARSE) for n in range(1001, 1400)]
    (record,) = records(BASE, room_for_groups(1398), joined=joined, pruned=pruned)
    found = decoded(messages([record], UPSTREAM, 210, 1398))
    assert [(len(m.groups[0].joined), len(m.groups[0].pruned)) for m in found] == [(100, 69), (0, 169), (0, 162)]
    assert found[0].groups[0].pruned[0].flags == 7
