"""What the agent uses of the kernel. ``mcastd.system.multicast_addresses`` is the real one; tests replace it. Pure."""

from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv4Address
from typing import Protocol

from mcastd.net.memberships import GroupChange, GroupOn, SourceLine


class Changes(Protocol):
    """Notifications of the first socket that joins a group on an interface and of the last that leaves it."""

    def receive(self) -> Sequence[GroupChange] | None:
        """Those that have come, a bounded number; None if some are lost. Raises HostError."""

    def close(self) -> None:
        """Close the socket."""


class Reports(Protocol):
    """The IGMP messages that this host sends on an interface."""

    def receive(self) -> Sequence[bytes]:
        """Those that have left, as IPv4 packets, a bounded number."""

    def close(self) -> None:
        """Close the socket."""


class Kernel(Protocol):
    """Groups that sockets of this host have joined. Everything here raises HostError."""

    def changes(self, on_arrival: Callable[[], None]) -> Changes:
        """Notifications; ``on_arrival`` is called when there are some."""

    def reports(self, ifname: str, on_arrival: Callable[[], None]) -> Reports:
        """The IGMP messages that leave by an interface."""

    def logged_reports(self, tunnel: str, on_arrival: Callable[[], None]) -> Reports:
        """The IGMP messages that our firewall drops, and logs, before they reach an interface."""

    def settle(self) -> None:
        """Return when everything that there was a notification of is wholly in what the next two read."""

    async def users(self, indexes: Collection[int]) -> dict[GroupOn, int]:
        """How many sockets have joined each group on interfaces."""

    async def sources(self, indexes: Collection[int]) -> dict[GroupOn, list[SourceLine]]:
        """The sources that they include or exclude, of the groups that have any."""

    def query(self, index: int, source: IPv4Address, group: IPv4Address | None) -> None:
        """Make this host report at once what its sockets want of a group, or (None) of all, on an interface."""
