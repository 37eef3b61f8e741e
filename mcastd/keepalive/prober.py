"""Our own keepalives: when to ask, what an answer tells, and when the path is dead. Sans-IO.

    unknown --answer--> alive --``retries`` unanswered--> dead --answer--> alive
       +--------------------``retries`` unanswered---------^

While the path is dead it is asked on, and the child that pretends to carry it is made anew: at once, and then ever more
rarely, since what is wrong may be something that no new SA cures. Times are monotonic seconds.
"""

from dataclasses import dataclass
from typing import Final, Literal

from mcastd.errors import DecodeError

Path = Literal["alive", "dead"]

PAUSE: Final = 60.0
LONGEST_PAUSE: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Ask:
    """Send a request."""


@dataclass(frozen=True, slots=True)
class Turned:
    """The path is found alive, or dead after ``missed`` requests."""

    path: Path
    missed: int


@dataclass(frozen=True, slots=True)
class Reinitiate:
    """Take down what carries the path, and bring it up again."""


Effect = Ask | Turned | Reinitiate


class Prober:
    """The requests of one tunnel. ``path`` None: not known yet, or not asked for. A dead path stays so until an answer.

    ``missed`` counts the requests in a row that were not answered within their period; ``rtt`` is of the last one whose
    answer could not be that to another.
    """

    def __init__(self, period: float, retries: int) -> None:
        self.path: Path | None = None
        self.sent = self.received = self.missed = 0
        self.rtt: float | None = None
        self.next_deadline: float | None = None
        self._period, self._retries = period, retries
        self._asked: float | None = None
        self._alive_since = 0.0
        self._pause = PAUSE
        self._reinitiate_at = 0.0

    def configure(self, period: float, retries: int, now: float) -> None:
        """Take another period (0: no more requests) and number of retries; what is known of the path stays."""
        self._period, self._retries = period, retries
        if period == 0:
            self.stop()
            self.path = self.rtt = None
        elif self.next_deadline is not None:
            self.next_deadline = min(self.next_deadline, now + period)

    def start(self, now: float) -> None:
        """The child is up: ask, from now on."""
        if self.next_deadline is None and self._period > 0:
            self.next_deadline = now

    def stop(self) -> None:
        """The child is down: what it carried need not be asked for."""
        self.next_deadline = self._asked = None
        self.missed = 0
        if self.path == "alive":
            self.path = None

    def due(self, now: float) -> list[Effect]:
        """What is to be done at ``now``; nothing before the deadline."""
        if self.next_deadline is None or now < self.next_deadline:
            return []
        effects: list[Effect] = []
        if self._asked is not None:
            self.missed += 1
        if self.missed >= self._retries:
            effects += self._dead(now)
        self.next_deadline += self._period
        if self.next_deadline <= now:
            self.next_deadline = now + self._period
        self._asked = now
        self.sent += 1
        return [*effects, Ask()]

    def answered(self, now: float) -> list[Effect]:
        """An answer came, perhaps a late one. Raises DecodeError ``unasked`` for one more than there were requests."""
        if self.next_deadline is None or self.received >= self.sent:
            raise DecodeError("unasked")
        if self._asked is not None and self.missed == 0:
            self.rtt = now - self._asked
        self.received += 1
        self.missed, self._asked = 0, None
        if self.path == "alive":
            return []
        self.path, self._alive_since = "alive", now
        return [Turned("alive", 0)]

    def _dead(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if self.path != "dead":
            effects.append(Turned("dead", self.missed))
            if self.path == "alive" and now - self._alive_since >= self._pause:
                self._pause, self._reinitiate_at = PAUSE, now
            self.path = "dead"
        if now >= self._reinitiate_at:
            effects.append(Reinitiate())
            self._reinitiate_at = now + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return effects
