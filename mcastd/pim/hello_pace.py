"""Whether a neighbour's Hellos keep coming, by their own pace: long before its holdtime has passed. Sans-IO.

    in time --no Hello for LIMIT times the period--> overdue --Hello--> in time

The period is the longest of the last gaps: a single Hello that is lost is no alarm. Until enough gaps are known, it is
no shorter than what the holdtime says (RFC 7761, section 4.11: 3.5 times Hello_Period). A gap in which a Hello was
overdue does not count, but two in a row do: the period has become longer. Times are monotonic seconds.
"""

from collections import deque
from math import inf
from typing import Final

LIMIT: Final = 2.2
HOLDTIME_PERIODS: Final = 3.5
SHORTEST_PERIOD: Final = 1.0
TRIGGERED: Final = 6.0
"""Seconds in which a neighbour that is new sends Hellos at other times too: Triggered_Hello_Delay, and one."""
_GAPS: Final = 3


class HelloPace:
    """``is_overdue`` is that the next Hello should have come; ``last`` is when the last one came."""

    def __init__(self, holdtime: float, now: float) -> None:
        """The first Hello came; ``holdtime`` in seconds, infinite if it never expires."""
        self.is_overdue = False
        self.last = now
        self.deadline = inf  # when the next one is overdue; infinite if it is already
        self._holdtime = holdtime
        self._gaps: deque[float] = deque(maxlen=_GAPS)  # the last ones that count
        self._was_overdue = False  # whether one was overdue in the last gap
        self._gap_began: float | None = now  # when the last one came, if the path has not been down since
        self._triggered_until = now + TRIGGERED
        self._expect(now)

    @property
    def period(self) -> float:
        """The period that they seem to have, in seconds; infinite if there may be none."""
        if len(self._gaps) < _GAPS:
            return max((self._holdtime / HOLDTIME_PERIODS, *self._gaps))
        return max(*self._gaps, SHORTEST_PERIOD)

    def received(self, holdtime: float, now: float) -> None:
        """Another Hello came."""
        if holdtime != self._holdtime:
            self._holdtime = holdtime
            self._gaps.clear()
        elif self._gap_began is not None and self._counts(now):
            self._gaps.append(now - self._gap_began)
        self._was_overdue = self.is_overdue
        self.last = self._gap_began = now
        self._expect(now)

    def _counts(self, now: float) -> bool:
        """Whether the gap that ends now is taken for the period."""
        return self._was_overdue or not self._gaps if self.is_overdue else now >= self._triggered_until

    def resume(self, now: float) -> None:
        """The path came up again: what did not come meanwhile is neither a gap nor overdue."""
        self._gap_began = None
        self._expect(now)

    def due(self, now: float) -> bool:
        """True, once, when a Hello is overdue."""
        if now < self.deadline:
            return False
        self.is_overdue, self.deadline = True, inf
        return True

    def _expect(self, now: float) -> None:
        self.is_overdue, self.deadline = False, now + LIMIT * self.period
