"""rtnetlink of a FakeKernel: for the tunnel agent the interface ``mcastd.tunnel.kernel.Netlink``."""

import asyncio
import errno
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from typing import Self

from mcastd.errors import HostError, LinkUnsupported
from mcastd.links import Address, Gre, Link, Route, Rule, Vxlan, Xfrm
from tests.fakes.kernel import FakeKernel, FakeRoute, refusal

LATENCY = 0.0005
"""Seconds that each request takes."""
_GONE = (errno.EADDRNOTAVAIL, errno.ENODEV, errno.ESRCH, errno.ENOENT)


class FakeNetlink:
    """``changed`` are the changes that the agent has made.

    An operation in ``refused`` fails with an error number; before one in ``meanwhile`` something else happens, once.
    """

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self.changed: list[str] = []
        self.refused: dict[str, int] = {}
        self.meanwhile: dict[str, Callable[[], object]] = {}
        self.watched: set[IPv4Network] = set()  # of which changes of routes are noticed
        self.asked: Counter[str] = Counter()  # how often, by operation
        self._open = False

    async def __aenter__(self) -> Self:
        assert not self._open, "it is open already"
        if "open" in self.refused:
            raise HostError(f"netlink: {os.strerror(self.refused['open'])}")
        self._open = True
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._open = False

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[None]]:
        with self._kernel.notifications.subscribed() as notifications:
            yield notifications

    changes_of_links = changes

    def limit_routes(self, networks: Collection[IPv4Network]) -> None:
        self.watched = set(networks)

    async def link(self, name: str) -> Link | None:
        await self._request("link")
        found = self._kernel.links.get(name)
        return found.shown() if found is not None else None

    async def links(self) -> tuple[Link, ...]:
        await self._request("links")
        return tuple(link.shown() for link in self._kernel.links.values())

    async def link_towards(self, destination: IPv4Address, source: IPv4Address | None = None) -> Link | None:
        await self._request("link_towards")
        try:
            return self._kernel.lookup(destination, source).shown()
        except OSError:
            return None

    async def is_local(self, address: IPv4Address) -> bool:
        await self._request("is_local")
        links = [link for link in self._kernel.links.values() if link.up and link.master is None]
        return any(own.ip == address for link in links for own, _ in link.addresses)

    async def addresses(self, link: Link | None = None) -> tuple[Address, ...]:
        await self._request("addresses")
        links = [one for one in self._kernel.links.values() if link is None or one.index == link.index]
        return tuple(Address(one.index, *entry, one.labels[entry]) for one in links for entry in one.addresses)

    async def routes(self, table: int, prefixes: Collection[IPv4Network], protocol: int) -> tuple[Route, ...]:
        await self._request("routes")
        links = self._kernel.links
        return tuple(
            Route(route.prefix, links[route.link].index if route.link else None, table, route.protocol)
            for route in self._kernel.routes(table)
            if route.prefix in prefixes or route.protocol == protocol
        )

    async def routed(self, protocol: int) -> frozenset[tuple[int, int]]:
        await self._request("routed")
        links, found = self._kernel.links, self._kernel.all_routes()
        return frozenset((links[one.link].index, one.table) for one in found if one.link and one.protocol == protocol)

    async def rules(self) -> tuple[Rule, ...]:
        await self._request("rules")
        return tuple(self._kernel.rules())

    async def add_link(self, name: str, parameters: Gre | Xfrm | Vxlan) -> None:
        kinds = {Gre: ("gre", "GRE"), Xfrm: ("xfrm", "XFRM interfaces"), Vxlan: ("vxlan", "VXLAN")}
        kind, module = kinds[type(parameters)]
        if kind in self._kernel.unsupported:
            raise LinkUnsupported(f"{name}: this kernel has no {module}")
        make = self._kernel.make_link
        await self._change("add_link", f"link {name}", lambda: make(name, kind, parameters, mtu=1476))

    async def change_link(self, link: Link, parameters: Gre | Vxlan) -> None:
        await self._change("change_link", link, lambda: self._kernel.change_link(self._name(link.index), parameters))

    async def delete_link(self, link: Link) -> None:
        await self._change("delete_link", link, lambda: self._kernel.delete_link(self._name(link.index)), errno.ENODEV)

    async def set_link(
        self, link: Link, *, mtu: int | None = None, up: bool | None = None, multicast: bool = False, alias: str = ""
    ) -> None:
        def change() -> None:
            name = self._name(link.index)
            self._kernel.set_link(name, mtu=mtu, up=up, multicast=multicast or None)
            self._kernel.links[name].alias = alias or self._kernel.links[name].alias

        await self._change("set_link", link, change)

    async def disable_ipv6_addresses(self, link: Link) -> None:
        def change() -> None:
            self._kernel.links[self._name(link.index)].ipv6_disabled = True

        await self._change("disable_ipv6_addresses", link, change)

    async def add(self, item: Address | Route | Rule) -> None:
        await self._change("add", item, lambda: self._item("add", item), errno.EEXIST)

    async def replace(self, item: Route) -> None:
        await self._change("replace", item, lambda: self._item("replace", item))

    async def delete(self, item: Address | Route | Rule) -> None:
        await self._change("delete", item, lambda: self._item("delete", item), *_GONE)

    def _item(self, verb: str, item: Address | Route | Rule) -> None:
        kernel = self._kernel
        match item:
            case Address(index, own, peer, label):
                name, entry = self._name(index), (own, peer)
                (kernel.add_address if verb == "add" else kernel.delete_address)(name, entry, label)
            case Route(prefix, index, table, protocol):
                assert index is not None
                route = FakeRoute(prefix, self._name(index), table, protocol)
                changes = {"add": kernel.add_route, "replace": kernel.replace_route, "delete": kernel.delete_route}
                changes[verb](route)
            case Rule():
                (kernel.add_rule if verb == "add" else kernel.delete_rule)(item)

    def _name(self, index: int) -> str:
        for link in self._kernel.links.values():
            if link.index == index:
                return link.name
        raise refusal(errno.ENODEV)

    async def _change(self, operation: str, what: object, change: Callable[[], object], *ignored: int) -> None:
        await self._request(operation, what)
        try:
            change()
        except OSError as error:
            if error.errno not in ignored:
                raise HostError(f"{what}: {os.strerror(error.errno or 0)}") from error
        else:
            self.changed.append(f"{operation} {what}")

    async def _request(self, operation: str, what: object = "") -> None:
        assert self._open, "the socket is not open"
        await asyncio.sleep(LATENCY)
        self.asked[operation] += 1
        if operation in self.meanwhile:
            self.meanwhile.pop(operation)()
        if operation in self.refused:
            raise HostError(f"{what or operation}: {os.strerror(self.refused[operation])}")
