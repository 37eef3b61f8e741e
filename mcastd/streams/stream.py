"""One stream: whether it carried at least one packet a second, and since when it is silent. Sans-IO.

::

    starts     a packet after a silence, or the first look at it
    busy       it has not been silent for 5 s since it started, and carried a packet a second; if it was busy before the
               silence, after three packets. While it is silent it stays what it was.
"""

from typing import Final

from mcastd.config.model import Feed
from mcastd.streams.acceptance import Acceptance, Reading
from mcastd.streams.feeds import Feeds
from mcastd.streams.table import Key

SILENCE: Final = 3.0
"""Seconds without a packet after which a stream is silent."""
JITTER: Final = 0.05
"""Seconds by which readings, one right after each full second, may be closer together than whole seconds."""
_PROVEN: Final = 5.0  # seconds after its start until the rate of a stream is known
_PROOF: Final = 3  # packets that prove it for one that was busy before
_RATE_PERIOD: Final = 5.0  # seconds for which a rate is taken at least
_SLOW_SILENCE: Final = 60.0  # seconds without a packet after which a stream of less than one a second is silent


class Stream:
    """What is known of one stream. Times are monotonic, in seconds."""

    __slots__ = (
        "_passed_on", "_rate", "_rated_at", "_rated_with", "_started_at", "_started_with", "_was_busy",
        "busy", "destinations", "epoch", "feed", "feeds", "first_seen", "key", "packets", "seen", "size", "slot",
    )  # fmt: skip

    def __init__(self, key: Key, packets: int, seen: float, now: float, size: int = 0) -> None:
        self.key = key
        self.packets = packets  # as counted by the kernel
        self.seen = seen  # when the last packet arrived
        self.busy = False  # whether it carries, or carried before it fell silent, at least one packet a second
        self._was_busy = False  # whether it was before it started
        self._started_at: float | None = None if now - seen >= SILENCE else now  # None while it is silent
        self._started_with = packets  # the packets at its start
        self.size = size  # the bytes of all packets, their IP headers included
        self.first_seen: float | None = None  # its first packet, if mcastd was there
        self.destinations: dict[str, Acceptance] = {}  # what was passed on; "" are the sockets of this host
        self.feed: Feed | None = None  # what it is, by ``feeds``
        self.feeds: Feeds | None = None  # those in which that was looked up
        self._passed_on: list[tuple[str, int, int]] = []  # to each, as just read, with what had arrived before
        self.slot = 0  # where its history is (``history.History``)
        self.epoch = 0  # the reset of all counts after which it was counted last (``Monitor``)
        self._rate: float | None = None  # packets a second, over some seconds before the last look; None: not known
        self._rated_at, self._rated_with = now, packets  # where these seconds began

    def counted(self, packets: int, seen: float, now: float, size: int = 0) -> None:
        """Take what the kernel has counted by now."""
        if packets < self.packets:  # the set was emptied: it is counted from 0 again
            if self._started_at is not None:  # it starts again, and is as busy as it was until that is known
                self._started_at, self._started_with, self._was_busy = now, packets, False
            self._rate, self._rated_at, self._rated_with = None, now, packets
        elif now - self._rated_at >= _RATE_PERIOD - JITTER:
            self._rate = (packets - self._rated_with) / (now - self._rated_at)
            self._rated_at, self._rated_with = now, packets
        has_grown = packets > self.packets
        self.packets, self.seen, self.size = packets, seen, size
        if has_grown and self._started_at is None:
            self._started_at, self._started_with = now, packets
            self._was_busy, self.busy = self.busy, False
        elif has_grown and self._started_at is not None:
            carried, period = packets - self._started_with, now - self._started_at
            if period >= _PROVEN - JITTER:
                self.busy = carried + 1 >= period  # a packet at either end may be on the other side of it
            elif self._was_busy:
                self.busy = carried >= max(_PROOF, period)
        if now - seen >= SILENCE:
            self._started_at = None

    def passed_on(self, destination: str, packets: int) -> None:
        """Take what the kernel has counted by now, read after what has arrived."""
        self._passed_on.append((destination, self.packets, packets))

    def compare(self) -> None:
        """What has arrived was read again, after ``passed_on`` for all destinations."""
        for destination, arrived, packets in self._passed_on:
            reading = Reading(arrived, packets, self.packets)
            if (found := self.destinations.get(destination)) is None:
                self.destinations[destination] = Acceptance(reading)
            else:
                found.counted(reading)
        self._passed_on = []

    @property
    def dropped(self) -> int:
        """Packets that this host has dropped, of the destination to which most are missing."""
        return max((one.dropped for one in self.destinations.values()), default=0)

    def rate_now(self, now: float) -> float | None:
        """Packets a second in the last seconds; None if that is not known yet."""
        return 0.0 if self.is_silent(now) else self._rate

    def rate(self, now: float) -> float | None:
        """Packets a second since it started; None if that is not known, or it is silent."""
        if self._started_at is None or now - self._started_at < _PROVEN - JITTER:
            return None
        return (self.packets - self._started_with) / (now - self._started_at)

    def is_silent(self, now: float) -> bool:
        """Whether no packet arrived for what is long at its rate."""
        return now - self.seen >= (SILENCE if self.busy else _SLOW_SILENCE)
