"""What the upstream machines keep of a group, and what they are told of the link's timing."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

from mcastd.pim.effects import Entry
from mcastd.pim.membership import NONE


class Key(NamedTuple):
    """One machine: (*,G) with source None, (S,G), or (S,G,rpt)."""

    group: IPv4Address
    source: IPv4Address | None
    rpt: bool = False


@dataclass(slots=True)
class GroupState:
    """One group: what is wanted, what RPF' was told, and the records of what it was told."""

    rp: IPv4Address | None = None
    sources: frozenset[IPv4Address] = NONE
    excluded: frozenset[IPv4Address] = NONE
    told_rp: IPv4Address | None = None
    told_sources: frozenset[IPv4Address] = NONE
    told_excluded: frozenset[IPv4Address] = NONE
    records: tuple[bytes, ...] = ()
    since: float = 0.0
    repeats: int = 0

    def is_wanted(self) -> bool:
        """Whether anything is to be joined."""
        return self.rp is not None or bool(self.sources)

    def is_told(self) -> bool:
        """Whether RPF' has been sent a Join of anything."""
        return self.told_rp is not None or bool(self.told_sources)


@dataclass(frozen=True, slots=True)
class Timing:
    """The configured periods of Join/Prune, in seconds, and the link's MTU in bytes."""

    period: float
    repeats: int
    repeat_interval: float
    mtu: int

    @property
    def holdtime(self) -> int:
        """J/P_HoldTime: 3.5 times t_periodic (section 4.11)."""
        return min(round(self.period * 3.5), 0xFFFE)


class Told(NamedTuple):
    """What a flush told RPF': messages to send, and the entries that it joined and pruned."""

    messages: list[bytes]
    joined: list[Entry]
    pruned: list[Entry]


def entries_of(group: IPv4Address, rp: IPv4Address | None, sources: Iterable[IPv4Address]) -> list[Entry]:
    """(*,G) if there is an RP, and (S,G) of each source, by address."""
    found = [Entry(group, None, rp)] if rp is not None else []
    return found + [Entry(group, source) for source in sorted(sources)]
