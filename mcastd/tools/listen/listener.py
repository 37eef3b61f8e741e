"""Packets in, report out. Pure: it takes the packets of one socket, or of two, in the order of their times."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from mcastd.config.feed_formats import Sequence as Format
from mcastd.meter.report import measure, pair_count
from mcastd.stream_status import PairCount
from mcastd.tools.listen.counts import StreamCounts
from mcastd.tools.listen.pair import Pair
from mcastd.tools.listen.report import HeardSide, HeardSource, ListenReport
from mcastd.tools.numbers import unit

_HEADERS: Final = 28  # bytes, of IP and UDP
_FIRST_BYTES: Final = 32
_MOST_SOURCES: Final = 256


class Packet(NamedTuple):
    """What a socket received; ``at`` is the kernel's timestamp, in nanoseconds."""

    at: int
    source: str
    port: int
    payload: bytes


class Side(Struct, frozen=True):
    """What a socket listens to."""

    group: str
    port: int
    interface: str | None = None
    source: str | None = None
    feed: str | None = None
    sequence: Format | None = None


class Buffer(NamedTuple):
    """What the kernel says of a socket: the size of its buffer, and what that had no room for."""

    size: int = 0
    dropped: int = 0


class _Source:
    """One sender."""

    def __init__(self) -> None:
        self.bytes = 0
        self.units: dict[int, StreamCounts] = {}
        self.port = 0  # of the last packet, and its payload
        self.payload = b""

    @property
    def packets(self) -> int:
        return sum(one.packets for one in self.units.values())


class Listener:
    """Two sides are a pair, with sequence numbers of one format."""

    def __init__(self, sides: Sequence[Side]) -> None:
        self._sides = sides
        self._sources: tuple[dict[str, _Source], ...] = tuple({} for _ in sides)
        self._others = [0] * len(sides)  # packets of sources that were too many
        self._pairs: dict[int, Pair] = {}  # by unit

    def packet(self, side: int, packet: Packet) -> None:
        """Count a packet."""
        sources, sequence = self._sources[side], self._sides[side].sequence
        source = sources.get(packet.source)
        if source is None:
            if len(sources) == _MOST_SOURCES:
                self._others[side] += 1
                return
            source = sources[packet.source] = _Source()
        source.bytes += len(packet.payload) + _HEADERS
        source.port, source.payload = packet.port, packet.payload
        number = 0 if sequence is None else unit(sequence, packet.payload)
        if number not in source.units:
            source.units[number] = StreamCounts()
        reading = source.units[number].packet(packet.at, sequence, packet.payload)
        if reading is not None and sequence is not None and len(self._sides) > 1:
            if number not in self._pairs:
                self._pairs[number] = Pair(8 * sequence.number.size)
            self._pairs[number].packet(side, reading, packet.at)

    def report(self, seconds: float, now: float, buffers: Iterable[Buffer]) -> ListenReport:
        """What was received in so many seconds, by ``now`` on the clock of the packets, in seconds."""
        sides = tuple(self._side(number, seconds, now, buffer) for number, buffer in enumerate(buffers))
        pairs = tuple(self._compared())
        return ListenReport(seconds=seconds, lost=_is_lost(sides, pairs), sides=sides, pairs=pairs)

    def _side(self, number: int, seconds: float, now: float, buffer: Buffer) -> HeardSide:
        side = self._sides[number]
        sources = tuple(_source(name, one, now) for name, one in sorted(self._sources[number].items()))
        packets, total = sum(one.packets for one in sources), sum(one.bytes for one in sources)
        return HeardSide(
            group=side.group,
            port=side.port,
            interface=side.interface,
            source=side.source,
            feed=side.feed,
            receive_buffer=buffer.size,
            dropped=buffer.dropped,
            packets=packets,
            bytes=total,
            rate=packets / seconds if seconds else 0.0,
            bit_rate=8 * total / seconds if seconds else 0.0,
            others=self._others[number],
            sources=sources,
        )

    def _compared(self) -> Iterable[PairCount]:
        if len(self._sides) == 1:
            return
        a, b = (f"{one.group}:{one.port}" for one in self._sides)
        name = self._sides[0].feed or self._sides[0].group
        for number in sorted(self._pairs) or (0,):
            pair = self._pairs.get(number)
            if pair is None:
                yield PairCount(feed=name, a=a, b=b)
            else:
                yield pair_count(name, a, b, number, pair.record())


def _source(name: str, found: _Source, now: float) -> HeardSource:
    units = sorted(found.units.items())
    return HeardSource(
        source=name,
        port=found.port,
        packets=found.packets,
        bytes=found.bytes,
        jitter=max(one.jitter for _, one in units) / 1e9,
        first_bytes=found.payload[:_FIRST_BYTES].hex(" "),
        measured=tuple(measure(one.record(), number, now) for number, one in units),
    )


def missing(side: HeardSide) -> int:
    """The numbers that a side has not seen, those that may still come included."""
    measured = (each.numbers for one in side.sources for each in one.measured)
    return sum(each.missing + each.awaited for each in measured if each is not None)


def _is_lost(sides: Iterable[HeardSide], pairs: Sequence[PairCount]) -> bool:
    sides = tuple(sides)
    if not all(one.packets for one in sides):
        return True
    if any(one.compared for one in pairs):
        return any(one.lost_both + one.awaited_both for one in pairs)
    return any(one.dropped or missing(one) for one in sides)
