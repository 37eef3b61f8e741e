"""What one interface is configured with, and what follows from that for its Hellos and Joins."""

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import TypeAlias

import msgspec

from mcastd.config.model import Pim
from mcastd.pim.packet import Hello, LanPruneDelay

HasArrived: TypeAlias = Callable[[str, IPv4Address | None, IPv4Address], bool]
"""Whether packets have just arrived: on a tunnel, from a source (None: any), for a group."""


class ArrivedOn(msgspec.Struct, frozen=True):
    """``HasArrived`` for one tunnel; two of the same are equal."""

    has_arrived: HasArrived
    tunnel: str

    def __call__(self, source: IPv4Address | None, group: IPv4Address) -> bool:
        """Whether packets of a source (None: any) for a group have just arrived."""
        return self.has_arrived(self.tunnel, source, group)


class PimInterface(msgspec.Struct, frozen=True):
    """An interface that speaks PIM: its MTU in bytes, its primary address and the others.

    ``up`` is that the path under it is up, ``up_count`` how often it came up, and ``silences`` how often all streams
    of it fell silent together. ``has_arrived`` says of a source, None for any, and a group whether packets come;
    without it that is not known.
    """

    name: str
    ifindex: int
    mtu: int
    address: IPv4Address
    secondary: tuple[IPv4Address, ...]
    config: Pim
    up: bool = True
    up_count: int = 1
    silences: int = 0
    has_arrived: Callable[[IPv4Address | None, IPv4Address], bool] | None = None

    def is_own(self, address: IPv4Address) -> bool:
        """Whether the address is one of the interface's."""
        return address == self.address or address in self.secondary

    def is_another(self, other: "PimInterface | None") -> bool:
        """Whether ``other`` is another interface of this name, or none."""
        return other is None or (other.ifindex, other.address) != (self.ifindex, self.address)

    def hello(self, generation_id: int, holdtime: int | None = None) -> Hello:
        """Our Hello; a ``holdtime`` other than the configured one, in seconds, is for the goodbye.

        The LAN Prune Delay option is advertised only: no delay is needed on a point-to-point link.
        """
        config = self.config
        return Hello(
            holdtime=round(config.hello_holdtime) if holdtime is None else holdtime,
            lan_prune_delay=LanPruneDelay(config.propagation_delay, config.override_interval),
            dr_priority=config.dr_priority,
            generation_id=generation_id,
            addresses=self.secondary,
        )

    @property
    def join_prune_holdtime(self) -> int:
        """J/P_HoldTime in seconds: 3.5 times t_periodic (section 4.11)."""
        return min(round(self.config.join_prune_period * 3.5), 0xFFFE)


class PimDesired(msgspec.Struct, frozen=True):
    """The interfaces to run PIM on, and all tunnels with PIM, also those never up."""

    interfaces: tuple[PimInterface, ...] = ()
    tunnels: tuple[str, ...] = ()


class PimState(msgspec.Struct, frozen=True):
    """What the next process needs: our Generation ID by interface, and each neighbour's last Hello.

    ``hellos`` are interface, neighbour and Hello, as a PIM message.
    """

    generation_ids: Mapping[str, int]
    hellos: tuple[tuple[str, IPv4Address, bytes], ...]
