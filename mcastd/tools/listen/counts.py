"""What one stream is like: its gaps, bursts and sequence numbers, by the meter's definitions. Pure.

Times are those of the kernel's timestamps, in nanoseconds.
"""

from typing import Final

from mcastd.config.feed_formats import Sequence
from mcastd.meter.packet import BUCKETS, WINDOW, Numbers, StreamRecord
from mcastd.tools.numbers import Reading, read

_MILLISECOND: Final = 1_000_000
_SMOOTHING: Final = 16  # RFC 3550, section 6.4.1
_FURTHEST: Final = 1 << 63  # ahead; the meter's numbers have 64 bits
_ALL_SEEN: Final = b"\1" * WINDOW


def bucket(nanoseconds: int) -> int:
    """Where a histogram has a time: the first is below 1,024 ns, each next one twice as far, the last open."""
    return min((nanoseconds >> 10).bit_length(), BUCKETS - 1)


class StreamCounts:
    """A stream, or one of its units."""

    def __init__(self) -> None:
        self.packets = 0
        self.jitter = 0.0  # nanoseconds
        self.numbers: Window | None = None  # None: none was seen
        self._unnumbered = 0
        self._last = 0  # time of the latest packet
        self._first = 0  # time of the first one
        self._longest = self._longest_at = 0
        self._gaps = [0] * BUCKETS
        self._bursts = _Burst(_MILLISECOND), _Burst(10 * _MILLISECOND)

    def packet(self, at: int, sequence: Sequence | None, payload: bytes) -> Reading | None:
        """Count a packet; returns what it has of a sequence."""
        self._arrived(at)
        if sequence is None:
            return None
        reading = read(sequence, payload)
        if reading is None or (sequence.zero_is_unsequenced and not reading.number):
            self._unnumbered += 1
            return None
        if self.numbers is None:
            self.numbers = Window(8 * sequence.number.size)
        self.numbers.packet(reading, at)
        return reading

    def record(self) -> StreamRecord:
        """All of it, as the meter has it."""
        burst_1ms, burst_10ms = (one.most for one in self._bursts)
        found = None if self.numbers is None else self.numbers.record()
        return StreamRecord(
            self.packets, self._last, self._longest, self._longest_at, burst_1ms, burst_10ms, tuple(self._gaps),
            self._unnumbered, found,
        )  # fmt: skip

    def _arrived(self, at: int) -> None:
        if self.packets and at >= self._last:  # else another CPU was faster with a packet that came later
            gap = at - self._last
            self._gaps[bucket(gap)] += 1
            if gap > self._longest:
                self._longest, self._longest_at = gap, at
            mean = (at - self._first) / self.packets  # what a steady sender has between two packets
            self.jitter += (abs(gap - mean) - self.jitter) / _SMOOTHING
        self._first = self._first if self.packets else at
        self.packets += 1
        self._last = at
        for burst in self._bursts:
            burst.packet(at)


class _Burst:
    """The most packets in a time, which begins with a packet, and the next one with the first packet after it."""

    def __init__(self, length: int) -> None:
        self._length = length  # nanoseconds
        self._begin = 0
        self._count = 0  # since then
        self.most = 0

    def packet(self, at: int) -> None:
        if not self._count or at - self._begin >= self._length:
            self._begin, self._count = at, 0
        self._count += 1
        self.most = max(self.most, self._count)


class Window:
    """The sequence numbers of a stream: which of the last 1,024 were seen."""

    def __init__(self, bits: int) -> None:
        self._half = 1 << bits - 1
        self._session: bytes | None = None  # None: no number was seen
        self._start = 0  # what is below may have been seen before
        self._next = 0  # above the highest
        self._window = bytearray(_ALL_SEEN)  # a ring: 0 for each of the last numbers that was not seen
        self._seen = 0
        self._unseen = 0  # left out, and not seen since
        self._duplicate = self._late = self._resets = 0
        self._gap_at = self._gap_size = 0

    def packet(self, reading: Reading, at: int) -> None:
        """Work off a packet's numbers."""
        first = ahead_of(self._next, reading.number, self._half)
        if self._session is None:
            first = self._begin(reading.number)
        elif reading.session != self._session or not -WINDOW < first + reading.count - self._next < _FURTHEST:
            self._resets += 1
            first = self._begin(reading.number)
        self._session = reading.session
        self._seen += reading.count
        end = first + reading.count
        if first < self._next:
            self._again(first, min(end, self._next))
        if first > self._next:
            self._unseen += first - self._next
            self._gap_at, self._gap_size = at, first - self._next
            for one in range(max(self._next, first - WINDOW), first):
                self._window[one % WINDOW] = 0
        for one in range(max(self._next, first, end - WINDOW), end):
            self._window[one % WINDOW] = 1
        self._next = max(self._next, end)

    def record(self) -> Numbers:
        """What they have shown."""
        awaited = self._window.count(0)
        return Numbers(
            self._next, self._seen, self._unseen - awaited, awaited, self._duplicate, self._late, self._resets,
            self._gap_at, self._gap_size,
        )  # fmt: skip

    def _begin(self, number: int) -> int:
        self._start = self._next = number
        self._window[:] = _ALL_SEEN
        return number

    def _again(self, first: int, end: int) -> None:
        """Numbers below the next one: seen again, or late."""
        known = min(max(first, self._start), end)
        self._late += known - first
        for one in range(max(known, self._next - WINDOW), end):
            if self._window[one % WINDOW]:
                self._duplicate += 1
            else:
                self._late += 1
                self._unseen -= 1
                self._window[one % WINDOW] = 1


def ahead_of(expected: int, number: int, half: int) -> int:
    """A number, as wide as ours: the expected one plus how far it is from that, with a sign."""
    return expected + (number - expected + half) % (2 * half) - half
