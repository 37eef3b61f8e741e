"""What had been counted of each stream at earlier times, for a day, in steps that grow with their age. Pure.

A step is taken every minute. One goes when its neighbours are not further apart than a tenth of its age: so the begin
of any period is known to a tenth of it, and some 80 steps are kept, of 24 bytes for each stream.
"""

from array import array
from typing import Final, NamedTuple

KEPT: Final = 25 * 3600.0
"""Seconds for which it is known what was counted."""
_PERIOD: Final = 60.0  # seconds between two steps
_RESOLUTION: Final = 0.1  # of a step's age, that its neighbours may be apart


class Step(NamedTuple):
    """Packets, bytes and drops at one time (monotonic), by the stream's slot; one beyond them was not there yet."""

    time: float
    packets: "array[int]"
    sizes: "array[int]"
    dropped: "array[int]"
    host: dict[str, int]  # the counters of the host, which are not of one stream

    def of(self, slot: int) -> tuple[int, int, int]:
        """The packets, bytes and drops of a stream then."""
        if slot >= len(self.packets):
            return 0, 0, 0
        return self.packets[slot], self.sizes[slot], self.dropped[slot]


class History:
    """The steps, and the slots of the streams in them."""

    def __init__(self) -> None:
        self._steps: list[Step] = []  # the oldest first
        self._free: list[int] = []  # slots of streams that are gone
        self._slots = 0  # how many there are

    @property
    def has_begun(self) -> bool:
        """Whether there is a step."""
        return bool(self._steps)

    def slot(self) -> int:
        """A slot for another stream, of which nothing has been counted."""
        if not self._free:
            self._slots += 1
            return self._slots - 1
        slot = self._free.pop()
        self.forget(slot)
        return slot

    def free(self, slot: int) -> None:
        """A stream is gone."""
        self._free.append(slot)

    def forget(self, slot: int) -> None:
        """A stream is counted from 0 again."""
        for step in self._steps:
            if slot < len(step.packets):
                step.packets[slot] = step.sizes[slot] = step.dropped[slot] = 0

    def clear(self, host: dict[str, int], now: float) -> None:
        """All streams are counted from 0 again."""
        self._steps = [Step(now, array("Q"), array("Q"), array("Q"), host)]

    def begin(self, host: dict[str, int], now: float) -> Step | None:
        """A step to write the counts of each stream to, if one is due; it counts after ``end``."""
        if self._steps and now - self._steps[-1].time < _PERIOD:
            return None
        packets, sizes, dropped = (array("Q", bytes(8 * self._slots)) for _ in range(3))
        return Step(now, packets, sizes, dropped, host)

    def end(self, step: Step) -> None:
        """Add a step, and remove those that are not needed any more."""
        self._steps.append(step)
        kept = self._steps[:1]
        for one, after in zip(self._steps[1:-1], self._steps[2:], strict=True):
            if after.time - kept[-1].time > max(_PERIOD, _RESOLUTION * (step.time - one.time)):
                kept.append(one)
        self._steps = [*kept, step] if len(self._steps) > 1 else kept
        while len(self._steps) > 1 and step.time - self._steps[1].time >= KEPT:
            del self._steps[0]

    def at(self, time: float) -> Step | None:
        """The last step until a time; if there is none, the first; None without any."""
        return next((step for step in reversed(self._steps) if step.time <= time), next(iter(self._steps), None))
