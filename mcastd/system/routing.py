"""Routes and rules of IPv4 over rtnetlink, beside the links and addresses of ``netlink``."""

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
    """One route. ``index`` is the interface it leads to, None where there are several or none.

    ``protocol`` says who made it (RTPROT_*).
    """

    prefix: IPv4Network
    index: int | None
    table: int
    protocol: int


@dataclass(frozen=True, slots=True)
class Rule:
    """``from SOURCE lookup TABLE``; the lower ``priority`` is asked first."""

    source: IPv4Network
    table: int
    priority: int
    protocol: int


class Routing:
    """Reads and changes routes and rules. Raises HostError when the host refuses."""

    def __init__(self, netlink: Netlink) -> None:
        self._ipr = netlink.ipr

    async def routes(self, table: int) -> tuple[Route, ...]:
        """Every unicast route of a table."""
        try:
            messages = [message async for message in await self._ipr.route("dump", family=_AF_INET, table=table)]
        except NetlinkError as error:
            raise host_error(f"routes of table {table}", error) from error
        return tuple(_route(message) for message in messages)

    async def add_route(self, route: Route) -> None:
        """Make a route straight to an interface; one that is there already is as good."""
        await self._route("add", route, as_good=(errno.EEXIST,))

    async def delete_route(self, route: Route) -> None:
        """Take a route away; one that is gone already is as good."""
        await self._route("del", route, as_good=(errno.ESRCH, errno.ENODEV))

    async def rules(self) -> tuple[Rule, ...]:
        """Every rule that looks into a table."""
        try:
            messages = [message async for message in await self._ipr.rule("dump", family=_AF_INET)]
        except NetlinkError as error:
            raise host_error("rules", error) from error
        return tuple(_rule(message) for message in messages if message["action"] == _LOOKUP)

    async def add_rule(self, rule: Rule) -> None:
        """Make a rule; one that is there already is as good."""
        await self._rule("add", rule, as_good=(errno.EEXIST,))

    async def delete_rule(self, rule: Rule) -> None:
        """Take a rule away; one that is gone already is as good."""
        await self._rule("del", rule, as_good=(errno.ENOENT,))

    async def _route(self, command: str, route: Route, as_good: tuple[int, ...]) -> None:
        try:
            await self._ipr.route(
                command, dst=str(route.prefix), oif=route.index, table=route.table, proto=route.protocol,
                scope=_SCOPE_LINK,
            )  # fmt: skip
        except NetlinkError as error:
            if error.code not in as_good:
                raise host_error(f"route {route.prefix}", error) from error

    async def _rule(self, command: str, rule: Rule, as_good: tuple[int, ...]) -> None:
        source: dict[str, Any] = {}
        if rule.source != _EVERYWHERE:
            source = {"src": str(rule.source.network_address), "src_len": rule.source.prefixlen}
        try:
            await self._ipr.rule(
                command, table=rule.table, priority=rule.priority, FRA_PROTOCOL=rule.protocol, **source
            )
        except NetlinkError as error:
            if error.code not in as_good:
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
