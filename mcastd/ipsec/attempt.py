"""When to try again: exponential back-off with jitter. Sans-IO.

A child that was up and is lost is tried again at once, once; a child that keeps failing, or keeps being taken down as
soon as it is up, is tried ever more rarely. Being up for ``STABLE`` seconds forgets the past.
"""

from random import Random
from typing import Final

STABLE: Final = 10.0


class Backoff:
    """The tries of one child. All times are monotonic seconds."""

    def __init__(self, minimum: float, maximum: float, rng: Random) -> None:
        self._minimum = minimum
        self._maximum = max(minimum, maximum)
        self._rng = rng
        self._setbacks = 0
        self._up_since: float | None = None
        self.next_try = 0.0

    def limits(self, minimum: float, maximum: float) -> None:
        """Change the bounds, for the delays to come."""
        self._minimum, self._maximum = minimum, max(minimum, maximum)

    def up(self, now: float) -> None:
        """It is up."""
        self._up_since = now

    def lost(self, now: float) -> None:
        """It was up and is not any more."""
        if self._up_since is not None and now - self._up_since >= STABLE:
            self._setbacks = 0
        self._up_since = None
        self._setback(now, immediate=self._setbacks == 0)

    def failed(self, now: float) -> None:
        """A try failed."""
        self._setback(now, immediate=False)

    def reset(self, now: float) -> None:
        """Start afresh, because what is tried has changed or charon is a new one."""
        self._setbacks = 0
        self._up_since = None
        self.next_try = now

    def _setback(self, now: float, *, immediate: bool) -> None:
        if immediate:
            self.next_try = now
        else:
            ceiling = min(self._maximum, self._minimum * 2.0 ** min(self._setbacks, 32))
            self.next_try = now + self._rng.uniform(max(self._minimum, ceiling / 2), ceiling)
        self._setbacks += 1
