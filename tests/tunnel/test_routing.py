"""Routes and rules on a real kernel, in a namespace, as the tunnel agent keeps them."""

import json
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from mcastd.config.model import Group, Pim, RpRange
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
            await run.close()
        assert joins_on(host, "239.1.1.1") == "veth0"

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
            assert rules(host) == theirs[1]
            host.ip("route", "del", RANGE)
            await until(lambda: states(run) == {RANGE: "up"}, "there is room")
            host.ip("route", "add", RANGE, "dev", "veth0", "metric", "50")
            await until(lambda: states(run) == {RANGE: "taken"}, "there is not")
            await until(lambda: routes(host)[RANGE] == ("veth0", ""), "ours is gone")
            await run.close()

    host.run(main)
    assert (routes(host), rules(host)) == theirs
