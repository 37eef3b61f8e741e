"""What the tunnel agent uses of rtnetlink. ``mcastd.system.netlink`` is the real one; tests replace it. Pure."""

from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager
from ipaddress import IPv4Address, IPv4Network
from typing import Protocol

from mcastd.links import Address, Gre, Link, Route, Rule, Vxlan, Xfrm


class Netlink(Protocol):
    """See ``mcastd.system.netlink.Netlink``. The methods raise HostError."""

    async def __aenter__(self) -> object:
        """Open the socket."""

    async def __aexit__(self, *_error: object) -> None:
        """Close the socket."""

    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        """Notifications of changes of links, addresses, routes, rules, rp_filter or forwarding."""

    def changes_of_links(self) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        """Notifications of changes of links and addresses alone."""

    def limit_routes(self, networks: Collection[IPv4Network]) -> None:
        """Receive notifications of only those changes of routes that overlap with these networks."""

    async def link(self, name: str) -> Link | None:
        """The link of that name; None if it does not exist."""

    async def links(self) -> tuple[Link, ...]:
        """All links of this host."""

    async def link_towards(self, destination: IPv4Address, source: IPv4Address | None = None) -> Link | None:
        """The link by which packets to ``destination`` leave; None if there is no route."""

    async def is_local(self, address: IPv4Address) -> bool:
        """Whether it is an address of this host, on a link that is up."""

    async def addresses(self, link: Link | None = None) -> tuple[Address, ...]:
        """The addresses of a link or of this host; those of one link in the kernel's order."""

    async def routes(self, table: int, prefixes: Collection[IPv4Network], protocol: int) -> tuple[Route, ...]:
        """The routes of a table to these prefixes, and all those of a protocol."""

    async def routed(self, protocol: int) -> frozenset[tuple[int, int]]:
        """The indexes of links and the tables in which they have routes of a protocol (RTPROT_*)."""

    async def rules(self) -> tuple[Rule, ...]:
        """The rules that look up a table."""

    async def add_link(self, name: str, parameters: Gre | Xfrm | Vxlan) -> None:
        """Make a link, which is down. Raises LinkUnsupported if the kernel has no links of this kind."""

    async def change_link(self, link: Link, parameters: Gre | Vxlan) -> None:
        """Give a link other parameters, in place."""

    async def delete_link(self, link: Link) -> None:
        """Delete a link; a no-op if it no longer exists."""

    async def set_link(
        self, link: Link, *, mtu: int | None = None, up: bool | None = None, multicast: bool = False, alias: str = ""
    ) -> None:
        """Change the MTU, the state, the MULTICAST flag and the alias of a link, each only if it is given."""

    async def disable_ipv6_addresses(self, link: Link) -> None:
        """Let the kernel make no IPv6 address on a link."""

    async def add(self, item: Address | Route | Rule) -> None:
        """Add an address, a route or a rule; a no-op if it exists."""

    async def replace(self, item: Route) -> None:
        """Lead a prefix elsewhere, in one step; add the route if there is none."""

    async def delete(self, item: Address | Route | Rule) -> None:
        """Delete an address, a route or a rule; a no-op if it does not exist."""
