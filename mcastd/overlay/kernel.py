"""What the overlay agent uses of the kernel. ``mcastd.system.vxlan`` is the real one; tests replace it. Pure."""

from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Protocol

from mcastd.net.vxlan import Forwarding, Replica


class Vxlan(Protocol):
    """The functions take the index of a VXLAN device, and raise HostError."""

    async def has_mdb(self, index: int) -> bool:
        """Whether this kernel has MDB entries for VXLAN."""

    async def replicas(self, index: int) -> tuple[Replica, ...]:
        """The MDB entries."""

    async def add_replicas(self, index: int, added: Iterable[Replica]) -> None:
        """Add MDB entries, which may be there already."""

    async def remove_replicas(self, index: int, removed: Iterable[Replica]) -> None:
        """Remove MDB entries, which may be gone."""

    async def forwarding(self, index: int) -> tuple[Forwarding, ...]:
        """The forwarding entries, those that were learned included."""

    async def endpoint(self, index: int, mac: bytes) -> IPv4Address | None:
        """By which endpoint a host is reached, as was learned."""

    async def add_forwarding(self, index: int, added: Iterable[Forwarding]) -> None:
        """Add endpoints for Ethernet addresses, which may be there already."""

    async def remove_forwarding(self, index: int, removed: Iterable[Forwarding]) -> None:
        """Remove endpoints for Ethernet addresses, which may be gone."""
