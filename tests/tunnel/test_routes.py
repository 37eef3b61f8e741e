"""What ``routes`` means, and the plan that makes it so."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mcastd.config.model import Group, Pim, RpRange, Tunnel
from mcastd.tunnel.routes import FoundRoute, RoutePlan, plan, prefixes, rules

RANGE, SSM, OTHER = IPv4Network("239.0.0.0/8"), IPv4Network("232.1.1.1/32"), IPv4Network("10.9.0.0/16")
SOURCES = (IPv4Address("100.15.30.11"), IPv4Address("100.15.30.10"))
PIM = Pim(rp=(RpRange(address=IPv4Address("100.15.30.253"), groups=(RANGE,)),))
GROUPS = (
    Group(group=IPv4Address("239.1.1.1"), tunnel="gre1"),
    Group(group=IPv4Address("232.1.1.1"), tunnel="gre1", sources=SOURCES),
    Group(group=IPv4Address("232.1.1.2"), tunnel="gre2", sources=(IPv4Address("10.0.0.1"),)),
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


def test_groups_are_the_ranges_of_the_rps_and_the_tunnels_own_groups_outside_them() -> None:
    assert prefixes(tunnel("groups"), GROUPS) == (SSM, RANGE)


def test_rp_and_sources_are_hosts() -> None:
    assert prefixes(tunnel("rp"), GROUPS) == (IPv4Network("100.15.30.253/32"),)
    assert prefixes(tunnel("sources"), GROUPS) == (IPv4Network("100.15.30.10/32"), IPv4Network("100.15.30.11/32"))


def test_words_and_prefixes_together_are_each_there_once() -> None:
    found = prefixes(tunnel(OTHER, "groups", RANGE, OTHER, "rp"), GROUPS)
    assert found == (OTHER, SSM, RANGE, IPv4Network("100.15.30.253/32"))


def test_neighbouring_groups_are_one_prefix() -> None:
    groups = [Group(group=IPv4Address(f"232.1.1.{last}"), tunnel="gre1") for last in (0, 1, 2, 3)]
    assert prefixes(tunnel("groups"), groups) == (IPv4Network("232.1.1.0/30"), RANGE)


def test_without_pim_the_words_stand_for_nothing() -> None:
    assert prefixes(tunnel("groups", "rp", "sources", pim=None), ()) == ()
    assert prefixes(tunnel(), GROUPS) == ()


def test_a_table_has_a_rule_for_each_source_or_for_all() -> None:
    assert rules(tunnel()) == frozenset()
    assert rules(tunnel(route_table=1000)) == {(IPv4Network("0.0.0.0/0"), 1000)}
    sources = (OTHER, IPv4Network("10.45.8.16/28"))
    assert rules(tunnel(route_table=1000, rule_from=sources)) == {(sources[0], 1000), (sources[1], 1000)}


def test_anothers_route_to_elsewhere_is_left_alone_and_through_the_tunnel_is_as_good_as_ours() -> None:
    elsewhere, through = FoundRoute(RANGE, False, False), FoundRoute(SSM, True, False)
    assert plan((RANGE, SSM, OTHER), [elsewhere, through]) == RoutePlan((OTHER,), (), frozenset({RANGE}))


def test_where_another_route_comes_later_ours_goes() -> None:
    assert plan((RANGE,), [FoundRoute(RANGE, True, True), FoundRoute(RANGE, False, False)]) == RoutePlan(
        (), (RANGE,), frozenset({RANGE})
    )


PREFIXES = st.sampled_from([RANGE, SSM, OTHER, IPv4Network("10.0.0.0/8"), IPv4Network("0.0.0.0/0")])
FOUND = st.builds(FoundRoute, PREFIXES, st.just(False), st.just(False)) | st.builds(
    FoundRoute, PREFIXES, st.just(True), st.booleans()
)


@given(st.lists(PREFIXES), st.lists(FOUND, unique=True))
def test_the_plan_reaches_what_is_wanted_then_does_nothing_and_touches_no_other_route(
    wanted: list[IPv4Network], found: list[FoundRoute]
) -> None:
    first = plan(wanted, found)
    after = [route for route in found if not (route.ours and route.prefix in first.delete)]
    after += [FoundRoute(prefix, True, True) for prefix in first.add]
    assert plan(wanted, after) == RoutePlan((), (), first.taken)
    assert {route for route in found if not route.ours} <= set(after)
    through = {route.prefix for route in after if route.through_tunnel}
    for prefix in wanted:
        elsewhere = any(route.prefix == prefix and not route.through_tunnel for route in found)
        assert (prefix in first.taken) == elsewhere
        assert elsewhere or prefix in through
    for route in after:
        if route.ours:
            assert route.prefix in wanted
            assert route.prefix not in first.taken
