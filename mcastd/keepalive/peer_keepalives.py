"""The far end's keepalives: whether they keep coming, by their own pace. Sans-IO.

    not seen --answered--> coming --three are missing--> stopped --answered--> coming

The period is not known in advance (a Cisco's default is 10 s), and two keepalives may arrive close together after a
delay, so that the largest of the last gaps counts for it. Times are monotonic seconds.
"""

from collections import deque
from typing import Final

FIRST_PERIOD: Final = 10.0
"""Taken for the period until there has been a gap."""
MISSED: Final = 3
TOLERANCE: Final = 1.0
_GAPS: Final = 4


class PeerKeepalives:
    """``answered`` counts the keepalives, ``last`` is when the last one came, ``stopped`` that three are missing."""

    def __init__(self) -> None:
        self.answered = 0
        self.last: float | None = None
        self.stopped = False
        self.next_deadline: float | None = None  # when they are taken to have stopped; None if that is known already
        self._gaps: deque[float] = deque(maxlen=_GAPS)  # between the last ones, silences left out

    @property
    def period(self) -> float:
        """The period that they seem to have, in seconds."""
        return max(self._gaps, default=FIRST_PERIOD)

    def received(self, now: float) -> bool:
        """One came and was answered; True if they begin with it, or come again."""
        begins = self.next_deadline is None
        if not begins and self.last is not None:
            self._gaps.append(now - self.last)
        self.answered += 1
        self.last, self.stopped = now, False
        self.next_deadline = now + MISSED * max(self.period, 1.0) + TOLERANCE
        return begins

    def due(self, now: float) -> bool:
        """True, once, when they have stopped."""
        if self.next_deadline is None or now < self.next_deadline:
            return False
        self.next_deadline, self.stopped = None, True
        return True
