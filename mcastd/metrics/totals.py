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

_COUNTED: Final = 3  # the first of the fields; those after it are measured, and may be unknown for a while
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
        self._streams: dict[Key, array[int]] = {}  # what was counted and measured of each, as it was taken last
        self._met: set[Key] = set()  # the streams that were taken since the begin
        self._tunnels: dict[str, list[int]] = {}  # the sums, by the tunnel's name

    def begin(self) -> None:
        """All streams are taken now."""
        self._met = set()

    def add(self, one: StreamCount) -> None:
        """Take a stream."""
        key = one.tunnel, one.source, one.group, one.port
        self._met.add(key)
        before = self._streams.get(key)
        if before is not None and before[0] == one.packets and (len(before) > _COUNTED or not one.measured):
            return
        now, sums = _counts(one), self._tunnels.setdefault(one.tunnel, [])
        then = [] if before is None else before.tolist()
        now.extend(then[len(now) :])  # what is not known for a while
        then.extend([0] * (len(now) - len(then)))
        sums.extend([0] * (len(now) - len(sums)))
        grown = list(map(sub, now, then))
        if min(grown) < 0:  # counted from 0 again
            grown = [count if more < 0 else more for count, more in zip(now, grown, strict=True)]
        grown.extend([0] * (len(sums) - len(grown)))
        sums[:] = map(add, sums, grown)
        self._streams[key] = array("Q", now)

    def end(self) -> None:
        """All streams were taken: the others are gone."""
        if len(self._met) < len(self._streams):
            self._streams = {key: found for key, found in self._streams.items() if key in self._met}

    def of(self, tunnel: str) -> TunnelTotals:
        """The sums of a tunnel."""
        sums = self._tunnels.get(tunnel, [])
        return TunnelTotals(_cumulative(sums[_GAPS:]), *sums[:_GAPS])


def _counts(one: StreamCount) -> list[int]:
    """All that is summed up of a stream, in the order of TunnelTotals."""
    found = [one.packets, one.bytes, one.dropped]
    if one.measured:
        found += (one.fragments, sum(each.unnumbered for each in one.measured))
        numbers = [_NUMBERS(each.numbers) for each in one.measured if each.numbers is not None]
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
