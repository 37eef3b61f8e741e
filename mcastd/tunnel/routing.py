"""Applies what is routed through tunnels: routes and rules that carry the mark of mcastd, and no others."""

from collections.abc import Callable, Collection
from ipaddress import IPv4Network

from mcastd.links import Link, Route, Rule
from mcastd.system.ledger import Ledger
from mcastd.tunnel import routes
from mcastd.tunnel.kernel import Netlink
from mcastd.tunnel.marks import ROUTES, RULE


class RouteKeeper:
    """The routes and rules of mcastd. The kernel deletes the routes of a link with it.

    The ledger has the tables in which each link has routes, and the rules.
    """

    def __init__(self, netlink: Netlink, ledger: Ledger, repaired: Callable[[str, str], None]) -> None:
        self._netlink = netlink
        self._ledger = ledger
        self._repaired = repaired
        # By the link's name and table, what has been routed, and to which index.
        self._routed: dict[tuple[str, int], tuple[int, frozenset[IPv4Network]]] = {}
        self._rules: frozenset[tuple[IPv4Network, int]] = frozenset()  # those in place

    async def match(
        self,
        link: Link,
        table: int,
        desired: Collection[IPv4Network],
        is_alone: Callable[[IPv4Network], bool] = routes.never,
    ) -> frozenset[IPv4Network]:
        """Route these prefixes and no others through a link that is up; returns those that other routes have taken.

        Those that no other link is to have (``is_alone``) are taken over from the one that mcastd had routed them to.
        """
        for other in self._tables(link.name) - {table}:
            await self._match_table(link, other, ())
            self._ledger.forget(ROUTES, f"{link.name} {other}")
        return await self._match_table(link, table, desired, is_alone)

    async def match_rules(self, desired: frozenset[tuple[IPv4Network, int]]) -> None:
        """Have these rules, each a source and a table, and no others of mcastd."""
        recorded = self._ledger.entries(RULE)
        if not desired and not recorded:
            self._rules = desired
            return
        found = {(rule.source, rule.table) for rule in await self._netlink.rules() if routes.is_marked(rule)}
        for source, table in sorted(desired - found):
            self._ledger.remember(RULE, f"{source} {table}")
            await self._netlink.add(_rule(source, table))
            if (source, table) in self._rules:
                self._repaired("rules", f"from {source} lookup {table}")
        self._rules = desired
        for key in recorded:
            source_text, _, table_text = key.partition(" ")
            source, table = IPv4Network(source_text), int(table_text)
            if (source, table) not in desired:
                await self._netlink.delete(_rule(source, table))
                self._ledger.forget(RULE, key)

    def forget(self, name: str) -> None:
        """The link is gone, and the kernel has deleted its routes."""
        for table in self._tables(name):
            self._ledger.forget(ROUTES, f"{name} {table}")
            self._routed.pop((name, table), None)

    async def _match_table(
        self,
        link: Link,
        table: int,
        desired: Collection[IPv4Network],
        is_alone: Callable[[IPv4Network], bool] = routes.never,
    ) -> frozenset[IPv4Network]:
        recorded = table in self._tables(link.name)
        if not desired and not recorded:
            return frozenset()
        found = await self._netlink.routes(table, desired, routes.PROTOCOL)
        plan = routes.plan(desired, found, link.index, recorded=recorded, is_alone=is_alone)
        if plan.add or plan.replace:
            self._ledger.remember(ROUTES, f"{link.name} {table}")
        for prefix in plan.add:
            await self._netlink.add(Route(prefix, link.index, table, routes.PROTOCOL))
        for prefix in plan.replace:
            await self._netlink.replace(Route(prefix, link.index, table, routes.PROTOCOL))
        for prefix in plan.delete:
            await self._netlink.delete(Route(prefix, link.index, table, routes.PROTOCOL))
        self._report(link, table, frozenset(plan.add))
        self._routed[link.name, table] = link.index, frozenset(desired) - plan.taken
        return plan.taken

    def _report(self, link: Link, table: int, added: frozenset[IPv4Network]) -> None:
        """Take note of the routes that had been there already."""
        index, routed = self._routed.get((link.name, table), (0, frozenset[IPv4Network]()))
        if index == link.index and (missing := added & routed):
            self._repaired(link.name, "routes" if len(missing) > 1 else f"route {min(missing)}")

    def _tables(self, name: str) -> set[int]:
        entries = (key.rpartition(" ") for key in self._ledger.entries(ROUTES))
        return {int(table) for link, _, table in entries if link == name}


def _rule(source: IPv4Network, table: int) -> Rule:
    return Rule(source, table, routes.PRIORITY, routes.PROTOCOL)
