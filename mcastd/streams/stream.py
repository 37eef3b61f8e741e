"""One stream: whether it carried at least one packet a second, and since when it is silent. Sans-IO.

::

    starts     a packet after a silence, or the first look at it
    busy       it has not been silent for 5 s since it started, and carried a packet a second; also while it is silent
               afterwards, until it starts again with less than that
"""

from typing import Final

from mcastd.streams.table import Key

SILENCE: Final = 3.0
"""Seconds without a packet after which a stream is silent."""
_PROVEN: Final = 5.0  # seconds after its start until the rate of a stream is known
_SLOW_SILENCE: Final = 60.0  # seconds without a packet after which a stream of less than one a second is silent


class Stream:
    """What is known of one stream. Times are monotonic, in seconds."""

    __slots__ = ("_read_at", "_started_at", "_started_with", "busy", "key", "packets", "seen")

    def __init__(self, key: Key, packets: int, seen: float, now: float) -> None:
        self.key = key
        self.packets = packets  # as counted by the kernel
        self.seen = seen  # when the last packet arrived
        self.busy = False  # whether it carries, or carried before it fell silent, at least one packet a second
        self._read_at = now  # when it was looked at last
        self._started_at: float | None = None if now - seen >= SILENCE else now  # None while it is silent
        self._started_with = packets  # the packets at its start

    def counted(self, packets: int, seen: float, now: float) -> None:
        """Take what the kernel has counted by now."""
        grown, period = packets - self.packets, now - self._read_at
        self.packets, self.seen, self._read_at = packets, seen, now
        if grown < 0:  # another program emptied the set: it is counted from 0 again
            self._started_with = packets
        if grown > 0 and self._started_at is None:
            self.busy = self.busy and grown > period
            self._started_at, self._started_with = now, packets
        elif grown > 0 and self._started_at is not None and now - self._started_at >= _PROVEN:
            # A packet at either end may be on the other side of it.
            self.busy = packets - self._started_with + 1 >= now - self._started_at
        if now - seen >= SILENCE:
            self._started_at = None

    def is_silent(self, now: float, longest: float | None = None) -> bool:
        """Whether no packet arrived for ``longest`` seconds, or for what is long for its rate."""
        if longest is None:
            longest = SILENCE if self.busy else _SLOW_SILENCE
        return now - self.seen >= longest
