"""What one CHILD_SA decrypts: seen, quiet, receiving, and whether it has fallen silent. Sans-IO.

A session's end is no alarm: keepalives, every 10 s by default, and Hellos, every 30 s, go on. Where these come more
rarely, the gaps between packets show it. All is as of the last reading of the counters: while they cannot be read,
nothing is known to have ended.
"""

from collections import deque
from typing import Final

from mcastd.streams.desired import ChildArrival
from mcastd.streams.stream import JITTER

_QUIET: Final = 3.0 - JITTER  # seconds
_SILENT: Final = 40.0  # seconds without a packet that are a problem: longer than the period of Hellos (RFC 7761)
_GAP: Final = 5.0  # seconds without a packet after which the next one ends a gap
_GAPS: Final = 2.2  # times the longest of the last three gaps are a problem at the earliest


class Child:
    """One CHILD_SA. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._up_count = 0  # how often it came up; 0 while it is down
        self._packets: int | None = None  # as counted by the kernel; None before the first look since it came up
        self._last: float | None = None  # when it had decrypted a packet last, since it was established
        self._gaps: deque[float] = deque(maxlen=3)  # the last ones, in seconds
        self._read_at = 0.0  # when the packets were read last

    def configure(self, up_count: int) -> None:
        """Set how often it came up, 0 while it is down."""
        if up_count != self._up_count:
            self.forget()  # what is counted until the next look may be from before
        self._up_count = up_count

    def forget(self) -> None:
        """It is not counted any more."""
        self._packets = self._last = None
        self._gaps.clear()

    def counted(self, packets: int, now: float) -> None:
        """Take the packets that the kernel has counted by now."""
        grown = self._packets is not None and packets > self._packets
        self._packets, self._read_at = packets, now
        if not grown:
            return
        if self._last is not None and now - self._last >= _GAP:
            self._gaps.append(min(now - self._last, self._limit))  # an outage is no pace
        self._last = now

    def arrival(self) -> ChildArrival:
        """What the other agents need to know."""
        if self._last is None:
            return ChildArrival()
        age = self._read_at - self._last
        return ChildArrival(seen=True, quiet=age >= _QUIET, receiving=age < self._limit)

    def is_silent(self, *, is_expected: bool) -> bool:
        """Whether it has decrypted packets and does so no more.

        While no streams are expected, or none was there before, only where something went on when they were silent.
        """
        if self._last is None or not self._up_count or not (is_expected or self._gaps):
            return False
        return self._read_at - self._last >= self._limit

    @property
    def _limit(self) -> float:
        """Seconds without a packet that are more than the packets' own gaps."""
        return max(_SILENT, _GAPS * max(self._gaps, default=0.0))
