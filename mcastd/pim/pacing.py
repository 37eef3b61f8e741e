"""A queue that sends messages at a rate that a neighbour's socket can take.

148 messages back to back, the refresh of 10,000 groups, overflow a router's queue for PIM. Order is kept: a Prune never
overtakes a Join of the same entry.
"""

from collections import deque
from collections.abc import Iterable
from math import inf
from typing import Final

from mcastd.net.token_bucket import TokenBucket
from mcastd.pim.effects import Send

BURST: Final = 16
RATE: Final = 1600.0  # messages a second


class Pacer:
    """BURST messages at once, and RATE on average."""

    def __init__(self) -> None:
        self._queue: deque[Send] = deque()  # what has not been sent yet
        self._tokens = TokenBucket(RATE, BURST)

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, sends: Iterable[Send]) -> None:
        """Append messages."""
        self._queue.extend(sends)

    def clear(self) -> None:
        """Drop what has not been sent."""
        self._queue.clear()

    def take(self, now: float) -> list[Send]:
        """The messages that may be sent now."""
        taken = []
        while self._queue and self._tokens.take(now):
            taken.append(self._queue.popleft())
        return taken

    def take_all(self) -> list[Send]:
        """All of them, at once: when the interface ends."""
        taken = list(self._queue)
        self._queue.clear()
        return taken

    def next_deadline(self) -> float:
        """When the next few may be sent, rather than the next one: fewer wake-ups. Infinite if none wait."""
        if not self._queue:
            return inf
        return self._tokens.deadline(min(len(self._queue), BURST / 2))
