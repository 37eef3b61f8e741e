"""A token bucket: a rate with a bound on what may pass at once. Times are seconds of a monotonic clock."""

from math import inf
from typing import Final

_ONE: Final = 0.999
"""What counts as a whole token: a caller that waits until a deadline must find its token in spite of rounding."""


class TokenBucket:
    """``rate`` tokens are added a second, up to ``burst``; it begins full."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst  # as of _filled_at
        self._filled_at = -inf

    def take(self, now: float) -> bool:
        """Take one token; returns whether there was one."""
        if now != self._filled_at:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
            self._filled_at = now
        if self._tokens < _ONE:
            return False
        self._tokens -= 1.0
        return True

    def deadline(self, count: float) -> float:
        """When there will be ``count`` tokens, at most ``burst``, if none is taken before; it may have passed."""
        return self._filled_at + (count - self._tokens) / self._rate
