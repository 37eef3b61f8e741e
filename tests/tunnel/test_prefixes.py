"""What ``routes`` means, and which tunnel gets what when groups move between tunnels."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mcastd.config.model import Config, Group, Pim, RpRange, Tunnel
from mcastd.paths import Order
from mcastd.tunnel.prefixes import Desired, Routable, desired, routable
from tests.calls import calls

RANGE, SSM, OTHER = IPv4Network("239.0.0.0/8"), IPv4Network("232.1.1.1/32"), IPv4Network("10.9.0.0/16")
SOURCES = (IPv4Address("100.15.30.11"), IPv4Address("100.15.30.10"))
PIM = Pim(rp=(RpRange(address=IPv4Address("100.15.30.253"), groups=(RANGE,)),))
OWN = (
    Group(group=IPv4Address("239.1.1.1"), tunnel="gre1"),
    Group(group=IPv4Address("232.1.1.1"), tunnel="gre1", sources=SOURCES),
)


def tunnel(*routes: Any, **changes: Any) -> Tunnel:
    values: dict[str, Any] = {
        "name": "gre1",
        "local": IPv4Address("10.44.6.1"),
        "remote": IPv4Address("10.44.7.1"),
        "address": IPv4Interface("10.44.4.6/30"),
        "pim": PIM,
        "routes": routes,
    }
    return Tunnel(**values | changes)


def own(tunnel: Tunnel, groups: Any) -> tuple[IPv4Network, ...]:
    """What is routed through the only tunnel there is."""
    return tuple(desired(routable(Config(tunnels=(tunnel,), groups=tuple(groups))), {}, Desired()).prefixes["gre1"])


def test_groups_are_the_ranges_of_the_rps_and_the_tunnels_own_groups_outside_them() -> None:
    assert own(tunnel("groups"), OWN) == (SSM, RANGE)


def test_rp_and_sources_are_hosts() -> None:
    assert own(tunnel("rp"), OWN) == (IPv4Network("100.15.30.253/32"),)
    assert own(tunnel("sources"), OWN) == (IPv4Network("100.15.30.10/32"), IPv4Network("100.15.30.11/32"))


def test_words_and_prefixes_together_are_each_there_once() -> None:
    found = own(tunnel(OTHER, "groups", RANGE, OTHER, "rp"), OWN)
    assert found == (OTHER, SSM, RANGE, IPv4Network("100.15.30.253/32"))


def test_neighbouring_groups_are_one_prefix() -> None:
    groups = [Group(group=IPv4Address(f"232.1.1.{last}"), tunnel="gre1") for last in (0, 1, 2, 3)]
    assert own(tunnel("groups"), groups) == (IPv4Network("232.1.1.0/30"), RANGE)


def test_ranges_that_are_followed_are_groups_as_well() -> None:
    wide, within = IPv4Network("232.0.0.0/8"), IPv4Network("239.1.0.0/16")
    assert own(tunnel("groups", follow=(wide, within)), ()) == (wide, RANGE)
    assert own(tunnel("rp", follow=(wide,)), ()) == own(tunnel("rp"), ())


def test_without_pim_the_words_stand_for_nothing() -> None:
    assert own(tunnel("groups", "rp", "sources", pim=None), ()) == ()
    assert own(tunnel(), OWN) == ()


NAMES = ("gre1", "gre2", "gre3")
FIRST = IPv4Address("239.1.0.0")
SERVED = IPv4Network("239.1.0.0/29")


def tunnels() -> tuple[Tunnel, ...]:
    pim = Pim(rp=(RpRange(address=IPv4Address("100.15.30.253"), groups=(SERVED,)),))
    return tuple(tunnel("groups", "sources", name=name, pim=pim) for name in NAMES)


def several(group: int, names: list[str], sources: set[int]) -> Group:
    return Group(group=FIRST + group, several=tuple(names), sources=tuple(SOURCES[0] + one for one in sources))


ORDERS = st.permutations(NAMES).map(lambda names: names[:2])
GROUPS = st.lists(
    st.builds(several, st.integers(0, 15), ORDERS, st.sets(st.integers(0, 3), max_size=2)),
    max_size=12,
    unique_by=lambda group: group.group,
)


@given(GROUPS, st.data())
def test_every_group_and_its_sources_are_routed_through_the_tunnel_that_carries_it(
    groups: list[Group], data: st.DataObject
) -> None:
    carrying: dict[Order, str] = {}
    for group in groups:
        for order in (Order(group.tunnels), Order(group.tunnels, group.group)):
            if data.draw(st.booleans()):
                carrying[order] = data.draw(st.sampled_from(group.tunnels))
    before = Desired()
    found = desired(routable(Config(tunnels=tunnels(), groups=tuple(groups))), carrying, before)
    expected = {name: set[IPv4Network]() for name in NAMES}
    for group in groups:
        name = carrying.get(Order(group.tunnels, group.group)) or carrying.get(Order(group.tunnels)) or group.tunnels[0]
        expected[name].update(map(IPv4Network, group.sources))
        routes = {(one.prefixlen, where) for where in NAMES for one in found.prefixes[where] if group.group in one}
        longest, _ = max(routes)
        assert [where for length, where in routes if length == longest] == [name]
    for name, prefixes in found.prefixes.items():
        multicast = {one for one in prefixes if one.is_multicast}
        assert prefixes.keys() - multicast == expected[name]
        carried = {group.group for group in groups if name in group.tunnels}
        assert all(set(one) <= carried for one in multicast - {SERVED})
    for prefix in found.prefixes["gre1"]:
        assert found.of("gre1")[1](prefix) == all(prefix not in found.prefixes[name] for name in NAMES[1:])
    assert found.first == tuple(name for name in NAMES if found.prefixes[name])
    assert desired(routable(Config(tunnels=tunnels(), groups=tuple(groups))), carrying, found).first == ()


def test_what_has_no_overlap_with_what_may_be_routed_is_not_watched() -> None:
    groups = (several(1, ["gre1", "gre2"], {0}), several(9, ["gre1", "gre2"], set()), *OWN)
    watched = routable(Config(tunnels=tunnels(), groups=groups)).watched
    assert watched == {SERVED, *map(IPv4Network, ("239.1.0.9", "239.1.1.1", "232.1.1.1", *map(str, SOURCES)))}


def test_a_move_and_each_step_of_a_reload_cost_the_same_with_1_000_and_with_10_000_groups() -> None:
    def costs(count: int) -> tuple[int, int]:
        groups = tuple(several(2 * number, ["gre1", "gre2"], {number}) for number in range(count))
        found = Routable()
        steps = found.finding(Config(tunnels=tunnels(), groups=groups))
        next(steps)
        most = max(calls(lambda: next(steps, None)) for _ in range(count // 10))
        assert (next(steps, "done"), len(found.watched)) == ("done", 2 * count - 3)
        before = desired(found, {}, Desired())
        return most, calls(lambda: desired(found, {Order(("gre1", "gre2")): "gre2"}, before))

    assert costs(10_000) == costs(1000)
