"""Neighbours and the link's effective timers (RFC 7761, section 4.3)."""

from ipaddress import IPv4Address
from math import inf

from mcastd.pim.neighbor import MAX_NEIGHBORS, Change, Neighbors
from mcastd.pim.packet import Hello, LanPruneDelay

A, B, C = (IPv4Address(f"10.44.4.{n}") for n in (5, 7, 9))
OWN = LanPruneDelay(0.5, 2.5)


def test_holdtime_absent_is_105_forever_is_forever_and_zero_is_goodbye() -> None:
    table = Neighbors()
    assert table.hello(A, Hello(), 10.0) == (Change.NEW, [])
    assert table.next_deadline() == 115.0
    assert table.hello(A, Hello(holdtime=0xFFFF), 20.0) == (Change.NONE, [])
    assert table.next_deadline() == inf
    assert table.hello(B, Hello(holdtime=0), 20.0) == (Change.NONE, [])
    assert table.hello(A, Hello(holdtime=0), 30.0) == (Change.GONE, [])
    assert len(table) == 0


def test_a_neighbor_expires_at_its_holdtime() -> None:
    table = Neighbors()
    table.hello(A, Hello(holdtime=10), 0.0)
    assert table.expire(9.9) == []
    assert [neighbor.address for neighbor in table.expire(10.0)] == [A]


def test_a_new_generation_id_is_a_restart() -> None:
    table = Neighbors()
    table.hello(A, Hello(generation_id=1), 0.0)
    assert table.hello(A, Hello(generation_id=1), 1.0)[0] is Change.NONE
    assert table.hello(A, Hello(generation_id=2), 2.0)[0] is Change.RESTARTED
    assert table.hello(A, Hello(), 3.0)[0] is Change.NONE


def test_a_neighbor_is_found_by_a_secondary_address() -> None:
    table = Neighbors()
    table.hello(A, Hello(addresses=(C,)), 0.0)
    found = table.find(C)
    assert found is not None
    assert found.address == A
    assert table.get(C) is None


def test_a_neighbor_that_moves_to_another_address_replaces_itself() -> None:
    table = Neighbors()
    table.hello(A, Hello(generation_id=7), 0.0)
    change, replaced = table.hello(B, Hello(generation_id=7, addresses=(A,)), 1.0)
    assert (change, [neighbor.address for neighbor in replaced]) == (Change.NEW, [A])
    assert [neighbor.address for neighbor in table.all()] == [B]


def test_nobody_takes_another_ones_address_by_listing_it() -> None:
    table = Neighbors()
    table.hello(A, Hello(generation_id=7), 0.0)
    table.hello(B, Hello(generation_id=8, addresses=(A,)), 1.0)
    found = table.find(A)
    assert found is not None
    assert found.address == A


def test_an_address_that_two_neighbors_list_is_the_last_ones() -> None:
    table = Neighbors()
    for source in (A, B, A):
        table.hello(source, Hello(generation_id=7 if source == A else 8, addresses=(C, source + 16)), 0.0)
        found = table.find(C)
        assert found is not None
        assert found.address == source
    other = table.get(B)
    assert other is not None
    assert other.hello.addresses == (B + 16,)


def test_the_table_is_bounded_but_for_the_configured_neighbor() -> None:
    table = Neighbors()
    for n in range(MAX_NEIGHBORS):
        assert table.hello(IPv4Address("10.50.0.0") + n, Hello(), 0.0)[0] is Change.NEW
    assert table.hello(A, Hello(), 0.0)[0] is Change.REFUSED
    assert table.hello(A, Hello(), 0.0, always=A)[0] is Change.NEW


def test_effective_delays_are_the_largest_if_all_send_them() -> None:
    table = Neighbors()
    assert table.override_interval(LanPruneDelay(0.1, 0.2)) == 0.2
    table.hello(A, Hello(lan_prune_delay=LanPruneDelay(1.0, 4.0)), 0.0)
    assert (table.propagation_delay(OWN), table.override_interval(OWN)) == (1.0, 4.0)
    table.hello(B, Hello(), 0.0)
    assert (table.propagation_delay(OWN), table.override_interval(OWN)) == (0.5, 2.5)


def test_suppression_is_off_only_if_everybody_tracks() -> None:
    tracking = LanPruneDelay(0.5, 2.5, tracking=True)
    table = Neighbors()
    table.hello(A, Hello(lan_prune_delay=tracking), 0.0)
    assert table.suppression_enabled(OWN)
    assert not table.suppression_enabled(tracking)
    table.hello(B, Hello(), 0.0)
    assert table.suppression_enabled(tracking)


def test_the_best_neighbor_is_by_priority_if_all_have_one_else_by_address() -> None:
    table = Neighbors()
    assert table.best() is None
    table.hello(A, Hello(dr_priority=9), 0.0)
    table.hello(B, Hello(dr_priority=1), 0.0)
    best = table.best()
    assert best is not None
    assert best.address == A
    table.hello(C, Hello(), 0.0)
    best = table.best()
    assert best is not None
    assert best.address == C
