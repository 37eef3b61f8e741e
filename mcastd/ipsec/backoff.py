"""When to try again: exponential back-off with jitter. Sans-IO.

A CHILD_SA that was up and is lost is tried again at once, but only the first time; one that keeps failing, or keeps
being deleted soon after it is up, is tried less and less often. After ``STABLE`` seconds of being up the back-off
starts from its minimum again. While nothing answers, the pause stays at the minimum: a request costs the network next
to nothing, and a peer that has been restarted is to be reached within seconds.

An exchange that is not answered on an IKE_SA that is up costs that IKE_SA, and with it the CHILD_SAs that work. The
first time the peer may have been restarted. If it has answered on another IKE_SA since, and ignores this again, the
pause is ``IGNORED`` seconds, and doubles each time up to ``LONGEST_IGNORED``, whatever the bounds.
"""

from random import Random
from typing import Final

STABLE: Final = 10.0
IGNORED: Final = 60.0
LONGEST_IGNORED: Final = 3600.0


class Backoff:
    """The back-off of one CHILD_SA. All times are monotonic seconds."""

    def __init__(self, minimum: float, maximum: float, rng: Random) -> None:
        self._rng = rng
        self._setbacks = 0  # failures and losses since the last reset
        self._ignored = 0  # attempts in a row that the peer has ignored on an IKE_SA that was up
        self._up_since: float | None = None  # None while it is not up
        self.next_try = 0.0  # not to be tried before this
        self.limits(minimum, maximum)

    def limits(self, minimum: float, maximum: float) -> None:
        """Change the bounds, for the delays to come."""
        self._minimum, self._maximum = minimum, max(minimum, maximum)

    def up(self, now: float) -> None:
        """It is up."""
        self._up_since = now
        self._ignored = 0

    def lost(self, now: float) -> None:
        """It was up and is no longer."""
        if self._up_since is not None and now - self._up_since >= STABLE:
            self._setbacks = 0
        self._up_since = None
        self._setback(now, immediate=self._setbacks == 0)

    def failed(self, now: float) -> None:
        """An attempt failed."""
        self._ignored = 0
        self._setback(now, immediate=False)

    def unanswered(self, now: float) -> None:
        """Nothing answered an attempt, on a new IKE_SA."""
        self.next_try = now + self._minimum

    def ignored(self, now: float) -> None:
        """The peer did not answer an attempt on an IKE_SA that was up."""
        self._ignored += 1
        again = min(LONGEST_IGNORED, IGNORED * 2.0 ** min(self._ignored - 2, 32))
        self.next_try = now + (again if self._ignored > 1 else self._minimum)

    def new_ike_sa(self, now: float) -> None:
        """An IKE_SA came up: try at once, since it was its absence that failed, or the one before."""
        if self._ignored <= 1:
            self._restart(now)

    def peer_is_silent(self) -> None:
        """The peer does not answer at all: what it has ignored says nothing of the CHILD_SA."""
        self._ignored = 0

    def reset(self, now: float) -> None:
        """Start from the minimum, and try at once: what is tried has changed, or charon has restarted."""
        self._ignored = 0
        self._restart(now)

    def _restart(self, now: float) -> None:
        self._setbacks = 0
        self._up_since = None
        self.next_try = now

    def _setback(self, now: float, *, immediate: bool) -> None:
        self.next_try = now
        if not immediate:
            ceiling = min(self._maximum, self._minimum * 2.0 ** min(self._setbacks, 32))
            self.next_try += self._rng.uniform(max(self._minimum, ceiling / 2), ceiling)
        self._setbacks += 1
