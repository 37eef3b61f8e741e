"""Neighbours on one link (RFC 7761, section 4.3)."""

from ipaddress import IPv4Address
from math import inf

from mcastd.pim.hello_pace import LIMIT
from mcastd.pim.neighbor import MAX_NEIGHBORS, Change, Neighbors
from mcastd.pim.packet import Hello

A, B, C = (IPv4Address(f"10.44.4.{n}") for n in (5, 7, 9))


def test_holdtime_absent_is_105_forever_is_forever_and_zero_is_goodbye() -> None:
    table = Neighbors()
    assert table.hello(A, Hello(), 10.0) == (Change.NEW, [])
    assert [neighbor.expires for neighbor in table.all()] == [115.0]
    assert table.next_deadline() == 10.0 + LIMIT * 30.0, "its next Hello is overdue sooner"
    assert table.overdue(table.next_deadline()) == table.all()
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


def test_the_primary_address_of_another_neighbor_is_not_taken_by_listing_it() -> None:
    table = Neighbors()
    table.hello(A, Hello(generation_id=7), 0.0)
    table.hello(B, Hello(generation_id=8, addresses=(A,)), 1.0)
    found = table.find(A)
    assert found is not None
    assert found.address == A


def test_of_two_neighbors_that_list_an_address_the_newest_has_it() -> None:
    table = Neighbors()
    for source in (A, B):
        table.hello(source, Hello(generation_id=7 if source == A else 8, addresses=(C,)), 0.0)
        found = table.find(C)
        assert found is not None
        assert found.address == source


def test_the_table_is_bounded_but_for_the_configured_neighbor() -> None:
    table = Neighbors()
    for n in range(MAX_NEIGHBORS):
        assert table.hello(IPv4Address("10.50.0.0") + n, Hello(), 0.0)[0] is Change.NEW
    assert table.hello(A, Hello(), 0.0)[0] is Change.REFUSED
    assert table.hello(A, Hello(), 0.0, always=A)[0] is Change.NEW
