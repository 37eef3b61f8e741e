"""What the machine is told of an interface, and what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from mcastd.config.model import Group, Pim
from mcastd.pim.entries import Timing
from mcastd.pim.packet import Hello, LanPruneDelay
from mcastd.status import GroupStatus, PimStatus


@dataclass(frozen=True, slots=True)
class PimInterface:
    """An interface that speaks PIM: its MTU in bytes, its primary address and the others.

    ``up`` is that the path under it is up, ``up_count`` how often it came up.
    """

    name: str
    ifindex: int
    mtu: int
    address: IPv4Address
    secondary: tuple[IPv4Address, ...]
    config: Pim
    up: bool = True
    up_count: int = 1

    def is_own(self, address: IPv4Address) -> bool:
        """Whether the address is one of the interface's."""
        return address == self.address or address in self.secondary

    def delays(self) -> LanPruneDelay:
        """Our LAN Prune Delay option; the T bit is off: our joins may be suppressed, and suppress."""
        return LanPruneDelay(self.config.propagation_delay, self.config.override_interval)

    def hello(self, generation_id: int, holdtime: int | None = None) -> Hello:
        """Our Hello; a ``holdtime`` other than the configured one, in seconds, is for the goodbye."""
        return Hello(
            holdtime=round(self.config.hello_holdtime) if holdtime is None else holdtime,
            lan_prune_delay=self.delays(),
            dr_priority=self.config.dr_priority,
            generation_id=generation_id,
            addresses=self.secondary,
        )

    def timing(self) -> Timing:
        """The periods of Join/Prune."""
        config = self.config
        return Timing(config.join_prune_period, config.join_repeats, config.join_repeat_interval, self.mtu)


@dataclass(frozen=True, slots=True)
class PimDesired:
    """The interfaces to run PIM on, and the groups of the configuration to join."""

    interfaces: tuple[PimInterface, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class PimSnapshot:
    """What status shows: PIM on each interface, by its name, and every join."""

    interfaces: Mapping[str, PimStatus]
    groups: tuple[GroupStatus, ...]
