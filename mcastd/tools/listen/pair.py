"""Compares the two sides of a feed, number by number, by the meter's definitions. Pure.

What is compared begins when both sides are in: less than a window apart. Numbers that are further below than the window
and another session end it; until the other side comes to where the last packet was, nothing is compared.
"""

from typing import Final

from mcastd.meter.packet import BUCKETS, WINDOW, PairRecord
from mcastd.tools.listen.counts import ahead_of, bucket
from mcastd.tools.numbers import Reading

_FURTHEST: Final = 1 << 63  # ahead
_BOTH: Final = 3
_LOST: Final = {2: 0, 1: 1, 0: 2}  # where a number is counted as lost, by the sides that had it: on A, on B, on both


class Pair:
    """Side A is 0, side B is 1."""

    def __init__(self, bits: int) -> None:
        self._half = 1 << bits - 1
        self._sides = 0  # those that are in, a bit for each
        self._session: bytes | None = None
        self._next = 0  # above the highest of both
        self._start = 0  # the first that is compared
        self._window = bytearray(WINDOW)  # a ring: the sides that had each of the last numbers
        self._firsts: list[tuple[int, int, int] | None] = [None] * WINDOW  # which number, side and time, a ring
        self._lost = [0, 0, 0]  # on A alone, on B alone, on both
        self._compared = self._uncompared = self._restarts = 0
        self._first = [0] * BUCKETS, [0] * BUCKETS  # how much later the other one was

    def packet(self, side: int, reading: Reading, at: int) -> None:
        """Work off a packet's numbers."""
        first = ahead_of(self._next, reading.number, self._half)
        ahead, count = first - self._next, reading.count
        is_other, self._session = self._session not in (None, reading.session), reading.session
        if not self._sides or is_other or not -WINDOW < ahead + count < _FURTHEST:
            self._alone(side, reading)
        elif self._sides == _BOTH:
            if count and ahead > -WINDOW:
                self._time(side, first, at)
            self._compare(side, first, first + count)
        elif self._sides == 1 << side or ahead >= WINDOW:
            self._alone(side, reading)
        else:
            self._sides, self._uncompared = _BOTH, self._uncompared + count
            self._start = self._next = max(self._next, first + count)
            self._firsts = [None] * WINDOW

    def record(self) -> PairRecord:
        """What is known of the pair, as the meter has it."""
        awaited = [0, 0, 0]
        if self._sides == _BOTH:
            for one in range(max(self._start, self._next - WINDOW), self._next):
                if (sides := self._window[one % WINDOW]) != _BOTH:
                    awaited[_LOST[sides]] += 1
        (on_a, on_b, on_both), (a, b, both) = awaited, self._lost
        a_first, b_first = map(tuple, self._first)
        return PairRecord(
            (a, b, both), (on_a, on_b, on_both), self._compared, self._uncompared, self._restarts, a_first, b_first
        )

    def _alone(self, side: int, reading: Reading) -> None:
        self._restarts += self._sides == _BOTH
        self._sides, self._next = 1 << side, reading.number + reading.count
        self._uncompared += reading.count

    def _compare(self, side: int, first: int, end: int) -> None:
        after = max(self._next, end)
        self._compared += after - self._next
        self._lost[2] += max(0, after - WINDOW - self._next)  # these were never in the window
        for one in range(max(self._start, self._next - WINDOW), min(self._next, after - WINDOW)):
            if (sides := self._window[one % WINDOW]) != _BOTH:
                self._lost[_LOST[sides]] += 1
        for one in range(max(self._next, after - WINDOW), after):
            self._window[one % WINDOW] = 0
        for one in range(max(first, self._start, after - WINDOW), end):
            self._window[one % WINDOW] |= 1 << side
        self._next = after

    def _time(self, side: int, first: int, at: int) -> None:
        """Which side was the first with the number that begins a packet; once both had it, that is done."""
        known = self._firsts[first % WINDOW]
        if known is None or known[0] != first:
            self._firsts[first % WINDOW] = first, side, at
        elif known[1] not in (side, _BOTH):
            before = known[1] if known[2] <= at else side  # one socket may be read before the other
            self._first[before][bucket(abs(at - known[2]))] += 1
            self._firsts[first % WINDOW] = first, _BOTH, at
