"""What sockets want together, from what the kernel's files show: against the sockets themselves."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.follow.members import desired, is_open, without
from mcastd.membership import DesiredGroup
from mcastd.net.memberships import NO_MEMBERS, Members

S1, S2, S3 = (IPv4Address(f"10.0.0.{n}") for n in (1, 2, 3))
Socket = tuple[bool, frozenset[IPv4Address]]
"""Whether it excludes, and the sources."""

SOURCES = st.frozensets(st.sampled_from([S1, S2, S3]))
SOCKETS = st.lists(st.tuples(st.just(True), SOURCES) | st.tuples(st.just(False), SOURCES.filter(bool)), max_size=5)


def shown(sockets: list[Socket]) -> Members:
    """What the kernel's files show of sockets."""
    included, excluded = (
        {
            one: count
            for one in (S1, S2, S3)
            if (count := sum(one in has for excludes, has in sockets if excludes is kind))
        }
        for kind in (False, True)
    )
    return Members(len(sockets), included, excluded)


def together(sockets: list[Socket]) -> DesiredGroup:
    """RFC 9776, section 3.2, but that sources which are asked for are listed beside any source."""
    included = frozenset(source for excludes, has in sockets if not excludes for source in has)
    excluding = [has for excludes, has in sockets if excludes]
    if not excluding:
        return DesiredGroup(sources=included)
    return DesiredGroup(True, included, frozenset.intersection(*excluding) - included)


@given(SOCKETS)
def test_what_is_not_left_open_is_right(sockets: list[Socket]) -> None:
    members, right = shown(sockets), together(sockets)
    found = desired(members, any_source=right.any_source)
    assert (found.any_source, found.sources) == (right.any_source, right.sources)
    assert found.excluded <= right.excluded
    if not is_open(members):
        assert desired(members, any_source=not right.any_source) == found


@given(SOCKETS)
def test_every_source_is_wanted_only_where_a_socket_wants_it(sockets: list[Socket]) -> None:
    found = desired(shown(sockets), any_source=False)
    assert not found.any_source or together(sockets).any_source


@given(SOCKETS, SOCKETS)
def test_sockets_of_ours_do_not_count(sockets: list[Socket], ours: list[Socket]) -> None:
    assert without(shown([*sockets, *ours]), ours) == (shown(sockets) if sockets else NO_MEMBERS)


@pytest.mark.parametrize(
    ("sockets", "is_left_open"),
    [
        ([(False, {S1})], False),
        ([(False, {S1}), (False, {S1})], False),
        ([(False, {S1}), (True, set())], False),
        ([(False, {S1}), (False, {S2})], True),
        ([(False, {S1, S2}), (True, set())], True),
        ([(True, {S1})], False),
        ([], False),
    ],
)
def test_what_the_files_leave_open(sockets: list[tuple[bool, set[IPv4Address]]], is_left_open: bool) -> None:
    assert is_open(shown([(excludes, frozenset(has)) for excludes, has in sockets])) is is_left_open
