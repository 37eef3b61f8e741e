"""What streams carried in each of the last ten minutes' seconds. Pure.

The counters are read right after each full second of the monotonic clock. A second is known if it was read in time at
both its ends: what a busy loop or a restart has missed is not known, and is never a 0. Memory is bounded: there is room
for 500 streams, of 7 kB each. Those of feeds are recorded before others, and these as they came.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address
from typing import Final

from msgspec.structs import replace

from mcastd.stream_status import StreamCount, StreamHistory
from mcastd.streams.table import element_key

SECONDS: Final = 600
"""For how long what a stream carried is known."""
STREAMS: Final = 500
"""How many streams are recorded."""
_PLACES: Final = SECONDS + 40  # that a row has: what is shown stays while a report is made
_STEP: Final = 8192  # seconds of streams that are worked off at once: some milliseconds
EARLY: Final = 0.1
"""Seconds before a full second that are still taken for it: timers may be early."""
_LATE: Final = 0.25  # seconds after its full second until which a reading has to be complete
_UNKNOWN: Final = 2**32 - 1
_NEVER: Final = -1

_EMPTY: Final = array("I", [_UNKNOWN]) * (3 * _PLACES)
_PACKETS, _BYTES, _MISSING = 0, _PLACES, 2 * _PLACES  # where each begins


class _Row:
    """One stream."""

    __slots__ = ("is_named", "last", "lost", "numbered", "packets", "read", "seen", "size", "values")

    def __init__(self, *, is_named: bool) -> None:
        self.is_named = is_named  # whether it is of a feed
        self.values = _EMPTY[:]
        self.read = self.numbered = _NEVER  # the seconds at whose ends its counters and its numbers were read last
        self.packets = self.size = 0  # as they were then
        self.seen = self.lost = 0  # likewise: how many numbers came, and how many did not
        self.last = 0.0  # when the last packet came

    def write(self, at: int, value: int) -> None:
        self.values[at] = min(value, _UNKNOWN - 1)


class Recorder:
    """A reading is ``begin``, ``take`` for each stream, ``numbered`` for those with sequence numbers, and ``end``."""

    def __init__(self, is_known: Callable[[bytes], bool], is_named: Callable[[bytes], bool]) -> None:
        self._is_known = is_known  # whether a stream was seen before this reading
        self._is_named = is_named  # whether it is of a feed
        self._rows: dict[bytes, _Row] = {}  # by the key of the kernel's element, as they came
        self._second = _NEVER  # at whose end the last reading began
        self._ended = _NEVER  # the last one whose reading has ended
        self._was_read = False  # whether the second before it ended with a reading
        self._read = array("q", [_NEVER]) * _PLACES  # which second each place in the rows is of
        self._refused = set[bytes]()  # for which there was no room at the last reading
        self._refusing = set[bytes]()  # likewise, at this one
        self._silent: list[bytes] = []  # those recorded that give way to others
        self._was_reset = False  # whether all was counted from 0 after the last reading

    @property
    def refused(self) -> int:
        """How many streams there are that are not recorded."""
        return len(self._refused)

    def begin(self, now: float) -> None:
        """A reading begins, right after a full second."""
        self._second, self._refusing = int(now + EARLY), set()
        self._was_read = self._read[(self._second - 1) % _PLACES] == self._second - 1 and not self._was_reset
        self._was_reset = False

    def take(self, key: bytes, packets: int, size: int, age: float) -> None:
        """Take what was counted of a stream, and the age of its last packet."""
        if (row := self._rows.get(key)) is None:
            if not self._has_room(key, age):
                self._refusing.add(key)
                return
            self._rows[key] = row = _Row(is_named=self._is_named(key))
            if self._was_read and key not in self._refused and not self._is_known(key):
                row.read = row.numbered = self._second - 1  # none of it had come then
        if row.read != self._second:  # else it is in the kernel's answer twice
            row.last = self._second - age
            self._take(row, packets, size)

    def _has_room(self, key: bytes, age: float) -> bool:
        """Whether there is room for another stream, or another one gives way to it."""
        if len(self._rows) < STREAMS:
            return True
        if self._silent and age < SECONDS:
            other = self._silent.pop()
        elif key in self._refused or not self._is_named(key):
            return False
        else:
            others = (other for other in reversed(self._rows) if not self._rows[other].is_named)
            if (found := next(others, None)) is None:
                return False
            other = found
        del self._rows[other]
        self._refusing.add(other)
        return True

    def _take(self, row: _Row, packets: int, size: int) -> None:
        at = self._second % _PLACES
        row.values[_PACKETS + at] = row.values[_BYTES + at] = row.values[_MISSING + at] = _UNKNOWN
        if self._was_read and row.read == self._second - 1 and packets >= row.packets and size >= row.size:
            row.write(_PACKETS + at, packets - row.packets)
            row.write(_BYTES + at, size - row.size)
        row.read, row.packets, row.size = self._second, packets, size

    def numbered(self, key: bytes, seen: int, lost: int) -> None:
        """Take how many sequence numbers of a stream came, and how many did not: fewer, where some came late."""
        if (row := self._rows.get(key)) is None or row.read != self._second:
            return
        if self._was_read and row.numbered == self._second - 1 and seen >= row.seen:
            row.write(_MISSING + self._second % _PLACES, max(0, lost - row.lost))
            self._take_back(row, row.lost - lost)
        row.numbered, row.seen, row.lost = self._second, seen, lost

    def _take_back(self, row: _Row, came: int) -> None:
        """These numbers came late: of the known seconds before, the last that missed some missed them."""
        for second in range(self._second - 1, self._second - SECONDS, -1):
            if came <= 0:
                return
            at = second % _PLACES
            if self._read[at] != second or (missing := row.values[_MISSING + at]) == _UNKNOWN:
                return  # they may be missing there
            row.values[_MISSING + at] = max(0, missing - came)
            came -= missing

    def end(self, now: float) -> None:
        """All streams have been taken."""
        silent = [key for key, row in self._rows.items() if self._second - row.last >= SECONDS]
        self._silent = []
        for key in silent:
            if self._rows[key].read == self._second:
                self._silent.append(key)
            else:
                del self._rows[key]
        for row in self._rows.values():
            if row.read != self._second:
                self._absent(row)
        self._refused, self._ended = self._refusing, self._second
        if now - self._second <= _LATE:
            self._read[self._second % _PLACES] = self._second

    def _absent(self, row: _Row) -> None:
        """A stream that was counted from 0 and has had no packet since; else the kernel's answer has left it out."""
        if row.packets == 0:
            self._take(row, 0, 0)
        else:
            at = self._second % _PLACES
            row.values[_PACKETS + at] = row.values[_BYTES + at] = row.values[_MISSING + at] = _UNKNOWN

    def reset(self) -> None:
        """All is counted from 0 again: what came since the last reading is not known."""
        self._was_reset = True
        for row in self._rows.values():
            row.packets = row.size = 0

    def renamed(self) -> None:
        """Which streams are of feeds has changed."""
        for key, row in self._rows.items():
            row.is_named = self._is_named(key)
        self._refused = set()

    def window(self, seconds: float, now: float) -> "Window":
        """The last so many seconds."""
        end = max(self._ended, int(now) - 1)
        count = min(SECONDS, int(seconds))
        places = [
            second % _PLACES if self._read[second % _PLACES] == second else _NEVER
            for second in range(end - count + 1, end + 1)
        ]
        return Window(end, places, self._rows)


