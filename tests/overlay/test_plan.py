"""Which endpoints want a group -> entries, compared with what the kernel makes of them packet by packet."""

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from mcastd.membership import ANY_SOURCE, NONE, DesiredGroup
from mcastd.net.vxlan import EVERY, Forwarding, Replica, mac_of
from mcastd.overlay.plan import QUERIES, entries, slot, together
from mcastd.overlay.replication import Replication
from tests.calls import calls

GROUP, SAME_MAC = IPv4Address("239.1.1.1"), IPv4Address("239.129.1.1")
OWN = IPv4Address("10.99.0.1")
SOURCES = [IPv4Address(f"10.1.1.{number}") for number in range(1, 5)]
ENDPOINTS = [IPv4Address(f"192.0.2.{number}") for number in range(1, 5)]

sets = st.frozensets(st.sampled_from(SOURCES[:3]))
desires = st.one_of(
    st.builds(lambda of: DesiredGroup(True, NONE, of), sets),
    st.builds(lambda of: DesiredGroup(False, of), sets.filter(bool)),
)
wantings = st.dictionaries(st.sampled_from(ENDPOINTS), desires, min_size=1)


def wants(desired: DesiredGroup, source: IPv4Address) -> bool:
    return source in desired.sources or (desired.any_source and source not in desired.excluded)


def copies(found: frozenset[object], group: IPv4Address, source: IPv4Address) -> set[IPv4Address]:
    """Whom the kernel sends a packet to."""
    replicas = [one for one in found if isinstance(one, Replica) and one.group == group]
    exact = {one.endpoint for one in replicas if one.source == source}
    return exact or {one.endpoint for one in replicas if one.source is None}


@given(wantings)
def test_each_endpoint_gets_what_it_wants_and_our_queries(wanting: dict[IPv4Address, DesiredGroup]) -> None:
    found = entries(GROUP, [(GROUP, wanting)], OWN)
    for source in SOURCES:
        expected = {endpoint for endpoint, desired in wanting.items() if wants(desired, source)}
        if expected:  # a source that all exclude is not routed to the overlay
            assert copies(frozenset(found), GROUP, source) == expected
    assert copies(frozenset(found), GROUP, OWN) == wanting.keys()


@given(desires, desires)
def test_two_hosts_behind_one_endpoint_get_what_either_wants(one: DesiredGroup, other: DesiredGroup) -> None:
    both = together(one, other)
    for source in SOURCES:
        assert wants(both, source) == (wants(one, source) or wants(other, source))


def test_by_ethernet_addresses_groups_share_their_entries() -> None:
    wanting = {ENDPOINTS[0]: ANY_SOURCE}
    assert slot("mac", GROUP) == slot("mac", SAME_MAC) == mac_of(GROUP)
    found = entries(mac_of(GROUP), [(GROUP, wanting), (SAME_MAC, {ENDPOINTS[1]: ANY_SOURCE})], OWN)
    assert found == {Forwarding(mac_of(GROUP), one) for one in ENDPOINTS[:2]}
    assert slot("flood", GROUP) == slot("flood", QUERIES) == EVERY
    assert slot("mdb", QUERIES) == mac_of(QUERIES)


def test_what_the_kernel_has_is_made_what_is_wanted() -> None:
    one = Replication(OWN)
    stale = Replica(SAME_MAC, None, ENDPOINTS[2])
    for _ in one.found([stale]):
        pass
    assert one.differs
    one.want(GROUP, {ENDPOINTS[0]: ANY_SOURCE, ENDPOINTS[1]: ANY_SOURCE})
    added, removed = one.changes(10, lambda _: True)
    assert set(added) == {Replica(GROUP, None, endpoint) for endpoint in ENDPOINTS[:2]}
    assert not removed
    one.compare()
    assert one.changes(10, lambda _: False) == ([], [stale])
    assert (one.copies, set(one.wanted_by)) == (2, set(ENDPOINTS[:2]))


def test_what_nobody_wants_any_more_is_removed_and_what_is_as_known_is_no_change() -> None:
    one = Replication(OWN)
    one.want(GROUP, {ENDPOINTS[0]: ANY_SOURCE, ENDPOINTS[1]: ANY_SOURCE})
    added, _ = one.changes(10, lambda _: True)
    for _ in one.found(added):
        pass
    assert (one.differs, one.is_due) == (False, False)
    one.want(GROUP, {})
    assert set(one.changes(10, lambda _: True)[1]) == set(added)
    assert (one.copies, dict(one.wanted_by), one.groups) == (0, {}, {})


def test_a_turn_is_bounded_by_entries() -> None:
    one = Replication(OWN)
    endpoints = {IPv4Address("192.0.2.0") + number: ANY_SOURCE for number in range(400)}
    for number in range(50):
        one.want(GROUP + number, endpoints)
    turns = []
    while one.is_due:
        added, _ = one.changes(1000, lambda _: True)
        turns.append(len(added))
    assert set(turns[:-1]) == {1200}
    assert sum(turns) == 50 * 400


def test_a_group_with_too_many_entries_goes_to_all_of_its_endpoints_from_any_source() -> None:
    every = {IPv4Address("192.0.2.0") + number: ANY_SOURCE for number in range(50)}
    some = {ENDPOINTS[0] + 100: DesiredGroup(sources=frozenset(IPv4Address("10.2.0.0") + n for n in range(128)))}
    one = Replication(OWN)
    one.want(GROUP, every | some)
    added, _ = one.changes(1000, lambda _: True)
    assert set(added) == {Replica(GROUP, None, endpoint) for endpoint in every | some}
    assert list(one.inexact) == [GROUP]
    assert calls(lambda: plan_again(one, every | some)) < 4000
    one.want(GROUP, every)
    assert not one.inexact


def plan_again(one: Replication, wanting: dict[IPv4Address, DesiredGroup]) -> None:
    one.want(GROUP, {})
    one.want(GROUP, wanting)
    one.changes(1000, lambda _: True)
