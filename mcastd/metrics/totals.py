"""Sums over the streams of each tunnel that only grow, whatever streams come and go. Pure.

A stream leaves the kernel's set some days after its last packet, and is counted from 0 again after a reset. In a plain
sum that would be a counter that falls, which Prometheus takes for one that began again at 0.
"""

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import add, attrgetter, sub
from typing import Final

from msgspec import Struct

from mcastd.stream_status import StreamCount

_FRAGMENTS: Final = 3  # their place among the fields; they and those after them are measured, and may be unknown
_GAPS: Final = 10  # those before the histogram
_NUMBERS: Final = attrgetter("seen", "missing", "duplicate", "late", "resets")
_SHOWN: Final = 25  # buckets; the last one of these ends at 17 s
_FIRST: Final = 1.024e-6  # seconds; the end of the first one, each next one ends at twice as much

Key = tuple[str, str, str, int]


class TunnelTotals(Struct, frozen=True):
    """The sums of one tunnel; what is measured is None until something was.

    ``gaps`` is by the end of the bucket, in seconds, and has all that are shorter.
    """

    gaps: dict[str, int] = {}
    packets: int = 0
    bytes: int = 0
    dropped: int = 0
    fragments: int | None = None
    unnumbered: int | None = None
    seen: int | None = None
    missing: int | None = None
    duplicate: int | None = None
    late: int | None = None
    resets: int | None = None


NOTHING: Final = TunnelTotals()


class Totals:
    """The sums, and of each stream what is in them."""

    def __init__(self) -> None:
        # What each was known by, and what was counted and measured of it, as it was taken last.
        self._streams: dict[Key, tuple[tuple[int, ...], array[int]]] = {}
        self._fragments: dict[tuple[str, str, str], int] = {}  # which a source has in a group, for all ports together
        self._met: set[Key] = set()  # the streams that were taken since the begin
        self._tunnels: dict[str, list[int]] = {}  # the sums, by the tunnel's name

    def begin(self) -> None:
        """All streams are taken now."""
        self._met = set()

    def add(self, one: StreamCount) -> None:
        """Take a stream."""
        key = one.tunnel, one.source, one.group, one.port
        self._met.add(key)
        # The meter is read before the counters: what it has of the last packets may be new without others.
        mark = one.packets, one.dropped, one.fragments, sum(each.packets for each in one.measured)
        before = self._streams.get(key)
        if before is not None and before[0] == mark:
            return
        now, sums = _counts(one), self._tunnels.setdefault(one.tunnel, [])
        then = [] if before is None else before[1].tolist()
        now.extend(then[len(now) :])  # what is not known for a while
        then.extend([0] * (len(now) - len(then)))
        sums.extend([0] * (len(now) - len(sums)))
        grown = list(map(sub, now, then))
        if min(grown) < 0:  # counted from 0 again
            grown = [count if more < 0 else more for count, more in zip(now, grown, strict=True)]
        if one.measured:
            known = self._fragments.get(key[:3], 0)
            grown[_FRAGMENTS] = one.fragments - known if one.fragments >= known else one.fragments
            self._fragments[key[:3]] = one.fragments
        grown.extend([0] * (len(sums) - len(grown)))
        sums[:] = map(add, sums, grown)
        self._streams[key] = mark, array("Q", now)

    def end(self) -> None:
        """All streams were taken: the others are gone."""
        if len(self._met) < len(self._streams):
            self._streams = {key: found for key, found in self._streams.items() if key in self._met}
            sources = {key[:3] for key in self._met}
            self._fragments = {key: count for key, count in self._fragments.items() if key in sources}

    def of(self, tunnel: str) -> TunnelTotals:
        """The sums of a tunnel."""
        sums = self._tunnels.get(tunnel, [])
        return TunnelTotals(_cumulative(sums[_GAPS:]), *sums[:_GAPS])


def _counts(one: StreamCount) -> list[int]:
    """All that is summed up of a stream, in the order of TunnelTotals."""
    found = [one.packets, one.bytes, one.dropped]
    if one.measured:
        found += (0, sum(each.unnumbered for each in one.measured))  # fragments are not of one stream
        numbers = [_NUMBERS(each) for each in one.numbers]
        found += _summed(numbers) if numbers else (0, 0, 0, 0, 0)
        found += _summed([each.gaps for each in one.measured])
    return found


def _summed(found: Sequence[Sequence[int]]) -> Iterable[int]:
    return found[0] if len(found) == 1 else map(sum, zip(*found, strict=True))


def _cumulative(gaps: list[int]) -> dict[str, int]:
    if not gaps:
        return {}
    found = {f"{_FIRST * 2**place:.6g}": count for place, count in enumerate(accumulate(gaps)) if place < _SHOWN}
    return {**found, "+Inf": sum(gaps)}
