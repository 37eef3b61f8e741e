"""What the meter should count, by the definitions and with sets, not with a ring of bits.

Of the numbers of a stream the last 1,024 are remembered. Not seen when it leaves them: missing. Seen again: duplicate.
Below the highest and first seen now: late. Further below, or so far above that 64 bits do not say: they begin again.
The numbers before the first one that was seen are late, however often they are seen.
"""

from dataclasses import dataclass, field

from mcastd.meter.packet import Numbers

WINDOW = 1024


@dataclass
class Model:
    """One stream; ``bits`` is how wide its numbers are."""

    bits: int
    begun: bool = False
    session: bytes = b""
    start: int = 0
    next: int = 0
    seen: set[int] = field(default_factory=set)
    count: int = 0
    missing: int = 0
    duplicate: int = 0
    late: int = 0
    resets: int = 0
    gap_at: int = 0
    gap_size: int = 0

    def packet(self, number: int, count: int, session: bytes, now: int) -> None:
        """``count`` messages with numbers from ``number`` on; none is a heartbeat, with the next number."""
        half = 1 << self.bits - 1
        first = self.next + (number - self.next + half) % (2 * half) - half
        if not self.begun:
            self._begin(number)
            first = number
        elif session != self.session or not -WINDOW < first + count - self.next < 1 << 63:
            self.missing += sum(one not in self.seen for one in self._window())
            self.resets += 1
            self._begin(number)
            first = number
        self.session = session
        self.count += count
        if first > self.next:
            self.gap_at, self.gap_size = now, first - self.next
        for one in range(first, first + count):
            if one < self.start:
                self.late += 1
            elif one in self.seen:
                self.duplicate += 1
            elif self.next - WINDOW <= one < self.next:
                self.late += 1
        self.seen |= set(range(max(first, self.start), first + count))
        end = max(self.next, first + count)
        low, high = max(self.start, self.next - WINDOW), max(self.start, end - WINDOW)
        self.missing += high - low - sum(low <= one < high for one in self.seen)
        self.next = end
        self.seen = {one for one in self.seen if one >= end - WINDOW}

    def numbers(self) -> Numbers:
        """What the meter should say."""
        unseen = sum(one not in self.seen for one in self._window())
        return Numbers(
            self.next, self.count, self.missing, unseen, self.duplicate, self.late, self.resets, self.gap_at,
            self.gap_size,
        )  # fmt: skip

    def _window(self) -> range:
        return range(max(self.start, self.next - WINDOW), self.next)

    def _begin(self, number: int) -> None:
        self.begun, self.start, self.next, self.seen = True, number, number, set()
