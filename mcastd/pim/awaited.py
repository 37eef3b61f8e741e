"""The joined groups of which no packet has come yet: their Joins go on being repeated for a minute. Sans-IO.

A router may act on no Join for a while although it has received it: one that has just started, or that has no way to
the source yet. Only the groups that are new, and of which something is missing, are looked at.
"""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from math import inf
from typing import Final

PERIOD: Final = 3.0
DURATION: Final = 60.0
UNCERTAIN: Final = 5.0
"""Seconds after a join in which a packet that has just arrived may be from before it: of a neighbour that restarted."""


class Awaited:
    """``deadline`` is when the groups that are still awaited are joined again; infinite if there are none."""

    def __init__(self) -> None:
        self.deadline = inf
        self._joined_at: dict[IPv4Address, float] = {}  # by the group

    def add(self, groups: Iterable[IPv4Address], now: float) -> None:
        """Groups were joined."""
        self._joined_at.update(dict.fromkeys(groups, now))
        if self._joined_at:
            self.deadline = min(self.deadline, now + PERIOD)

    def clear(self) -> None:
        """Nothing is joined any more."""
        self._joined_at.clear()
        self.deadline = inf

    def due(self, now: float, is_missing: Callable[[IPv4Address], bool]) -> list[IPv4Address]:
        """The groups to join again now; one of which nothing ``is_missing`` is not looked at again."""
        if now < self.deadline:
            return []
        candidates = {group: since for group, since in self._joined_at.items() if now < since + DURATION}
        missing = list(filter(is_missing, candidates))
        uncertain = {group: since for group, since in candidates.items() if now < since + UNCERTAIN}
        self._joined_at = {group: candidates[group] for group in missing} | uncertain
        self.deadline = now + PERIOD if self._joined_at else inf
        return missing
