"""Routes and rules of tunnels on a kernel in memory, in virtual time."""

import errno
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from mcastd.config.model import Group, Pim, RpRange, Tunnel
from mcastd.links import Rule
from mcastd.tunnel.mtu import Carrier
from tests.fakes.clock import simulated, until
from tests.fakes.kernel import FakeKernel, FakeRoute
from tests.tunnel.agents import tunnel
from tests.tunnel.virtual import Host, running

RANGE, SOURCE, EVERYWHERE = "239.0.0.0/8", "100.15.30.10/32", IPv4Network("0.0.0.0/0")
PIM = Pim(rp=(RpRange(address=IPv4Address("100.15.30.253"), groups=(IPv4Network(RANGE),)),))
GROUPS = (Group(group=IPv4Address("239.1.1.1"), tunnel="gre1", sources=(IPv4Address("100.15.30.10"),)),)
ELSEWHERE = FakeRoute(IPv4Network(RANGE), "eth0", metric=50)


def routed(**changes: Any) -> Tunnel:
    return tunnel(pim=PIM, **changes)


def rules(host: Host) -> set[tuple[str, int]]:
    """Those of mcastd, each as its source and table."""
    return {(str(rule.source), rule.table) for rule in host.kernel.rules() if rule.protocol == 103}


def states(host: Host) -> dict[str, str]:
    return {route.prefix: route.state for route in host.status().routes}


@simulated
async def test_routes_wait_for_the_tunnel_and_stay_while_its_child_sa_is_down() -> None:
    async with running() as host:
        await host.want(routed(), carrier=Carrier())
        assert host.kernel.through("gre1") == set()
        assert states(host) == {RANGE: "waiting"}
        await host.want(routed())
        assert host.kernel.through("gre1") == {RANGE}
        assert states(host) == {RANGE: "up"}
        await host.want(routed(), carrier=Carrier(up=False, up_count=1))
        assert host.kernel.through("gre1") == {RANGE}
        await host.close()
        assert host.ledger.copy() == {}


ROUTE, RULE = ("gre1", f"route {RANGE}"), ("rules", "from 0.0.0.0/0 lookup 1000")
DAMAGE: dict[str, tuple[Callable[[FakeKernel], object], list[tuple[str, str]]]] = {
    "a route": (lambda kernel: kernel.delete_route(FakeRoute(IPv4Network(RANGE), "gre1", 1000, 103)), [ROUTE]),
    "the table": (lambda kernel: kernel.flush_routes(1000), [("gre1", "routes")]),
    "the rule": (lambda kernel: kernel.delete_rule(Rule(EVERYWHERE, 1000, 210, 103)), [RULE]),
    "the state": (lambda kernel: kernel.set_link("gre1", up=False), [("gre1", "set up"), ("gre1", "routes")]),
    "the link": (lambda kernel: kernel.delete_link("gre1"), [("gre1", "link")]),
}


@pytest.mark.parametrize(("damage", "repaired"), DAMAGE.values(), ids=DAMAGE)
@simulated
async def test_what_another_program_deletes_comes_back_and_is_logged(
    damage: Callable[[FakeKernel], object], repaired: list[tuple[str, str]]
) -> None:
    def found() -> object:
        return host.kernel.through("gre1", 1000) if "gre1" in host.kernel.links else None, rules(host)

    async with running() as host:
        await host.want(routed(route_table=1000, routes=("groups", "sources")), groups=GROUPS)
        before = found()
        assert before == ({RANGE, SOURCE}, {("0.0.0.0/0", 1000)})
        await host.quiet()
        damage(host.kernel)
        assert found() != before
        assert await until(lambda: found() == before, "as it was") < 0.3
        await host.quiet()
        logged = [(one["subject"], one["what"]) for one in host.log.records if one["event"] == "repaired"]
        assert logged == repaired


