"""When to say Hello: periodically, shortly after coming up, and to answer who is new (RFC 7761, section 4.3.1)."""

from math import inf
from typing import Final

from mcastd.config.model import Pim

TRIGGERED_HELLO_DELAY: Final = 5.0  # section 4.11
GREET_INTERVAL: Final = 1.0  # a neighbour that restarts over and over is answered this often at most


class Greeting:
    """The Hello Timer of one interface, and what goes with it. A greeting is a Hello with all Joins behind it."""

    def __init__(self, config: Pim) -> None:
        self.config = config
        self.owed = True
        self._hello_at = inf
        self._repeats = 0
        self._repeat_at = inf
        self._greet_at = inf
        self._greeted_at = -inf
        self._answered_at = -inf

    def begin(self, now: float) -> None:
        """A greeting begins: its Hello is repeated like a new Join, which would be discarded without it."""
        if now >= self._greet_at:
            self._answered_at = now
        self._greet_at, self._greeted_at = inf, now
        self._repeats, self._repeat_at = 0, now

    def said(self, now: float) -> None:
        """A Hello has been sent."""
        self.owed = False
        self._hello_at = now + self.config.hello_period
        if now >= self._repeat_at:
            gap = self.config.join_repeat_interval * 2**self._repeats
            self._repeat_at = now + gap if self._repeats < self.config.join_repeats else inf
            self._repeats += 1

    def hello_by(self, deadline: float) -> None:
        """Say Hello at ``deadline`` at the latest."""
        self._hello_at = min(self._hello_at, deadline)

    def greet_by(self, deadline: float) -> None:
        """Greet at ``deadline``, or when the last answer is long enough ago."""
        self._greet_at = min(self._greet_at, max(deadline, self._answered_at + GREET_INTERVAL))

    def is_recent(self, now: float) -> bool:
        """Whether we have just greeted, so that the repeats are still close together."""
        return now - self._greeted_at < GREET_INTERVAL

    def is_hello_due(self, now: float) -> bool:
        """Whether it is time for a Hello."""
        return now >= min(self._hello_at, self._repeat_at)

    def is_due(self, now: float) -> bool:
        """Whether it is time for a greeting."""
        return now >= self._greet_at

    def stop(self) -> None:
        """Say nothing more."""
        self._hello_at = self._repeat_at = self._greet_at = inf

    def next_deadline(self) -> float:
        """When something is due."""
        return min(self._hello_at, self._repeat_at, self._greet_at)
