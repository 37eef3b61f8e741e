"""Our own keepalives: when a request is sent, what its answer means, and when the path is dead. Sans-IO.

    unknown --answer--> alive --``retries`` unanswered--> dead --answer--> alive
       +--------------------``retries`` unanswered---------^

While the path is dead requests go on, and the CHILD_SA that carries it is established again: at once, and then at
intervals that double, since a new SA may not be what is missing. Times are monotonic seconds.
"""

from typing import Final

import msgspec

from mcastd.errors import DecodeError
from mcastd.status import PathState

PAUSE: Final = 60.0
LONGEST_PAUSE: Final = 3600.0


class SendRequest(msgspec.Struct, frozen=True):
    """Send a keepalive request."""


class PathChanged(msgspec.Struct, frozen=True):
    """The path is alive now, or dead after ``missed`` unanswered requests."""

    path: PathState
    missed: int


class Reestablish(msgspec.Struct, frozen=True):
    """The CHILD_SA that carries the path should be established again."""


Effect = SendRequest | PathChanged | Reestablish


class Prober:
    """The requests of one tunnel. ``path`` is None while it is not known; dead it stays so until an answer."""

    def __init__(self, period: float, retries: int) -> None:
        self.path: PathState | None = None
        self.sent = self.received = 0  # requests, and answers
        self.missed = 0  # requests in a row without an answer within their period
        self.rtt: float | None = None  # seconds, of the last request whose answer could not belong to another one
        self.next_deadline: float | None = None  # of the next request; None while none are sent
        self._period, self._retries = period, retries
        self._requested_at: float | None = None  # the last request, while it has no answer
        self._alive_since = 0.0
        self._pause = PAUSE  # until the CHILD_SA is established again for the next time
        self._reestablish_at = 0.0

    def configure(self, period: float, retries: int, now: float) -> None:
        """Take another period (0: no more requests) and number of retries; what is known of the path stays."""
        self._period, self._retries = period, retries
        if period == 0:
            self.stop()
            self.path = self.rtt = None
        elif self.next_deadline is not None:
            self.next_deadline = min(self.next_deadline, now + period)

    def start(self, now: float) -> None:
        """The CHILD_SA is up: send requests from now on."""
        if self.next_deadline is None and self._period > 0:
            self.next_deadline = now

    def stop(self) -> None:
        """The CHILD_SA is down: send nothing."""
        self.next_deadline = self._requested_at = None
        self.missed = 0
        if self.path == "alive":
            self.path = None

    def due(self, now: float) -> list[Effect]:
        """What to do at ``now``; nothing before the deadline."""
        if self.next_deadline is None or now < self.next_deadline:
            return []
        effects: list[Effect] = []
        if self._requested_at is not None:
            self.missed += 1
        if self.missed >= self._retries:
            effects += self._dead(now)
        self.next_deadline += self._period
        if self.next_deadline <= now:
            self.next_deadline = now + self._period
        self._requested_at = now
        self.sent += 1
        return [*effects, SendRequest()]

    def answered(self, now: float) -> list[Effect]:
        """An answer came, perhaps a late one. Raises DecodeError ``unasked`` for one more than there were requests."""
        if self.next_deadline is None or self.received >= self.sent:
            raise DecodeError("unasked")
        if self._requested_at is not None and self.missed == 0:
            self.rtt = now - self._requested_at
        self.received += 1
        self.missed, self._requested_at = 0, None
        if self.path == "alive":
            return []
        self.path, self._alive_since = "alive", now
        return [PathChanged("alive", 0)]

    def _dead(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if self.path != "dead":
            effects.append(PathChanged("dead", self.missed))
            if self.path == "alive" and now - self._alive_since >= self._pause:
                self._pause, self._reestablish_at = PAUSE, now
            self.path = "dead"
        if now >= self._reestablish_at:
            effects.append(Reestablish())
            self._reestablish_at = now + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return effects
