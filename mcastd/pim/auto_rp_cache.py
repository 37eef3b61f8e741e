"""The mappings of Auto-RP on one link, kept for their holdtimes, and the rendezvous point that they have for a group.

Only the RP-Discovery messages of mapping agents decide. RP-Announce messages, the candidates' own, are for the mapping
agents; they are kept to be shown.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from math import inf
from typing import Final

import msgspec

from mcastd.errors import DecodeError
from mcastd.net.prefix_table import PrefixTable, in_ranges, longest_match, prefix_table
from mcastd.pim.auto_rp_packet import AutoRp, AutoRpType

MAX_MAPPINGS: Final = 1000


class AutoRpMapping(msgspec.Struct, frozen=True):
    """A sender's rendezvous point for a range; ``rp`` None: the range is negative, it has none."""

    kind: AutoRpType
    sender: IPv4Address
    groups: IPv4Network
    rp: IPv4Address | None
    expires: float


class AutoRpCache:
    """The mappings of one interface, at most MAX_MAPPINGS."""

    def __init__(self) -> None:
        self._agents: tuple[IPv4Network, ...] = ()  # accepted mapping agents; empty accepts all
        # A sender has one mapping for a range: its next message replaces it.
        self._all: dict[tuple[AutoRpType, IPv4Address, IPv4Network], AutoRpMapping] = {}
        self._table: PrefixTable[IPv4Address | None] = {}  # the mapping agents' ranges
        self._expires_at = inf  # when the first mapping expires

    def mappings(self) -> list[AutoRpMapping]:
        """All mappings."""
        return list(self._all.values())

    def accept(self, agents: tuple[IPv4Network, ...]) -> None:
        """Set which mapping agents are accepted, and forget the mappings of others."""
        self._agents = agents
        self._keep(lambda mapping: self._accepts(mapping.kind, mapping.sender))

    def _accepts(self, kind: AutoRpType, sender: IPv4Address) -> bool:
        return kind is not AutoRpType.MAPPING or not self._agents or in_ranges(sender, self._agents)

    def received(self, message: AutoRp, sender: IPv4Address, now: float) -> bool:
        """Store a message; returns whether it changed a mapping.

        Raises DecodeError ``auto_rp_agent`` (a mapping agent that is not accepted) or ``too_many_auto_rps``; mappings
        that are known are refreshed in spite of that.
        """
        if not self._accepts(message.kind, sender):
            raise DecodeError("auto_rp_agent")
        expires = now + message.holdtime if message.holdtime else inf
        mappings = {groups: None if negative else rp.address for rp in message.rps for groups, negative in rp.ranges}
        changed = full = False
        for groups, rp in mappings.items():
            before = self._all.get((message.kind, sender, groups))
            if before is None and len(self._all) >= MAX_MAPPINGS:
                full = True
                continue
            changed = changed or before is None or before.rp != rp
            self._all[message.kind, sender, groups] = AutoRpMapping(message.kind, sender, groups, rp, expires)
        self._update()
        if full:
            raise DecodeError("too_many_auto_rps")
        return changed

    def expire(self, now: float) -> bool:
        """Remove the mappings whose holdtime has run out; returns whether there were any."""
        if now < self._expires_at:
            return False
        self._keep(lambda mapping: mapping.expires > now)
        return True

    def next_deadline(self) -> float:
        """When ``expire`` has something to do; infinite if never."""
        return self._expires_at

    def _keep(self, is_kept: Callable[[AutoRpMapping], bool]) -> None:
        self._all = {key: mapping for key, mapping in self._all.items() if is_kept(mapping)}
        self._update()

    def _update(self) -> None:
        by_agent = sorted(self._all.values(), key=lambda mapping: mapping.sender, reverse=True)
        self._table = prefix_table((one.groups, one.rp) for one in by_agent if one.kind is AutoRpType.MAPPING)
        self._expires_at = min((mapping.expires for mapping in by_agent), default=inf)

    def rp(self, group: IPv4Address) -> IPv4Address | None:
        """The rendezvous point of the longest range; of two mapping agents the one with the higher address counts."""
        return longest_match(self._table, group)

    def rps(self) -> tuple[IPv4Address, ...]:
        """The rendezvous points of all ranges, sorted."""
        return tuple(sorted({mapping.rp for mapping in self._all.values() if mapping.rp is not None}))
