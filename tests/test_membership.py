"""Joins counted by origin: the last to leave is the one that counts."""

from ipaddress import IPv4Address

import pytest

from mcastd import membership
from mcastd.errors import McastdError
from mcastd.membership import DesiredGroup, Membership

GROUP, OTHER = IPv4Address("239.1.1.1"), IPv4Address("239.1.1.2")
S1, S2, S3 = (IPv4Address(f"10.9.0.{n}") for n in (1, 2, 3))


def test_the_last_to_leave_ends_it() -> None:
    table = Membership()
    table.join(GROUP, None, "file")
    table.join(GROUP, None, "command")
    assert table.leave(GROUP, None, "file")
    assert table.desired(GROUP) == DesiredGroup(True)
    assert not table.leave(GROUP, None, "file")
    assert table.leave(GROUP, None, "command")
    assert table.desired(GROUP) == DesiredGroup()
    assert table.groups() == []


def test_joining_twice_counts_once() -> None:
    table = Membership()
    table.join(GROUP, S1, "command")
    table.join(GROUP, S1, "command")
    assert table.leave(GROUP, S1, "command")
    assert table.desired(GROUP) == DesiredGroup()


def test_adding_and_removing_many_tells_which_groups_changed_and_keeps_other_origins() -> None:
    table = Membership()
    assert table.add("file", [(GROUP, S1), (OTHER, None)]) == [GROUP, OTHER]
    table.join(GROUP, S1, "command")
    assert table.add("file", [(OTHER, None), (OTHER, S2), (OTHER, S2)]) == [OTHER]
    assert table.remove("file", [(GROUP, S1), (GROUP, S2)]) == [GROUP]
    assert table.desired(GROUP) == DesiredGroup(sources=frozenset({S1}))
    assert table.add("file", [(OTHER, S2), (OTHER, None)]) == table.remove("file", [(GROUP, S1)]) == []
    assert table.entries() == [(GROUP, S1, ("command",)), (OTHER, None, ("file",)), (OTHER, S2, ("file",))]


def test_a_source_is_excluded_if_everybody_excludes_it_and_nobody_asks_for_it() -> None:
    table = Membership()
    table.join(GROUP, None, "one", frozenset({S1, S2, S3}))
    table.join(GROUP, None, "two", frozenset({S2, S3}))
    assert table.desired(GROUP).excluded == {S2, S3}
    table.join(GROUP, S2, "three")
    assert table.desired(GROUP) == DesiredGroup(True, frozenset({S2}), frozenset({S3}))
    table.join(GROUP, None, "two")
    assert table.desired(GROUP).excluded == frozenset()


def test_the_number_of_joins_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "MAX_JOINS", 2)
    table = Membership()
    table.join(GROUP, S1, "file")
    table.join(GROUP, S2, "file")
    with pytest.raises(McastdError, match="is the most"):
        table.join(OTHER, None, "file")
    assert table.groups() == [GROUP]
    table.join(GROUP, S2, "file")
    table.leave(GROUP, S1, "file")
    table.join(OTHER, None, "file")


def test_what_another_origin_desires_as_well_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "MAX_JOINS", 2)
    table = Membership()
    table.set_group(GROUP, "inherited", DesiredGroup(sources=frozenset({S1, S2})))
    table.join(GROUP, S1, "file")
    table.set_group(GROUP, "hosts", DesiredGroup(sources=frozenset({S1, S2})))
    with pytest.raises(McastdError, match="is the most"):
        table.set_group(GROUP, "hosts", DesiredGroup(True))
    table.set_group(GROUP, "inherited", DesiredGroup())
    table.set_group(GROUP, "hosts", DesiredGroup(True))
    assert table.desired(GROUP) == DesiredGroup(True, frozenset({S1}))
    with pytest.raises(McastdError, match="is the most"):
        table.join(OTHER, None, "hosts")
    table.set_group(GROUP, "hosts", DesiredGroup(sources=frozenset({S1})))
    table.join(OTHER, None, "hosts")


def test_what_a_file_wants_is_not_refused_when_others_want_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "MAX_JOINS", 2)
    table = Membership()
    table.join(GROUP, S1, "command")
    table.join(GROUP, S2, "command")
    assert table.add("file", [(OTHER, None)]) == [OTHER]
    assert table.desired(OTHER) == DesiredGroup(True)


def test_what_is_desired_without_one_origin() -> None:
    table = Membership()
    table.join(GROUP, None, "application")
    table.join(GROUP, S1, "file")
    table.join(GROUP, S2, "application")
    assert table.desired(GROUP, without="application") == DesiredGroup(sources=frozenset({S1}))
    table.join(GROUP, S2, "command")
    table.join(GROUP, None, "eth1", frozenset({S1, S3}))
    assert table.desired(GROUP, without="application") == DesiredGroup(True, frozenset({S1, S2}), frozenset({S3}))
    table.remove("file", table.of_origin("file"))
    table.remove("command", table.of_origin("command"))
    table.leave(GROUP, None, "eth1")
    assert table.desired(GROUP, without="application") == DesiredGroup()
    assert table.desired(GROUP, without="file") == DesiredGroup(True, frozenset({S2}))
