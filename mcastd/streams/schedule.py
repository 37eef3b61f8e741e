"""When streams are expected: since when the hours have been running that a group, a feed or all streams have. Pure."""

from collections.abc import Iterable
from datetime import datetime
from typing import TypeAlias

from mcastd.config.hours import Hours

Expected: TypeAlias = tuple[Hours, ...]
"""The hours in which something is expected; empty: always."""


class Schedule:
    """Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._since: dict[Expected, float | None] = {(): None}  # since when each is running; None: it is not

    def configure(self, hours: Iterable[Expected]) -> None:
        """Set which hours there are."""
        self._since = {one: self._since.get(one) for one in ((), *hours)}

    def expect(self, moment: datetime, now: float) -> None:
        """Take the time of day."""
        for hours, since in self._since.items():
            if hours and not any(one.contain(moment) for one in hours):
                self._since[hours] = None
            elif since is None:
                self._since[hours] = now

    def since(self, hours: Expected) -> float | None:
        """Since when they have been running; None: they are not."""
        return self._since.get(hours)

    def is_silent(self, hours: Expected, last: float, limit: float, now: float) -> bool:
        """Whether the last packet is too long ago for something that is expected in these hours."""
        begin = self.since(hours)
        return begin is not None and now - max(last, begin) >= limit