@simulated
async def test_a_reload_moves_routes_and_rules_and_leaves_nothing() -> None:
    async with running() as host:
        for changes, main, tables, expected in (
            ({}, {RANGE}, {}, set()),
            ({"routes": ("sources",)}, {SOURCE}, {}, set()),
            (
                {"route_table": 1000, "rule_from": (IPv4Network("10.45.8.16/28"),)},
                set(), {1000: {RANGE}}, {("10.45.8.16/28", 1000)},
            ),
            ({"route_table": 1001}, set(), {1000: set(), 1001: {RANGE}}, {("0.0.0.0/0", 1001)}),
            ({"routes": ()}, set(), {1001: set()}, set()),
            ({"route_table": 1000}, set(), {1000: {RANGE}}, {("0.0.0.0/0", 1000)}),
        ):  # fmt: skip
            await host.want(routed(**changes), groups=GROUPS)
            assert host.kernel.through("gre1") == main
            assert {table: host.kernel.through("gre1", table) for table in tables} == tables
            assert rules(host) == expected
            before = list(host.netlink.changed)
            await host.quiet()
            assert host.netlink.changed == before
        await host.next_process()
        await host.want()
        assert (host.kernel.names(), rules(host)) == ({"lo", "eth0"}, set())
        assert host.ledger.copy() == {}


@simulated
async def test_routes_and_rules_of_another_program_are_left_alone_and_reported() -> None:
    async with running() as host:
        theirs = Rule(IPv4Network("10.9.0.0/16"), 1000, 210, 4)
        host.kernel.add_rule(theirs)
        host.kernel.add_route(ELSEWHERE)
        await host.want(routed())
        assert (host.status().state, states(host)) == ("up", {RANGE: "taken"})
        assert host.status().routes[0].problem == "a route that is not mcastd's leads it elsewhere"
        assert host.kernel.through("gre1") == set()
        await host.quiet()
        assert host.log.events() == ["route_taken", "tunnel_up"]
        host.kernel.delete_route(ELSEWHERE)
        assert await until(lambda: states(host) == {RANGE: "up"}, "ours") < 0.3
        host.kernel.add_route(ELSEWHERE)
        assert await until(lambda: states(host) == {RANGE: "taken"}, "theirs") < 0.3
        assert host.kernel.through("gre1") == set()
        await host.close()
        assert host.kernel.rules() == [theirs]
        assert ELSEWHERE in host.kernel.routes()


@simulated
async def test_a_route_through_the_tunnel_that_another_program_made_stays() -> None:
    async with running() as host:
        await host.want(tunnel())
        theirs = FakeRoute(IPv4Network("10.9.0.0/16"), "gre1", protocol=103)
        host.kernel.add_route(theirs)
        await host.quiet()
        assert theirs in host.kernel.routes()


@simulated
async def test_routes_that_the_host_refuses_are_a_problem_of_a_tunnel_that_is_up() -> None:
    async with running() as host:
        await host.want(tunnel())
        host.netlink.refused["add"] = errno.EPERM
        await host.want(routed())
        assert (host.status().state, states(host)) == ("up", {RANGE: "waiting"})
        assert host.status().problem == f"route {RANGE}: Operation not permitted"
        host.netlink.refused.clear()
        assert await until(lambda: states(host) == {RANGE: "up"}, "another try") < 1.1
        assert host.status().problem is None


@simulated
async def test_rules_that_the_host_refuses_are_a_problem_of_the_tunnels_that_have_a_table() -> None:
    async with running() as host:
        await host.want(tunnel())
        host.netlink.refused["rules"] = errno.ENOBUFS
        await host.want(routed(route_table=1000), tunnel(name="gre2", local=IPv4Address("10.44.6.2")))
        assert host.status().problem == "rules: No buffer space available"
        assert host.status("gre2").problem is None
        await host.quiet(10.0)
        assert host.log.events().count("reconcile_failed") == 1
        host.netlink.refused.clear()
        assert await until(lambda: host.status().problem is None, "another try") < 1.1
        assert rules(host) == {("0.0.0.0/0", 1000)}
        host.netlink.refused["delete"] = errno.EPERM
        await host.close()
        assert set(host.ledger.copy()) == {"rule", "endpoint"}
        assert host.kernel.names() == {"lo", "eth0"}


@simulated
async def test_without_room_for_the_ledger_routes_and_rules_are_made_as_well() -> None:
    async with running() as host:
        await host.want(tunnel())
        host.ledger.full = True
        await host.want(routed(route_table=1000))
        assert host.kernel.through("gre1", 1000) == {"239.0.0.0/8"}
        assert rules(host) == {("0.0.0.0/0", 1000)}
