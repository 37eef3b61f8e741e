"""Routes and rules on a real kernel, in a namespace, as the tunnel agent keeps them."""

import json
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from mcastd.config.model import Group, Pim, RpRange
from mcastd.tunnel.mtu import Carrier
from tests.namespaces import Namespace, join, until
from tests.tunnel.agents import Running, running, tunnel

pytestmark = pytest.mark.root

RANGE, SOURCE = "239.0.0.0/8", "100.15.30.10"
PIM = Pim(rp=(RpRange(address=IPv4Address("100.15.30.253"), groups=(IPv4Network(RANGE),)),))
GROUPS = (Group(group=IPv4Address("239.1.1.1"), tunnel="gre1", sources=(IPv4Address(SOURCE),)),)


@pytest.fixture
def host(namespace: Callable[[], Namespace]) -> Namespace:
    made, internet = namespace(), namespace()
    join(made, "192.0.2.1/24", internet, "192.0.2.2/24")
    made.ip("route", "add", "default", "via", "192.0.2.2")
    return made


def routed(**changes: Any) -> Any:
    return tunnel(pim=PIM, **changes)


def routes(host: Namespace, table: str = "main") -> dict[str, tuple[str, str]]:
    """Each route's device and who made it."""
    shown: list[dict[str, Any]] = json.loads(host.ip("-json", "-Numeric", "route", "show", "table", table) or "[]")
    return {each["dst"]: (each["dev"], each.get("protocol", "")) for each in shown}


def rules(host: Namespace) -> set[tuple[int, str, str]]:
    shown: list[dict[str, Any]] = json.loads(host.ip("-json", "rule", "show"))
    return {
        (each["priority"], f"{each['src']}/{each['srclen']}" if "srclen" in each else each["src"], each["table"])
        for each in shown
    }


def states(run: Running) -> dict[str, str]:
    return {route.prefix: route.state for route in run.agent.status(0.0)["gre1"].routes}


def joins_on(host: Namespace, group: str) -> str:
    """The interface on which the kernel joins for an application that names none."""

    def look() -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + bytes(4))
            shown: list[dict[str, Any]] = json.loads(host.ip("-json", "maddr", "show"))
            (found,) = [each["ifname"] for each in shown if any(one.get("address") == group for one in each["maddr"])]
        return str(found)

    return host.call(look)


def test_an_application_that_names_no_interface_joins_on_the_tunnel(host: Namespace, tmp_path: Path) -> None:
    async def main() -> None:
        assert joins_on(host, "239.1.1.1") == "veth0"
        async with running(tmp_path) as run:
            await run.want(routed(), groups=GROUPS)
            assert routes(host)[RANGE] == ("gre1", "103")
            assert states(run) == {RANGE: "up"}
            assert joins_on(host, "239.1.1.1") == "gre1"
            assert joins_on(host, "224.1.1.1") == "veth0"
            await run.agent.close()
        assert joins_on(host, "239.1.1.1") == "veth0"

    host.run(main)


def test_routes_wait_for_the_tunnel_and_stay_while_its_child_is_away(host: Namespace, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(routed(), carrier=Carrier())
            assert RANGE not in routes(host)
            assert states(run) == {RANGE: "waiting"}
            await run.want(routed(), carrier=Carrier(up=True, up_count=1))
            assert RANGE in routes(host)
            await run.want(routed(), carrier=Carrier(up=False, up_count=1))
            assert RANGE in routes(host)
            await run.agent.close()

    host.run(main)


def test_what_somebody_deletes_comes_back(host: Namespace, tmp_path: Path) -> None:
    wanted = routed(route_table=1000, routes=("groups", "sources"))

    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(wanted, groups=GROUPS)
            before = routes(host, "1000"), rules(host)
            assert before[0] == {RANGE: ("gre1", "103"), SOURCE: ("gre1", "103")}
            assert (210, "all", "1000") in before[1]
            for damage in (
                ("route", "del", RANGE, "table", "1000"),
                ("route", "flush", "table", "1000"),
                ("rule", "del", "priority", "210"),
                ("link", "set", "gre1", "down"),
                ("link", "del", "gre1"),
            ):
                host.ip(*damage)
                await until(lambda: (routes(host, "1000"), rules(host)) == before, " ".join(damage))
            await run.agent.close()

    host.run(main)


def test_a_reload_moves_routes_and_rules_and_leaves_nothing(host: Namespace, tmp_path: Path) -> None:
    before = routes(host), rules(host)
    main_table = before[0] | {"10.44.4.4/30": ("gre1", "2")}

    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(routed(), groups=GROUPS)
            await run.want(routed(routes=("sources",)), groups=GROUPS)
            assert routes(host) == main_table | {SOURCE: ("gre1", "103")}
            await run.want(routed(route_table=1000, rule_from=(IPv4Network("10.45.8.16/28"),)), groups=GROUPS)
            assert (routes(host), routes(host, "1000")) == (main_table, {RANGE: ("gre1", "103")})
            assert rules(host) == before[1] | {(210, "10.45.8.16/28", "1000")}
            await run.want(routed(route_table=1001), groups=GROUPS)
            assert (routes(host, "1000"), routes(host, "1001")) == ({}, {RANGE: ("gre1", "103")})
            assert rules(host) == before[1] | {(210, "all", "1001")}
            await run.want(routed(routes=()), groups=GROUPS)
            assert (routes(host), rules(host)) == (main_table, before[1])
            await run.want(routed(route_table=1000), groups=GROUPS)
        # Without a goodbye: the next life finds what this one remembered.
        async with running(tmp_path) as run:
            await run.want()
            assert (routes(host), routes(host, "1000"), rules(host)) == (before[0], {}, before[1])
            await run.agent.close()
            assert not (tmp_path / "ledger.json").exists()

    host.run(main)


def test_anothers_route_and_rule_are_left_alone_and_reported(host: Namespace, tmp_path: Path) -> None:
    host.ip("route", "add", RANGE, "dev", "veth0", "metric", "50")
    host.ip("rule", "add", "from", "10.9.0.0/16", "lookup", "1000", "priority", "210")
    theirs = routes(host), rules(host)

    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(routed())
            assert routes(host)[RANGE] == ("veth0", "")
            status = run.agent.status(0.0)["gre1"]
            assert (status.state, states(run)) == ("up", {RANGE: "taken"})
            assert status.routes[0].problem == "a route that is not mcastd's leads it elsewhere"
            await run.agent.close()
            assert (routes(host), rules(host)) == theirs
            await run.want(routed())
            host.ip("route", "del", RANGE)
            await until(lambda: states(run) == {RANGE: "up"}, "there is room")
            host.ip("route", "add", RANGE, "dev", "veth0", "metric", "50")
            await until(lambda: states(run) == {RANGE: "taken"}, "there is not")
            await until(lambda: routes(host)[RANGE] == ("veth0", ""), "ours is gone")
            await run.agent.close()

    host.run(main)
    assert (routes(host), rules(host)) == theirs
