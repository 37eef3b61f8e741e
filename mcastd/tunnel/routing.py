"""Carrying out what is routed through tunnels: routes and rules that carry our mark, and no others."""

from collections.abc import Iterable
from ipaddress import IPv4Network

from mcastd.system.ledger import Ledger
from mcastd.system.netlink import Link, Netlink
from mcastd.system.routing import Route, Routing, Rule
from mcastd.tunnel import routes


class RouteKeeper:
    """Routes and rules of ours. They go with their link; the ledger knows in which tables a link has some."""

    def __init__(self, netlink: Netlink, ledger: Ledger) -> None:
        self._routing = Routing(netlink)
        self._ledger = ledger

    async def match(self, link: Link, table: int, wanted: Iterable[IPv4Network]) -> frozenset[IPv4Network]:
        """Route these prefixes, and no others, through a link that is up; returns those that another's route has."""
        for other in self._tables(link.name) - {table}:
            await self._match_table(link, other, ())
            self._ledger.forget("routes", f"{link.name} {other}")
        return await self._match_table(link, table, tuple(wanted))

    async def match_rules(self, wanted: frozenset[tuple[IPv4Network, int]]) -> None:
        """Have these rules, each a source and a table, and no others of ours."""
        remembered = self._ledger.entries("rule")
        if not wanted and not remembered:
            return
        found = {
            (rule.source, rule.table)
            for rule in await self._routing.rules()
            if (rule.priority, rule.protocol) == (routes.PRIORITY, routes.PROTOCOL)
        }
        for source, table in sorted(wanted - found):
            self._ledger.remember("rule", f"{source} {table}")
            await self._routing.add_rule(_rule(source, table))
        for key in remembered:
            source_text, _, table_text = key.partition(" ")
            source, table = IPv4Network(source_text), int(table_text)
            if (source, table) not in wanted:
                await self._routing.delete_rule(_rule(source, table))
                self._ledger.forget("rule", key)

    def forget(self, name: str) -> None:
        """The link is gone, and the kernel has removed its routes."""
        for table in self._tables(name):
            self._ledger.forget("routes", f"{name} {table}")

    async def _match_table(self, link: Link, table: int, wanted: tuple[IPv4Network, ...]) -> frozenset[IPv4Network]:
        remembered = table in self._tables(link.name)
        if not wanted and not remembered:
            return frozenset()
        plan = routes.plan(
            wanted,
            [
                routes.FoundRoute(
                    route.prefix, route.index == link.index,
                    remembered and route.index == link.index and route.protocol == routes.PROTOCOL,
                )
                for route in await self._routing.routes(table)
            ],
        )  # fmt: skip
        if plan.add:
            self._ledger.remember("routes", f"{link.name} {table}")
        for prefix in plan.add:
            await self._routing.add_route(Route(prefix, link.index, table, routes.PROTOCOL))
        for prefix in plan.delete:
            await self._routing.delete_route(Route(prefix, link.index, table, routes.PROTOCOL))
        return plan.taken

    def _tables(self, name: str) -> set[int]:
        entries = (key.rpartition(" ") for key in self._ledger.entries("routes"))
        return {int(table) for link, _, table in entries if link == name}


def _rule(source: IPv4Network, table: int) -> Rule:
    return Rule(source, table, routes.PRIORITY, routes.PROTOCOL)
