"""Which socket joins what, over the kernel's memberships in memory."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address

import hypothesis.strategies as st
import pytest
from hypothesis import given

from mcastd.igmp_host.filters import Filter, filters
from mcastd.igmp_host.membership_sockets import MembershipSockets
from mcastd.membership import NONE, DesiredGroup
from tests.fakes.membership_sockets import FakeMemberships

INDEX = 7
GROUPS = [IPv4Address("239.1.0.0") + number for number in range(1, 200)]
SOURCES = [IPv4Address("10.0.0.0") + number for number in range(1, 400)]
ANY, NOTHING = DesiredGroup(any_source=True), DesiredGroup()


def of(*sources: IPv4Address) -> DesiredGroup:
    return DesiredGroup(sources=frozenset(sources))


@contextmanager
def bench(most_groups: int = 20, most_sources: int = 10) -> Iterator[tuple[FakeMemberships, MembershipSockets]]:
    kernel = FakeMemberships(most_groups, most_sources)
    sockets = MembershipSockets(lambda: kernel.open(INDEX), most_groups, most_sources)
    yield kernel, sockets
    sockets.close()
    assert kernel.open_sockets() == []


def test_the_21st_group_takes_another_socket() -> None:
    with bench() as (kernel, sockets):
        for group in GROUPS[:41]:
            sockets.set(group, ANY)
        assert [len(sock.groups) for sock in kernel.sockets] == [20, 20, 1]
        assert kernel.groups(INDEX) == set(GROUPS[:41])


def test_a_socket_that_has_left_a_group_takes_another_one() -> None:
    with bench() as (kernel, sockets):
        for group in GROUPS[:40]:
            sockets.set(group, ANY)
        sockets.set(GROUPS[0], NOTHING)
        sockets.set(GROUPS[50], ANY)
        assert len(kernel.sockets) == 2
        assert GROUPS[50] in kernel.sockets[0].groups


def test_a_socket_without_groups_is_closed() -> None:
    with bench() as (kernel, sockets):
        sockets.set(GROUPS[0], ANY)
        sockets.set(GROUPS[0], NOTHING)
        assert kernel.open_sockets() == []
        assert len(sockets) == 0
        sockets.set(GROUPS[0], NOTHING)


def test_sources_beyond_what_a_filter_takes_are_joined_by_other_sockets() -> None:
    with bench() as (kernel, sockets):
        sockets.set(GROUPS[0], of(*SOURCES[:25]))
        assert [len(sock.groups[GROUPS[0]][1]) for sock in kernel.sockets] == [10, 10, 5]
        sockets.set(GROUPS[1], of(SOURCES[0]))
        assert len(kernel.sockets) == 3


def test_another_source_changes_one_socket_only() -> None:
    with bench() as (kernel, sockets):
        sockets.set(GROUPS[0], of(*SOURCES[1:16]))
        before = kernel.calls
        sockets.set(GROUPS[0], of(*SOURCES[0:16]))
        assert kernel.calls - before == 1


def test_excluded_sources_are_one_filter_and_what_does_not_fit_is_received() -> None:
    excluded = frozenset(SOURCES[:12])
    assert filters(DesiredGroup(True, NONE, excluded), (), 10) == [Filter(True, frozenset(SOURCES[:10]))]


def test_sources_beyond_what_is_sensible_are_refused_and_the_first_ones_joined() -> None:
    with bench() as (kernel, sockets):
        with pytest.raises(OSError, match="more than 200 sources"):
            sockets.set(GROUPS[0], of(*SOURCES[:201]))
        assert kernel.received(INDEX, GROUPS[0]) == of(*SOURCES[:200])


def test_a_limit_that_is_lower_by_now_takes_more_sockets() -> None:
    with bench() as (kernel, sockets):
        kernel.most_groups = 5
        for group in GROUPS[:12]:
            sockets.set(group, ANY)
        assert [len(sock.groups) for sock in kernel.sockets] == [5, 5, 2]


def test_what_even_a_new_socket_cannot_join_is_an_error_and_leaves_no_socket() -> None:
    with bench() as (kernel, sockets):
        kernel.most_groups = 0
        with pytest.raises(OSError, match="No buffer space"):
            sockets.set(GROUPS[0], ANY)
        assert kernel.open_sockets() == []
        kernel.most_groups = 1
        sockets.set(GROUPS[0], ANY)
        assert kernel.received(INDEX, GROUPS[0]) == ANY


def test_after_an_error_it_goes_on_where_it_was() -> None:
    with bench() as (kernel, sockets):
        sockets.set(GROUPS[0], of(SOURCES[0]))
        kernel.error = errno.ENODEV
        with pytest.raises(OSError, match="No such device"):
            sockets.set(GROUPS[0], ANY)
        assert GROUPS[0] in sockets
        kernel.error = None
        sockets.set(GROUPS[0], ANY)
        assert kernel.received(INDEX, GROUPS[0]) == ANY


DESIRED = st.one_of(
    st.builds(DesiredGroup, st.just(True), st.just(NONE), st.frozensets(st.sampled_from(SOURCES[:6]), max_size=3)),
    st.builds(DesiredGroup, st.just(False), st.frozensets(st.sampled_from(SOURCES[:8]), max_size=8), st.just(NONE)),
)


@given(st.lists(st.tuples(st.sampled_from(GROUPS[:4]), DESIRED), max_size=25), st.integers(1, 3), st.integers(3, 4))
def test_the_interface_always_receives_what_is_desired(
    changes: list[tuple[IPv4Address, DesiredGroup]], most_groups: int, most_sources: int
) -> None:
    with bench(most_groups, most_sources) as (kernel, sockets):
        desired: dict[IPv4Address, DesiredGroup] = {}
        for group, change in changes:
            before, desired[group] = desired.get(group, NOTHING), change
            kernel.watch(INDEX, group)
            sockets.set(group, change)
            assert kernel.received(INDEX, group) == change
            for seen in kernel.seen:  # what was received before and after is received all the time
                assert not both(before, change) or includes(seen, before, change)
        assert {group for group in desired if desired[group] != NOTHING} == kernel.groups(INDEX)
        used = sum(len(sock.groups) for sock in kernel.open_sockets())
        assert len(kernel.open_sockets()) <= max(1, used)


@given(st.lists(st.sampled_from([errno.ENOBUFS, errno.ENODEV, None]), max_size=20), st.lists(DESIRED, min_size=1))
def test_errors_are_survived(errors: list[int | None], changes: list[DesiredGroup]) -> None:
    with bench(2, 3) as (kernel, sockets):
        for number, change in enumerate(changes):
            kernel.error = errors[number] if number < len(errors) else None
            with suppress(OSError):
                sockets.set(GROUPS[0], change)
        kernel.error = None
        sockets.set(GROUPS[0], changes[-1])
        assert kernel.received(INDEX, GROUPS[0]) == changes[-1]


def accepts(desired: DesiredGroup, source: IPv4Address) -> bool:
    return source not in desired.excluded if desired.any_source else source in desired.sources


def both(one: DesiredGroup, other: DesiredGroup) -> set[IPv4Address]:
    """The sources that are received by both."""
    return {source for source in SOURCES[:10] if accepts(one, source) and accepts(other, source)}


def includes(seen: DesiredGroup, before: DesiredGroup, after: DesiredGroup) -> bool:
    return all(accepts(seen, source) for source in both(before, after))
