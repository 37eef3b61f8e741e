"""What the meter knows of a stream, as status shows it. Pure."""

import struct
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address

from msgspec.structs import replace

from mcastd.config.model import Feed
from mcastd.config.value_types import GroupPort
from mcastd.meter.packet import KEY, At, Numbers, PairRecord, StreamRecord, decode, decode_pair, decode_pair_key
from mcastd.stream_status import PairCount, StreamCount, StreamMeasure, StreamNumbers

_NUMBERED = struct.Struct(f"={At.BEGUN}xQ{At.NUMBERS - At.BEGUN - 8}xQQ")  # state of the numbers, came, did not
_FRAGMENTS = 0  # the port under which they are counted


class Measured:
    """The entries of the map, by what is before the unit in their key; decoded when asked for."""

    def __init__(self, links: Mapping[str, int], feeds: Iterable[Feed], now: float) -> None:
        self._links = links
        self._paired = [feed for feed in feeds if feed.pair]
        self._pairs: dict[IPv4Address, list[tuple[int, int, PairRecord]]] = {}  # port, unit; by the group of side A
        self._now = now
        self._found: dict[bytes, dict[int, bytes]] = {}  # the values, by the unit

    def add(self, elements: Iterable[tuple[bytes, bytes]], group: IPv4Address | None) -> None:
        """Take elements of the map, of one group or of all."""
        for key, value in elements:
            if group is None or key[8:12] == group.packed:
                self._found.setdefault(key[:-2], {})[int.from_bytes(key[-2:], "little")] = value

    def add_pairs(self, elements: Iterable[tuple[bytes, bytes]]) -> None:
        """Take elements of the map of pairs."""
        for key, value in elements:
            group, port, unit = decode_pair_key(key)
            self._pairs.setdefault(group, []).append((port, unit, decode_pair(value)))

    def pairs(self, group: IPv4Address | None) -> Iterator[PairCount]:
        """The pairs of which a group is a side, or all; also those of which nothing was compared yet."""
        for feed in self._paired:
            a, b = feed.sides
            if group not in (None, a.group, b.group):
                continue
            found = [one for one in self._pairs.get(a.group, ()) if a.port in (None, one[0])]
            if not found:
                yield PairCount(feed=feed.label, a=str(a), b=str(b))
            for port, unit, record in sorted(found, key=lambda one: one[:2]):
                on_a, on_b = (str(GroupPort(one.group, one.port or port)) for one in (a, b))
                yield pair_count(feed.label, on_a, on_b, unit, record)

    def __call__(self, counts: Iterable[StreamCount]) -> Iterator[StreamCount]:
        """The streams with what was measured of them."""
        for one in counts:
            index = self._links.get(one.tunnel)
            if index is None:
                yield one
                continue
            ends = IPv4Address(one.source).packed, IPv4Address(one.group).packed
            units = self._of(index, *ends, one.port)
            fragments = sum(decode(value).packets for value in self._of(index, *ends, _FRAGMENTS).values())
            measured = tuple(measure(decode(units[unit]), unit, self._now) for unit in sorted(units))
            yield replace(one, measured=measured, fragments=fragments)

    def _of(self, index: int, source: bytes, group: bytes, port: int) -> Mapping[int, bytes]:
        return self._found.get(KEY.pack(index, source, group, port, 0)[:-2], {})


def numbered(
    elements: Iterable[tuple[bytes, bytes]], links: Mapping[int, str]
) -> Iterator[tuple[tuple[str, bytes, bytes, int], int, int]]:
    """How many sequence numbers of a stream (tunnel, source, group, port) came, and how many did not: for each unit."""
    for key, value in elements:
        begun, seen, lost = _NUMBERED.unpack_from(value)
        index, source, group, port, _ = KEY.unpack(key)
        if begun and index in links:
            yield (links[index], source, group, port), seen, lost


def pair_count(name: str, a: str, b: str, unit: int, record: PairRecord) -> PairCount:
    """What is known of a pair, or of one of its units."""
    lost, awaited = record.lost, record.open
    return PairCount(
        feed=name,
        a=a,
        b=b,
        unit=unit,
        compared=record.compared,
        not_compared=record.uncompared,
        restarts=record.restarts,
        lost_a=lost[0],
        lost_b=lost[1],
        lost_both=lost[2],
        awaited_a=awaited[0],
        awaited_b=awaited[1],
        awaited_both=awaited[2],
        a_first=record.a_first,
        b_first=record.b_first,
    )


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
