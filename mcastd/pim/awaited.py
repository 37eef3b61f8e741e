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


class Awaited:
    """``deadline`` is when the groups that are still awaited are joined again; infinite if there are none."""

    def __init__(self) -> None:
        self.deadline = inf
        self._until: dict[IPv4Address, float] = {}  # by the group, until when it is awaited

    def add(self, groups: Iterable[IPv4Address], now: float) -> None:
        """Groups were joined."""
        self._until.update(dict.fromkeys(groups, now + DURATION))
        if self._until:
            self.deadline = min(self.deadline, now + PERIOD)

    def clear(self) -> None:
        """Nothing is joined any more."""
        self._until.clear()
        self.deadline = inf

    def due(self, now: float, is_awaited: Callable[[IPv4Address], bool]) -> list[IPv4Address]:
        """The groups to join again now; those that ``is_awaited`` denies are not asked for again."""
        if now < self.deadline:
            return []
        self._until = {group: end for group, end in self._until.items() if now < end and is_awaited(group)}
        self.deadline = now + PERIOD if self._until else inf
        return list(self._until)
