"""What the meter knows of a stream, as status shows it. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address

from msgspec.structs import replace

from mcastd.meter.packet import KEY, Numbers, StreamRecord, decode
from mcastd.stream_status import StreamCount, StreamMeasure, StreamNumbers

_FRAGMENTS = 0  # the port under which they are counted


class Measured:
    """The entries of the map, by what is before the unit in their key; decoded when asked for."""

    def __init__(self, links: Mapping[str, int], now: float) -> None:
        self._links = links
        self._now = now
        self._found: dict[bytes, dict[int, bytes]] = {}  # the values, by the unit

    def add(self, elements: Iterable[tuple[bytes, bytes]], group: IPv4Address | None) -> None:
        """Take elements of the map, of one group or of all."""
        for key, value in elements:
            if group is None or key[8:12] == group.packed:
                self._found.setdefault(key[:-2], {})[int.from_bytes(key[-2:], "little")] = value

    def __call__(self, counts: Iterable[StreamCount]) -> Iterator[StreamCount]:
        """The streams with what was measured of them."""
        for one in counts:
            index = self._links.get(one.tunnel)
            if index is None:
                yield one
                continue
            units = self._of(index, one, one.port)
            fragments = sum(decode(value).packets for value in self._of(index, one, _FRAGMENTS).values())
            measured = tuple(measure(decode(units[unit]), unit, self._now) for unit in sorted(units))
            yield replace(one, measured=measured, fragments=fragments)

    def _of(self, index: int, one: StreamCount, port: int) -> Mapping[int, bytes]:
        source, group = IPv4Address(one.source), IPv4Address(one.group)
        return self._found.get(KEY.pack(index, source.packed, group.packed, port, 0)[:-2], {})


def measure(record: StreamRecord, unit: int, now: float) -> StreamMeasure:
    """What was measured of a stream, or of one of its units; ``now`` is of the kernel's monotonic clock, in seconds."""
    begun = record.packets > 1
    return StreamMeasure(
        unit=unit,
        packets=record.packets,
        longest_gap=record.longest_gap / 1e9 if begun else None,
        longest_gap_age=_age(record.longest_gap_at, now) if begun else None,
        gaps=record.gaps,
        burst_1ms=record.burst_1ms,
        burst_10ms=record.burst_10ms,
        unnumbered=record.unnumbered,
        numbers=None if record.numbers is None else _numbers(record.numbers, now),
    )


def _numbers(found: Numbers, now: float) -> StreamNumbers:
    return StreamNumbers(
        seen=found.seen,
        missing=found.missing,
        awaited=found.open,
        duplicate=found.duplicate,
        late=found.late,
        resets=found.resets,
        last_gap=found.gap_size or None,
        last_gap_age=_age(found.gap_at, now) if found.gap_size else None,
    )


def _age(at: int, now: float) -> float:
    return max(0.0, now - at / 1e9)