class Window:
    """Some seconds, the last of which ended at ``end``, in monotonic time."""

    def __init__(self, end: int, places: list[int], rows: dict[bytes, _Row]) -> None:
        self.end = end
        self._places = places  # of each second, where the rows have it
        self._rows = rows

    def parts(self, counted: Iterable[Iterable[StreamCount]]) -> Iterator[list[StreamCount]]:
        """The streams with what they carried, in smaller parts: some thousand numbers at once."""
        most = max(1, _STEP // max(1, len(self._places)))
        for part in counted:
            streams = list(part)
            for first in range(0, len(streams), most):
                yield [self.add(one) for one in streams[first : first + most]]

    def add(self, one: StreamCount) -> StreamCount:
        """The stream with what it carried in each of them, if it is recorded."""
        source, group = IPv4Address(one.source).packed, IPv4Address(one.group).packed
        if (row := self._rows.get(element_key(one.tunnel, source, group, one.port))) is None:
            return one
        has_numbers = row.seen or row.lost
        history = StreamHistory(
            packets=self._values(row, _PACKETS),
            bytes=self._values(row, _BYTES),
            missing=self._values(row, _MISSING) if has_numbers else (),
        )
        return replace(one, history=history)

    def _values(self, row: _Row, first: int) -> tuple[int | None, ...]:
        values = row.values
        return tuple(
            None if place < 0 or (value := values[first + place]) == _UNKNOWN else value for place in self._places
        )
