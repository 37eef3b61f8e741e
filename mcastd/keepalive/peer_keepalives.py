"""The far end's keepalives: whether they keep coming, by their own pace. Sans-IO.

    not seen --answered--> coming --three are missing--> stopped --answered--> coming
                           coming --path down--> paused --path up--> coming

The period is not known in advance (a Cisco's default is 10 s), and two keepalives may arrive close together after a
delay, so that the largest of the last gaps counts for it. Until there has been a gap, none is missing. A silence that
has ended is no gap, but two in a row are: the period has become longer. Times are monotonic seconds.
"""

from collections import deque
from typing import Final

FIRST_PERIOD: Final = 10.0
"""Taken for the period until there has been a gap; by it alone they have not stopped."""
MISSED: Final = 3
TOLERANCE: Final = 1.0
_GAPS: Final = 4


class PeerKeepalives:
    """``answered`` counts the keepalives, ``last`` is when the last one came, ``stopped`` that three are missing."""

    def __init__(self) -> None:
        self.answered = 0
        self.last: float | None = None
        self.stopped = False
        self.next_deadline: float | None = (
            None  # when they are taken to have stopped; None: it has passed, or none is expected
        )
        self._gaps: deque[float] = deque(maxlen=_GAPS)  # between the last ones, single silences left out
        self._was_silence = False  # whether the last gap was one
        self._gap_began: float | None = None  # when the last one came, if the path has not been down since

    @property
    def period(self) -> float:
        """The period that they seem to have, in seconds."""
        return max(self._gaps, default=FIRST_PERIOD)

    @property
    def arriving(self) -> bool:
        """Whether one has come since the path is up, and they have not stopped."""
        return self._gap_began is not None and not self.stopped

    def received(self, now: float) -> bool:
        """One came and was answered; True if they begin with it, or come again."""
        begins = self.last is None or self.stopped
        if self._gap_began is not None and (self._was_silence or not self.stopped):
            self._gaps.append(now - self._gap_began)
        self._was_silence = self.stopped
        self.answered += 1
        self.last, self._gap_began, self.stopped = now, now, False
        self._expect(now)
        return begins

    def pause(self) -> None:
        """The path is down: none can come."""
        self.next_deadline = self._gap_began = None

    def resume(self, now: float) -> None:
        """The path is up: those that came before it went down are expected again."""
        if self.next_deadline is None and self.last is not None and not self.stopped:
            self._expect(now)

    def _expect(self, now: float) -> None:
        self.next_deadline = now + MISSED * max(self.period, 1.0) + TOLERANCE

    def due(self, now: float) -> bool:
        """True, once, when they have stopped."""
        if self.next_deadline is None or now < self.next_deadline:
            return False
        self.next_deadline, self.stopped = None, bool(self._gaps)
        return self.stopped
