"""When to try again: exponential back-off with jitter. Sans-IO.

A CHILD_SA that was up and is lost is tried again at once, but only the first time; one that keeps failing, or keeps
being deleted soon after it is up, is tried less and less often. After ``STABLE`` seconds of being up the back-off
starts from its minimum again. While nothing answers, the pause stays at the minimum: a request costs the network next
to nothing, and a peer that has been restarted is to be reached within seconds.
"""

from random import Random
from typing import Final

STABLE: Final = 10.0


class Backoff:
    """The back-off of one CHILD_SA. All times are monotonic seconds."""

    def __init__(self, minimum: float, maximum: float, rng: Random) -> None:
        self._rng = rng
        self._setbacks = 0  # failures and losses since the last reset
        self._up_since: float | None = None  # None while it is not up
        self.next_try = 0.0  # not to be tried before this
        self.limits(minimum, maximum)

    def limits(self, minimum: float, maximum: float) -> None:
        """Change the bounds, for the delays to come."""
        self._minimum, self._maximum = minimum, max(minimum, maximum)

    def up(self, now: float) -> None:
        """It is up."""
        self._up_since = now

    def lost(self, now: float) -> None:
        """It was up and is no longer."""
        if self._up_since is not None and now - self._up_since >= STABLE:
            self._setbacks = 0
        self._up_since = None
        self._setback(now, immediate=self._setbacks == 0)

    def failed(self, now: float) -> None:
        """An attempt failed."""
        self._setback(now, immediate=False)

    def unanswered(self, now: float) -> None:
        """Nothing answered an attempt."""
        self.next_try = now + self._minimum

    def reset(self, now: float) -> None:
        """Start from the minimum, and try at once: what is tried has changed, or charon has restarted."""
        self._setbacks = 0
        self._up_since = None
        self.next_try = now

    def _setback(self, now: float, *, immediate: bool) -> None:
        self.next_try = now
        if not immediate:
            ceiling = min(self._maximum, self._minimum * 2.0 ** min(self._setbacks, 32))
            self.next_try += self._rng.uniform(max(self._minimum, ceiling / 2), ceiling)
        self._setbacks += 1
