"""The plan that makes the routes of the host what they should be."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mcastd.config.model import Tunnel
from mcastd.links import Route
from mcastd.tunnel.routes import MAIN_TABLE, PROTOCOL, RoutePlan, plan, rules

RANGE, SSM, OTHER = IPv4Network("239.0.0.0/8"), IPv4Network("232.1.1.1/32"), IPv4Network("10.9.0.0/16")


def tunnel(*routes: Any, **changes: Any) -> Tunnel:
    values: dict[str, Any] = {
        "name": "gre1",
        "local": IPv4Address("10.44.6.1"),
        "remote": IPv4Address("10.44.7.1"),
        "address": IPv4Interface("10.44.4.6/30"),
        "routes": routes,
    }
    return Tunnel(**values | changes)


def test_a_table_has_a_rule_for_each_source_or_for_all() -> None:
    assert rules(tunnel()) == frozenset()
    assert rules(tunnel(route_table=1000)) == {(IPv4Network("0.0.0.0/0"), 1000)}
    sources = (OTHER, IPv4Network("10.45.8.16/28"))
    assert rules(tunnel(route_table=1000, rule_from=sources)) == {(sources[0], 1000), (sources[1], 1000)}


TUNNEL, ELSEWHERE, STATIC = 7, 2, 4


def route(prefix: IPv4Network, index: int | None, protocol: int) -> Route:
    return Route(prefix, index, MAIN_TABLE, protocol)


def test_a_route_elsewhere_is_left_alone_and_one_through_the_tunnel_will_do() -> None:
    found = [route(RANGE, ELSEWHERE, STATIC), route(SSM, TUNNEL, STATIC)]
    assert plan((RANGE, SSM, OTHER), found, TUNNEL, recorded=True) == RoutePlan((OTHER,), (), frozenset({RANGE}))


def test_where_another_route_comes_later_ours_goes() -> None:
    found = [route(RANGE, TUNNEL, PROTOCOL), route(RANGE, None, STATIC)]
    assert plan((RANGE,), found, TUNNEL, recorded=True) == RoutePlan((), (RANGE,), frozenset({RANGE}))


def test_what_is_not_in_the_ledger_is_not_ours_in_spite_of_its_mark() -> None:
    assert plan((), [route(RANGE, TUNNEL, PROTOCOL)], TUNNEL, recorded=False) == RoutePlan((), (), frozenset())


PREFIXES = st.sampled_from([RANGE, SSM, OTHER, IPv4Network("10.0.0.0/8"), IPv4Network("0.0.0.0/0")])
FOUND = st.builds(route, PREFIXES, st.sampled_from((None, ELSEWHERE)), st.sampled_from((STATIC, PROTOCOL))) | st.builds(
    route, PREFIXES, st.just(TUNNEL), st.sampled_from((STATIC, PROTOCOL))
)


@given(st.lists(PREFIXES), st.lists(FOUND, unique=True))
def test_the_plan_reaches_the_desired_state_then_does_nothing_and_touches_no_other_route(
    desired: list[IPv4Network], found: list[Route]
) -> None:
    ours = [one for one in found if (one.index, one.protocol) == (TUNNEL, PROTOCOL)]
    first = plan(desired, found, TUNNEL, recorded=True)
    after = [one for one in found if not (one in ours and one.prefix in first.delete)]
    after += [route(prefix, TUNNEL, PROTOCOL) for prefix in first.add]
    assert plan(desired, after, TUNNEL, recorded=True) == RoutePlan((), (), first.taken)
    assert {one for one in found if one not in ours} <= set(after)
    through = {one.prefix for one in after if one.index == TUNNEL}
    for prefix in desired:
        elsewhere = any(one.prefix == prefix and one.index != TUNNEL for one in found)
        assert (prefix in first.taken) == elsewhere
        assert elsewhere or prefix in through
    for one in after:
        if (one.index, one.protocol) == (TUNNEL, PROTOCOL):
            assert one.prefix in desired
            assert one.prefix not in first.taken
