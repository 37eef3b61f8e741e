"""Links, addresses, routes and rules of IPv4 over rtnetlink, as the structs of ``mcastd.links``."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Collection
from contextlib import asynccontextmanager, closing
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final, Self

from mcastd.errors import HostError, LinkUnsupported
from mcastd.links import Address, Gre, Link, NextHop, Route, Rule, Vxlan, Xfrm
from mcastd.net.gre import Flag, GreOptions
from mcastd.system import rtnetlink
from mcastd.system.iproute import AsyncIPRoute, NetlinkError

IFF_UP: Final = 0x1
IFF_MULTICAST: Final = 0x1000
_AF_INET: Final = 2
_ADDRGENMODE_NONE: Final = 1
_NUD_UNRESOLVED: Final = 0x01 | 0x20  # incomplete, failed
_ACTION_LOOKUP: Final = 1
_SCOPE_LINK: Final = 253
_RTN_LOCAL: Final = 2
_EVERYWHERE: Final = IPv4Network("0.0.0.0/0")
_NO_IPV6: Final = (errno.EAFNOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP)
# How the kernel refuses to delete an address, a route or a rule that does not exist, or is on a link that does not.
_GONE: Final = (errno.EADDRNOTAVAIL, errno.ENODEV, errno.ESRCH, errno.ENOENT)
# How it answers where packets to an address leave: nowhere, or not from that source, which is not an address of it.
_NO_ROUTE: Final = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL)
_TIMEOUT: Final = 5.0  # seconds for the answer to a request, which is lost when the kernel has no memory for it


class Netlink:
    """One rtnetlink socket, open within ``async with``, which can be entered again. Its methods raise HostError."""

    def __init__(self) -> None:
        self._changes: rtnetlink.Changes | None = None  # while notifications are received

    async def __aenter__(self) -> Self:
        try:
            self._ipr = AsyncIPRoute()
            await self._ipr.setup_endpoint()
        except OSError as error:
            raise HostError(f"netlink: {error.strerror}") from error
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._ipr.close()

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[None]]:
        """Receive a notification after changes of links, addresses, routes, rules, ``rp_filter`` or forwarding.

        Changes are noticed from the moment that the context is entered.
        """
        with closing(rtnetlink.Changes()) as self._changes:
            try:
                yield aiter(self._changes)
            finally:
                self._changes = None

    @asynccontextmanager
    async def changes_of_links(self) -> AsyncIterator[AsyncIterator[None]]:
        """Receive a notification after changes of links and addresses alone, beside ``changes`` or without it."""
        with closing(rtnetlink.Changes(rtnetlink.LINKS)) as found:
            yield aiter(found)

    def limit_routes(self, networks: Collection[IPv4Network]) -> None:
        """Receive notifications of only those changes of routes that overlap with these networks."""
        if self._changes is not None:
            self._changes.limit_routes(networks)

    async def link(self, name: str) -> Link | None:
        """The link of that name; None if it does not exist."""
        found = await self._ask(f"link {name}", self._ipr.link("get", ifname=name), errno.ENODEV)
        return _link(found[0]) if found else None

    async def links(self) -> tuple[Link, ...]:
        """All links of this host."""
        return tuple(map(_link, await self._ask("links", self._ipr.link("dump"))))

    async def link_towards(self, destination: IPv4Address, source: IPv4Address | None = None) -> Link | None:
        """The link by which packets to ``destination`` leave; None if there is no route."""
        route = await self._lookup(destination, source)
        return await self._link_of(route) if route is not None else None

    async def next_hop(self, destination: IPv4Address, source: IPv4Address) -> NextHop | None:
        """The next hop of packets to ``destination``; None if there is no route."""
        route = await self._lookup(destination, source)
        link = await self._link_of(route) if route is not None else None
        if route is None or link is None:
            return None
        gateway, index = route.get("gateway"), link.index
        hop = gateway or str(destination)
        neighbors = await self._ask("neighbours", self._ipr.neigh("dump", family=_AF_INET, ifindex=index))
        states = [entry["state"] for entry in neighbors if entry.get("dst") == hop and entry["ifindex"] == index]
        return NextHop(
            interface=link.name,
            gateway=IPv4Address(gateway) if gateway else None,
            unresolved=any(state & _NUD_UNRESOLVED for state in states),
        )

    async def is_local(self, address: IPv4Address) -> bool:
        """Whether it is an address of this host, on a link that is up."""
        route = await self._lookup(address, None)
        return route is not None and route["type"] == _RTN_LOCAL

    async def addresses(self, link: Link | None = None) -> tuple[Address, ...]:
        """The IPv4 addresses of a link or of this host; those of one link in the kernel's order, primary one first."""
        return await rtnetlink.addresses(link.index if link is not None else 0)

    async def routes(self, table: int, prefixes: Collection[IPv4Network], protocol: int) -> tuple[Route, ...]:
        """The routes of a table to these prefixes, and all those of a protocol."""
        return await rtnetlink.routes(table, prefixes, protocol)

    async def routed(self, protocol: int) -> frozenset[tuple[int, int]]:
        """The indexes of links and the tables in which they have routes of a protocol (RTPROT_*)."""
        return await rtnetlink.routed(protocol)

    async def rules(self) -> tuple[Rule, ...]:
        """The rules that look up a table."""
        found = await self._ask("rules", self._ipr.rule("dump", family=_AF_INET))
        return tuple(_rule(message) for message in found if message["action"] == _ACTION_LOOKUP)

    async def add_link(self, name: str, parameters: Gre | Xfrm | Vxlan) -> None:
        """Make a link, which is down. Raises LinkUnsupported if the kernel has no links of this kind."""
        if isinstance(parameters, Gre):
            attributes, module = _gre_attributes(parameters), "GRE (no module ip_gre)"
        elif isinstance(parameters, Vxlan):
            attributes, module = _vxlan_attributes(parameters), "VXLAN (no module vxlan)"
        else:
            attributes = {"kind": "xfrm", "xfrm_if_id": parameters.if_id}
            module = "XFRM interfaces (no module xfrm_interface)"
        try:
            await self._ask(f"link {name}", self._ipr.link("add", ifname=name, **attributes))
        except HostError as error:
            if getattr(error.__cause__, "code", None) == errno.EOPNOTSUPP:
                raise LinkUnsupported(f"{name}: this kernel has no {module}") from error
            raise

    async def change_link(self, link: Link, parameters: Gre | Vxlan) -> None:
        """Give a link other parameters, in place. VXLAN keeps its VNI and its port: others are refused."""
        if isinstance(parameters, Gre):
            attributes = _gre_attributes(parameters)
        else:
            attributes = _vxlan_attributes(parameters)
            if isinstance(link.parameters, Vxlan) and link.parameters.port == parameters.port:
                del attributes["vxlan_port"]  # which is refused even if it is the same
        await self._ask(link, self._ipr.link("set", index=link.index, **attributes))

    async def delete_link(self, link: Link) -> None:
        """Delete a link; a no-op if it no longer exists."""
        await self._ask(link, self._ipr.link("del", index=link.index), errno.ENODEV)

    async def set_link(
        self, link: Link, *, mtu: int | None = None, up: bool | None = None, multicast: bool = False, alias: str = ""
    ) -> None:
        """Change the MTU, the state, the MULTICAST flag and the alias of a link, each only if it is given."""
        values: dict[str, Any] = {"mtu": mtu} if mtu is not None else {}
        values |= {"ifalias": alias} if alias else {}
        if change := IFF_UP * (up is not None) | IFF_MULTICAST * multicast:
            values |= {"flags": IFF_UP * bool(up) | IFF_MULTICAST * multicast, "change": change}
        await self._ask(link, self._ipr.link("set", index=link.index, **values))

    async def disable_ipv6_addresses(self, link: Link) -> None:
        """Let the kernel make no IPv6 address on a link: router solicitations would be sent to the other side."""
        attributes = {"attrs": [["AF_INET6", {"attrs": [["IFLA_INET6_ADDR_GEN_MODE", _ADDRGENMODE_NONE]]}]]}
        await self._ask(link, self._ipr.link("set", index=link.index, IFLA_AF_SPEC=attributes), *_NO_IPV6)

    async def add(self, item: Address | Route | Rule) -> None:
        """Add an address, a route or a rule; a no-op if it exists."""
        await self._change("add", item, errno.EEXIST)

    async def replace(self, item: Route) -> None:
        """Lead a prefix elsewhere, in one step; add the route if there is none."""
        await self._change("replace", item)

    async def delete(self, item: Address | Route | Rule) -> None:
        """Delete an address, a route or a rule; a no-op if it does not exist."""
        await self._change("del", item, *_GONE)

    async def _change(self, command: str, item: Address | Route | Rule, *ignored: int) -> None:
        match item:
            case Address(index, interface, peer, label):
                # The kernel deletes an address only if it has the label that the request names.
                ends = {"local": str(interface.ip), "address": str(peer or interface.ip)} | (
                    {"label": label} if label else {}
                )
                prefix_length = interface.network.prefixlen
                request = self._ipr.addr(command, index=index, prefixlen=prefix_length, **ends)
            case Route(prefix, index, table, protocol):
                request = self._ipr.route(
                    command, dst=str(prefix), oif=index, table=table, proto=protocol, scope=_SCOPE_LINK
                )
            case Rule(source, table, priority, protocol):
                match = {"src": str(source.network_address), "src_len": source.prefixlen}
                request = self._ipr.rule(
                    command,
                    table=table,
                    priority=priority,
                    FRA_PROTOCOL=protocol,
                    **(match if source != _EVERYWHERE else {}),
                )
        await self._ask(item, request, *ignored)

    async def _link_of(self, route: Any) -> Link | None:
        """The link that a route leads to; None if it was deleted meanwhile."""
        found = await self._ask(
            f"link of {route.get('dst')}", self._ipr.link("get", index=route.get("oif")), errno.ENODEV
        )
        return _link(found[0]) if found else None

    async def _lookup(self, destination: IPv4Address, source: IPv4Address | None) -> Any | None:
        """The kernel's route to an address; None if there is none, or if ``source`` is not an address of this host."""
        query = {"dst": str(destination)} | ({"src": str(source)} if source else {})
        return next(iter(await self._ask(f"route to {destination}", self._ipr.route("get", **query), *_NO_ROUTE)), None)

    async def _ask(self, what: object, request: Awaitable[Any], *ignored: int) -> list[Any]:
        """The answers to a request; none if the kernel answers with an error in ``ignored``. Raises HostError."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                answers = await request
                return [one async for one in answers] if isinstance(answers, AsyncIterator) else list(answers)
        except TimeoutError as error:
            raise HostError(f"{what}: the kernel does not answer") from error
        except (NetlinkError, OSError) as error:
            code = _code(error)
            if code in ignored:
                return []
            raise HostError(f"{what}: {os.strerror(code)}") from error
        finally:
            self._forget()

    def _forget(self) -> None:
        """Drop what belongs to no request: pyroute2 keeps the acknowledgement of each "get", without waiting for it."""
        unclaimed = self._ipr.msg_queue.queues[0]
        while not unclaimed.empty():
            unclaimed.get_nowait()


def _code(error: NetlinkError | OSError) -> int:
    return int(error.code if isinstance(error, NetlinkError) else error.errno or 0)


def _gre_attributes(gre: Gre) -> dict[str, Any]:
    # The kernel accepts a key without its flag, and does not use it.
    flags, key = gre.options.feed_header.flags, gre.options.key
    optional = {"gre_iflags": flags, "gre_oflags": flags} if flags else {}
    if key is not None:
        optional |= {"gre_ikey": key, "gre_okey": key}
    ends = {"gre_local": str(gre.local), "gre_remote": str(gre.remote)}
    return {"kind": "gre", **ends, "gre_ttl": gre.options.ttl, "gre_pmtudisc": 1, **optional}


def _link(message: Any) -> Link:
    flags, info = message["flags"], message.get("linkinfo")
    kind = info.get("kind") if info is not None else None
    return Link(
        index=message["index"],
        name=message.get("ifname"),
        kind=kind,
        mtu=message.get("mtu"),
        up=bool(flags & IFF_UP),
        multicast=bool(flags & IFF_MULTICAST),
        parameters=_parameters(kind, info.get("data")) if kind in ("gre", "xfrm", "vxlan") else None,
        alias=message.get("ifalias") or "",
        master=message.get("master"),
    )


def _parameters(kind: str, data: Any) -> Gre | Xfrm | Vxlan | None:
    if kind == "xfrm":
        return Xfrm(data.get("xfrm_if_id"))
    if kind == "vxlan":
        return _vxlan(data)
    flags = data.get("gre_iflags") or 0
    options = GreOptions(
        key=data.get("gre_ikey") if flags & Flag.KEY else None,
        checksum=bool(flags & Flag.CHECKSUM),
        sequence=bool(flags & Flag.SEQUENCE),
        ttl=data.get("gre_ttl"),
    )
    return Gre(IPv4Address(data.get("gre_local")), IPv4Address(data.get("gre_remote")), options)


def _vxlan_attributes(vxlan: Vxlan) -> dict[str, Any]:
    return {
        "kind": "vxlan",
        "vxlan_id": vxlan.vni,
        "vxlan_local": str(vxlan.local),
        "vxlan_port": vxlan.port,
        "vxlan_learning": True,
        "vxlan_ageing": vxlan.ageing,
    }


def _vxlan(data: Any) -> Vxlan | None:
    """None for a device that is of another kind than those of ours: without a local endpoint, or not learning."""
    local = data.get("vxlan_local")
    if local is None or data.get("vxlan_group") or not data.get("vxlan_learning"):
        return None
    return Vxlan(data.get("vxlan_id"), IPv4Address(local), data.get("vxlan_port"), data.get("vxlan_ageing"))


def _rule(message: Any) -> Rule:
    return Rule(
        source=IPv4Network(f"{message.get('src') or '0.0.0.0'}/{message['src_len']}"),
        table=message.get("table") or message["table"],
        priority=message.get("priority") or 0,
        protocol=message.get("protocol") or 0,
    )
