"""What was measured of a stream, for people: columns of the table of all streams, and lines below one of them."""

from collections.abc import Iterable, Iterator

from mcastd.cli.units import count, duration, short
from mcastd.stream_status import StreamCount, StreamMeasure, StreamNumbers

_FIRST = 1.024e-6  # seconds; the end of the histogram's first bucket, each next one ends at twice as much

COLUMNS = ("longest", "in 10 ms", "missing")
"""The titles of the columns."""


def columns(one: StreamCount) -> tuple[str, str, str]:
    """The longest gap, the largest burst in 10 ms, and the missing sequence numbers, of all units together."""
    if not one.measured:
        return "", "", ""
    gaps = [each.longest_gap for each in one.measured if each.longest_gap is not None]
    return (
        short(max(gaps)) if gaps else "",
        count(max(each.burst_10ms for each in one.measured)),
        count(sum(each.missing + each.awaited for each in one.numbers)) if one.numbers else "",
    )


def lines(one: StreamCount) -> Iterator[str]:
    """Everything that was measured of one stream."""
    yield from lines_of(one.measured)
    if one.fragments:
        yield f"  {count(one.fragments)} fragments of its source and group"


def lines_of(measured: Iterable[StreamMeasure]) -> Iterator[str]:
    """What was measured, of all units."""
    for each in measured:
        if each.unit:
            yield f"  unit {each.unit}: {count(each.packets)} packets"
        if each.longest_gap is not None and each.longest_gap_age is not None:
            yield f"  longest gap {short(each.longest_gap)}, {duration(each.longest_gap_age)} ago; {_gaps(each)}"
        yield f"  largest burst: {count(each.burst_1ms)} packets in 1 ms, {count(each.burst_10ms)} in 10 ms"
        if each.numbers is not None:
            yield from _numbers(each.numbers)
        if each.unnumbered:
            yield f"  {count(each.unnumbered)} packets without a sequence number"


def _numbers(found: StreamNumbers) -> Iterator[str]:
    names = "seen", "missing", "awaited", "duplicate", "late", "resets"
    yield f"  sequence numbers: {', '.join(f'{count(getattr(found, name))} {name}' for name in names)}"
    if found.last_gap is not None and found.last_gap_age is not None:
        yield f"  last gap: {count(found.last_gap)}, {duration(found.last_gap_age)} ago"


def _gaps(one: StreamMeasure) -> str:
    """Below how long half of the gaps, and 99 of 100, were."""
    return ", ".join(f"{share:g} % below {below(one.gaps, share)}" for share in (50, 99))


def below(gaps: tuple[int, ...], share: float) -> str:
    """Below how long a share, in per cent, of a histogram is."""
    least, counted = sum(gaps) * share / 100, 0
    for bucket, number in enumerate(gaps):
        counted += number
        if counted >= least:
            return short(_FIRST * 2**bucket)
    return short(_FIRST * 2 ** len(gaps))
