"""The joined groups of which no packet has come yet: their Joins go on being repeated for a minute. Sans-IO.

A router may act on no Join for a while although it has received it: one that has just started, or that has no way to
the source yet. Only the groups that are new, and of which something is missing, are looked at: each once in a round, in
slices, so that the event loop is not held by many of them.
"""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from math import inf
from typing import Final

PERIOD: Final = 3.0
DURATION: Final = 60.0
SLICE: Final = 500  # groups that are looked at in one call
PAUSE: Final = 0.05  # seconds between two slices
UNCERTAIN: Final = 5.0
"""Seconds after a join in which a packet that has just arrived may be from before it: of a neighbour that restarted."""


class Awaited:
    """``deadline`` is when groups that are still awaited are joined again; infinite if there are none."""

    def __init__(self) -> None:
        self.deadline = inf
        self._joined_at: dict[IPv4Address, float] = {}  # by the group
        self._round_at = 0.0  # when the last round began
        self._left: list[IPv4Address] = []  # the groups that are still to be looked at in it

    def add(self, groups: Iterable[IPv4Address], now: float) -> None:
        """Groups were joined."""
        self._joined_at.update(dict.fromkeys(groups, now))
        if self._joined_at:
            self.deadline = min(self.deadline, now + PERIOD)

    def clear(self) -> None:
        """Nothing is joined any more."""
        self._joined_at.clear()
        self._left.clear()
        self.deadline = inf

    def due(self, now: float, is_missing: Callable[[IPv4Address], bool]) -> list[IPv4Address]:
        """The groups to join again now; one of which nothing ``is_missing`` is not looked at again."""
        if now < self.deadline:
            return []
        if not self._left:
            self._round_at, self._left = now, list(self._joined_at)
        looked_at, self._left = self._left[:SLICE], self._left[SLICE:]
        missing = []
        for group in looked_at:
            since = self._joined_at[group]
            if now < since + DURATION and is_missing(group):
                missing.append(group)
            elif now >= since + UNCERTAIN:
                del self._joined_at[group]
        if self._left:
            self.deadline = now + PAUSE
        else:
            self.deadline = max(self._round_at + PERIOD, now + PAUSE) if self._joined_at else inf
        return missing
