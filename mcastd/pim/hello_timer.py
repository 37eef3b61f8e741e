"""When Hellos are sent: periodically, shortly after coming up, and to new neighbours (RFC 7761, section 4.3.1)."""

from math import inf
from typing import Final

from mcastd.config.model import Pim

MIN_ANSWER_INTERVAL: Final = 1.0  # a neighbour that restarts over and over is answered this often at most


class HelloTimer:
    """The Hello Timer of one interface, and when a full update is due: a Hello with all Joins behind it."""

    def __init__(self, config: Pim) -> None:
        self.config = config
        self.hello_needed = True  # a Hello has to be sent before the next Join/Prune
        self._hello_at = inf  # the Hello Timer
        self._sent_at = -inf  # when the last Hello was sent
        self._repeats = 0  # how often the Hello of the last full update has been repeated
        self._repeat_at = inf  # when it is repeated next
        self._update_at = inf  # when the next full update is due
        self._updated_at = -inf  # when the last one was sent
        self._answered_at = -inf  # when the last one that was scheduled was sent

    def update_begins(self, now: float) -> None:
        """A full update begins: its Hello is repeated as new Joins are, which are discarded where it was lost."""
        if now >= self._update_at:
            self._answered_at = now
        self._update_at, self._updated_at = inf, now
        self._repeats, self._repeat_at = 0, now

    def hello_sent(self, now: float) -> None:
        """A Hello has been sent: set when the next one is."""
        self.hello_needed = False
        self._sent_at, self._hello_at = now, now + self.config.hello_period
        if now >= self._repeat_at:
            gap = self.config.join_repeat_interval * 2**self._repeats
            self._repeat_at = now + gap if self._repeats < self.config.join_repeats else inf
            self._repeats += 1

    def schedule_hello(self, now: float) -> None:
        """Send a Hello now, or when the last one is long enough ago."""
        self._hello_at = min(self._hello_at, max(now, self._sent_at + MIN_ANSWER_INTERVAL))

    def schedule_update(self, now: float) -> None:
        """Send a full update now, or when the last answer is long enough ago."""
        self._update_at = min(self._update_at, max(now, self._answered_at + MIN_ANSWER_INTERVAL))

    def was_updated_recently(self, now: float) -> bool:
        """Whether a full update was sent just now, so that its repeats are still close together."""
        return now - self._updated_at < MIN_ANSWER_INTERVAL

    def is_hello_due(self, now: float) -> bool:
        """Whether it is time for a Hello."""
        return now >= min(self._hello_at, self._repeat_at)

    def is_update_due(self, now: float) -> bool:
        """Whether it is time for a full update."""
        return now >= self._update_at

    def stop(self) -> None:
        """Nothing is due any more."""
        self._hello_at = self._repeat_at = self._update_at = inf

    def next_deadline(self) -> float:
        """When something is due; infinite if never."""
        return min(self._hello_at, self._repeat_at, self._update_at)
