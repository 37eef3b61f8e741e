"""Routes and rules on a real kernel, in a namespace."""

from collections.abc import Callable
from ipaddress import IPv4Network

import pytest

from mcastd.errors import HostError
from mcastd.system.netlink import Netlink
from mcastd.system.routing import Route, Routing, Rule
from tests.namespaces import Namespace

pytestmark = pytest.mark.root

RANGE, EVERYWHERE = IPv4Network("239.0.0.0/8"), IPv4Network("0.0.0.0/0")


def test_routes_come_and_go_and_twice_is_as_good(namespace: Callable[[], Namespace]) -> None:
    async def main() -> None:
        async with Netlink() as netlink:
            routing = Routing(netlink)
            here, there = Route(RANGE, 1, 254, 103), Route(EVERYWHERE, 1, 100000, 103)
            for _ in range(2):
                await routing.add_route(here)
                await routing.add_route(there)
            assert await routing.routes(254) == (here,)
            assert await routing.routes(100000) == (there,)
            for _ in range(2):
                await routing.delete_route(here)
            assert await routing.routes(254) == ()
            assert await routing.routes(100000) == (there,)
            with pytest.raises(HostError, match=r"route 239\.0\.0\.0/8: No such device"):
                await routing.add_route(Route(RANGE, 9999, 254, 103))

    namespace().run(main)


def test_another_makers_route_is_not_taken_away(namespace: Callable[[], Namespace]) -> None:
    made = namespace()
    made.ip("route", "add", str(RANGE), "dev", "lo")

    async def main() -> None:
        async with Netlink() as netlink:
            routing = Routing(netlink)
            await routing.delete_route(Route(RANGE, 1, 254, 103))
            (left,) = await routing.routes(254)
            assert (left.prefix, left.protocol) == (RANGE, 3)

    made.run(main)


def test_rules_come_and_go_and_twice_is_as_good(namespace: Callable[[], Namespace]) -> None:
    async def main() -> None:
        async with Netlink() as netlink:
            routing = Routing(netlink)
            before = set(await routing.rules())
            ours = {Rule(EVERYWHERE, 100000, 210, 103), Rule(IPv4Network("10.45.8.16/28"), 1000, 210, 103)}
            for _ in range(2):
                for rule in ours:
                    await routing.add_rule(rule)
            assert set(await routing.rules()) == before | ours
            for _ in range(2):
                for rule in ours:
                    await routing.delete_rule(rule)
            assert set(await routing.rules()) == before

    namespace().run(main)
