"""The entries of a group, judged by a model of the kernel: who gets packets of which source from which tunnel."""

from collections.abc import Sequence
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from mcastd.forward import inherited, plan
from mcastd.forward.plan import Receiver
from mcastd.membership import DesiredGroup
from mcastd.net.mroute import ANY, Entry, drops_the_rest
from tests.fakes.mroute import FakeMulticast

GROUP = IPv4Address("239.1.1.1")
SOURCES = tuple(IPv4Address(f"10.0.0.{number}") for number in range(1, 4))
TUNNELS, INTERFACES = ("gre1", "gre2"), ("eth1", "eth2", "eth3")
ANY_SOURCE = DesiredGroup(any_source=True)


def only(*sources: IPv4Address) -> DesiredGroup:
    return DesiredGroup(sources=frozenset(sources))


def but(*sources: IPv4Address) -> DesiredGroup:
    return DesiredGroup(any_source=True, excluded=frozenset(sources))


def kernel(receivers: Sequence[Receiver], parents: dict[IPv4Address, int] | None = None) -> FakeMulticast:
    """A kernel whose VIFs 0 and 1 are the tunnels, 2 to 4 the interfaces, with the entries that were planned."""
    found = FakeMulticast(*TUNNELS, *INTERFACES)
    sock = found.bare()
    for number, index in enumerate(found.links.values()):
        sock.add_vif(number, index)
        sock.add(drops_the_rest(number))
    known = {(GROUP, source): vif for source, vif in (parents or {}).items()}
    for entry in plan.entries(GROUP, receivers, known).values():
        sock.add(entry)
    return found


def gets(found: FakeMulticast, source: IPv4Address, name: str = "gre1", ttl: int = 64) -> list[str]:
    return found.packet(str(source), str(GROUP), name, ttl)


def test_a_group_from_any_source_has_one_entry_and_no_packet_goes_back() -> None:
    receivers = [Receiver(2, 1, (0,), ANY_SOURCE), Receiver(3, 1, (0,), ANY_SOURCE)]
    assert list(plan.entries(GROUP, receivers).values()) == [Entry(ANY, GROUP, 0, ((0, 1), (2, 1), (3, 1)))]
    found = kernel(receivers)
    assert gets(found, SOURCES[0]) == ["eth1", "eth2"]
    assert gets(found, SOURCES[0], "gre2") == gets(found, SOURCES[0], "eth1") == gets(found, SOURCES[0], "eth3") == []
    assert found.asked == 0


def test_a_group_by_two_tunnels_comes_from_both() -> None:
    found = kernel([Receiver(2, 1, (0, 1), ANY_SOURCE), Receiver(3, 1, (1,), ANY_SOURCE)])
    assert gets(found, SOURCES[0], "gre1") == ["eth1"]
    assert gets(found, SOURCES[0], "gre2") == ["eth1", "eth2"]


def test_interfaces_that_want_different_sources_get_those() -> None:
    found = kernel(
        [
            Receiver(2, 1, (0,), ANY_SOURCE),
            Receiver(3, 1, (0,), only(SOURCES[0])),
            Receiver(4, 1, (0,), but(SOURCES[1])),
        ]
    )
    assert gets(found, SOURCES[0]) == ["eth1", "eth2", "eth3"]
    assert gets(found, SOURCES[1]) == ["eth1"]
    assert gets(found, SOURCES[2]) == ["eth1", "eth3"]


def test_a_source_that_all_exclude_and_those_that_nobody_includes_go_nowhere_and_nothing_is_asked() -> None:
    found = kernel([Receiver(2, 1, (0,), but(SOURCES[0]))])
    assert (gets(found, SOURCES[0]), gets(found, SOURCES[1])) == ([], ["eth1"])
    found = kernel([Receiver(2, 1, (0,), only(SOURCES[0]))])
    assert (gets(found, SOURCES[0]), gets(found, SOURCES[1])) == (["eth1"], [])
    assert found.asked == 0


def test_only_packets_of_a_larger_ttl_than_the_threshold_leave() -> None:
    found = kernel([Receiver(2, 1, (0,), ANY_SOURCE), Receiver(3, 16, (0,), ANY_SOURCE)])
    assert [gets(found, SOURCES[0], ttl=ttl) for ttl in (1, 2, 16, 17)] == [[], ["eth1"], ["eth1"], ["eth1", "eth2"]]


def test_a_source_with_an_entry_of_its_own_is_taken_from_the_first_tunnel_or_the_one_it_moved_to() -> None:
    receivers = [Receiver(2, 1, (1, 0), only(SOURCES[0]))]
    for parents, first, other in ((None, "gre2", "gre1"), ({SOURCES[0]: 0}, "gre1", "gre2")):
        found = kernel(receivers, parents)
        assert (gets(found, SOURCES[0], first), gets(found, SOURCES[0], other)) == (["eth1"], [])
    assert gets(kernel(receivers, {SOURCES[0]: 3}), SOURCES[0], "gre2") == ["eth1"]


DESIRED = st.builds(
    DesiredGroup, st.booleans(), st.frozensets(st.sampled_from(SOURCES)), st.frozensets(st.sampled_from(SOURCES))
)


@given(st.lists(DESIRED, min_size=3, max_size=3), st.sampled_from([*SOURCES, IPv4Address("10.9.9.9")]))
def test_each_interface_gets_exactly_what_it_wants(desired: list[DesiredGroup], source: IPv4Address) -> None:
    receivers = [Receiver(2 + number, 1, (0,), one) for number, one in enumerate(desired)]
    found = kernel(receivers)
    wanted = [name for name, one in zip(INTERFACES, desired, strict=True) if plan.wants(one, source)]
    assert gets(found, source) == wanted
    assert all(gets(found, source, name) == [] for name in ("gre2", *INTERFACES))
    assert found.asked == 0


@given(st.lists(DESIRED, min_size=3, max_size=3))
def test_what_is_inherited_from_entries_is_what_they_were_planned_for(desired: list[DesiredGroup]) -> None:
    receivers = [Receiver(2 + number, 1, (0,), one) for number, one in enumerate(desired)]
    found = dict(inherited.desired(plan.entries(GROUP, receivers).values()))
    for number, one in enumerate(desired):
        got = found.get(2 + number, DesiredGroup())
        for source in (*SOURCES, IPv4Address("10.9.9.9")):
            assert plan.wants(got, source) is plan.wants(one, source)
