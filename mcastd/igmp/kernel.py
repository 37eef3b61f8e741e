"""What the IGMP agent uses of rtnetlink. ``mcastd.system.netlink`` is the real one; tests replace it. Pure."""

from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager
from ipaddress import IPv4Network
from typing import Protocol

from mcastd.links import Address, Link


class Links(Protocol):
    """A part of ``mcastd.system.netlink.Netlink``. The methods raise HostError."""

    async def __aenter__(self) -> object:
        """Open the socket."""

    async def __aexit__(self, *_error: object) -> None:
        """Close the socket."""

    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        """Notifications of changes of links and addresses, among others."""

    def limit_routes(self, networks: Collection[IPv4Network]) -> None:
        """Receive notifications of only those changes of routes that overlap with these networks."""

    async def link(self, name: str) -> Link | None:
        """The link of that name; None if it does not exist."""

    async def addresses(self, link: Link | None = None) -> tuple[Address, ...]:
        """The addresses of a link, in the kernel's order, the primary one first."""
