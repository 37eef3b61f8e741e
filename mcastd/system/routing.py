"""IPv4 routes and rules over rtnetlink (rtnetlink(7))."""

import errno
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from mcastd.system.netlink import Netlink, host_error

_AF_INET = 2
_LOOKUP = 1
_SCOPE_LINK = 253
_EVERYWHERE = IPv4Network("0.0.0.0/0")


@dataclass(frozen=True, slots=True)
class Route:
    """A route to the interface ``index``; None if it has several next hops or none.

    ``protocol`` identifies the program that created it (RTPROT_*).
    """

    prefix: IPv4Network
    index: int | None
    table: int
    protocol: int


@dataclass(frozen=True, slots=True)
class Rule:
    """``from SOURCE lookup TABLE``; rules with a lower ``priority`` come first."""

    source: IPv4Network
    table: int
    priority: int
    protocol: int


class Routing:
    """Reads and changes routes and rules; raises HostError if the kernel refuses."""

    def __init__(self, netlink: Netlink) -> None:
        self._ipr = netlink.ipr

    async def routes(self, table: int) -> tuple[Route, ...]:
        """All unicast routes of a table."""
        try:
            messages = [message async for message in await self._ipr.route("dump", family=_AF_INET, table=table)]
        except NetlinkError as error:
            raise host_error(f"routes of table {table}", error) from error
        return tuple(_route(message) for message in messages)

    async def add_route(self, route: Route) -> None:
        """Add a route to an interface, without a gateway; a no-op if it exists."""
        await self._route("add", route, ignored=(errno.EEXIST,))

    async def delete_route(self, route: Route) -> None:
        """Remove a route; a no-op if there is none."""
        await self._route("del", route, ignored=(errno.ESRCH, errno.ENODEV))

    async def rules(self) -> tuple[Rule, ...]:
        """All rules that look up a table."""
        try:
            messages = [message async for message in await self._ipr.rule("dump", family=_AF_INET)]
        except NetlinkError as error:
            raise host_error("rules", error) from error
        return tuple(_rule(message) for message in messages if message["action"] == _LOOKUP)

    async def add_rule(self, rule: Rule) -> None:
        """Add a rule; a no-op if it exists."""
        await self._rule("add", rule, ignored=(errno.EEXIST,))

    async def delete_rule(self, rule: Rule) -> None:
        """Remove a rule; a no-op if there is none."""
        await self._rule("del", rule, ignored=(errno.ENOENT,))

    async def _route(self, command: str, route: Route, ignored: tuple[int, ...]) -> None:
        try:
            await self._ipr.route(
                command, dst=str(route.prefix), oif=route.index, table=route.table, proto=route.protocol,
                scope=_SCOPE_LINK,
            )  # fmt: skip
        except NetlinkError as error:
            if error.code not in ignored:
                raise host_error(f"route {route.prefix}", error) from error

    async def _rule(self, command: str, rule: Rule, ignored: tuple[int, ...]) -> None:
        source: dict[str, Any] = {}
        if rule.source != _EVERYWHERE:
            source = {"src": str(rule.source.network_address), "src_len": rule.source.prefixlen}
        try:
            await self._ipr.rule(
                command, table=rule.table, priority=rule.priority, FRA_PROTOCOL=rule.protocol, **source
            )
        except NetlinkError as error:
            if error.code not in ignored:
                raise host_error(f"rule from {rule.source} lookup {rule.table}", error) from error


def _route(message: Any) -> Route:
    destination = message.get("dst") or "0.0.0.0"
    return Route(
        prefix=IPv4Network(f"{destination}/{message['dst_len']}"),
        index=message.get("oif"),
        table=message.get("table") or message["table"],
        protocol=message["proto"],
    )


def _rule(message: Any) -> Rule:
    return Rule(
        source=IPv4Network(f"{message.get('src') or '0.0.0.0'}/{message['src_len']}"),
        table=message.get("table") or message["table"],
        priority=message.get("priority") or 0,
        protocol=message.get("protocol") or 0,
    )
