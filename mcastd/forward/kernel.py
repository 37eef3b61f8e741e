"""What the forward agent uses of the kernel. ``mcastd.system`` has the real ones; tests replace them. Pure."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from ipaddress import IPv4Address
from typing import Protocol

from mcastd.net.mroute import Counts, Entry, Vif


class MulticastSocket(Protocol):
    """See ``mcastd.system.mroute.Mroute``. The methods raise HostError."""

    def fileno(self) -> int:
        """Its descriptor, which is readable when there are upcalls."""

    def add_vif(self, number: int, index: int) -> None:
        """Make the interface of that index a VIF."""

    def delete_vif(self, number: int) -> None:
        """Remove a VIF; a no-op if there is none."""

    def add(self, entry: Entry) -> None:
        """Add an entry or change the one of its key."""

    def delete(self, entry: Entry) -> None:
        """Delete the entry of that key; a no-op if there is none."""

    def packets(self, source: IPv4Address, group: IPv4Address) -> int:
        """How many packets of an (S,G) entry came from its parent."""

    def upcalls(self) -> Iterator[bytes]:
        """What has been reported since the last time, or a part of it."""

    def end(self) -> None:
        """Remove all VIFs and entries."""


class MulticastRouting(Protocol):
    """The functions of ``mcastd.system.ipmr``; tests replace them."""

    async def vifs(self) -> tuple[Vif, ...]:
        """The VIFs. Raises HostError."""

    async def entries(self, numbers: Mapping[int, int], each: Callable[[Entry, Counts], None]) -> None:
        """Call ``each`` with every entry. Raises HostError."""

    async def holders(self) -> tuple[str, ...]:
        """Programs that may have the kernel's multicast routing."""

    def interfaces(self) -> Mapping[str, int]:
        """The indexes of this host's interfaces that are up, by name. Raises HostError."""

    def changes(self) -> AbstractContextManager[AsyncIterator[None]]:
        """Notifications of changes of interfaces. Raises HostError."""
