"""What the IGMP agent uses of the kernel; tests replace it. Pure.

The real ones are ``mcastd.system.netlink`` and ``mcastd.igmp.transport``.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AbstractAsyncContextManager
from ipaddress import IPv4Address
from typing import Protocol

from mcastd.igmp.settings import IgmpInterface
from mcastd.links import Address, Link


class Links(Protocol):
    """A part of ``mcastd.system.netlink.Netlink``. The methods raise HostError."""

    async def __aenter__(self) -> object:
        """Open the socket."""

    async def __aexit__(self, *_error: object) -> None:
        """Close the socket."""

    def changes_of_links(self) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        """Notifications of changes of links and addresses."""

    async def link(self, name: str) -> Link | None:
        """The link of that name; None if it does not exist."""

    async def addresses(self, link: Link | None = None) -> tuple[Address, ...]:
        """The addresses of a link, in the kernel's order, the primary one first."""


class Transport(Protocol):
    """What the agent needs of an interface."""

    def send(self, destination: IPv4Address, payload: bytes) -> None:
        """Send an IGMP message. Raises OSError."""

    def receive(self) -> Iterator[tuple[bytes, bytes]]:
        """IPv4 packets of IGMP and PIM that have arrived, each with its sender's Ethernet address; a bounded number.

        Raises OSError.
        """

    def sample(self, hosts: Collection[IPv4Address]) -> None:
        """From now on receive only a few of the packets of these hosts. Raises OSError."""

    def close(self) -> None:
        """Close the sockets."""


OpenTransport = Callable[[IgmpInterface, Callable[[], None]], Transport]
"""Opens a transport, which calls back when packets have arrived. Raises OSError."""
