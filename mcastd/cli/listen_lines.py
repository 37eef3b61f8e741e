"""What an application gets, for people: a line each second, and a summary."""

from collections.abc import Iterator

from mcastd.cli import stream_pairs
from mcastd.cli.layout import Text
from mcastd.cli.stream_measures import lines_of
from mcastd.cli.units import bits, short
from mcastd.stream_status import StreamNumbers
from mcastd.tools.listen.listener import missing
from mcastd.tools.listen.report import HeardSide, HeardSource, ListenReport

_SHOWN_BYTES = 8  # of the first ones, in a line
_SHOWN_SOURCES = 2  # in a line
_SHOWN_PORTS = 5


def live(before: ListenReport, now: ListenReport) -> str:
    """What came since ``before``, and what was lost in all."""
    period = max(1e-6, now.seconds - before.seconds)
    found = [f"{now.seconds:.0f}s"]
    for name, earlier, side in zip(_names(now), before.sides, now.sides, strict=True):
        packets, total = side.packets - earlier.packets, side.bytes - earlier.bytes
        words = f"{packets / period:,.0f}/s", bits(8 * total / period), _lost(side)
        found.append("  ".join(filter(None, (name, *words))))
    if now.pairs:
        found.append(f"lost on both {sum(one.lost_both + one.awaited_both for one in now.pairs):,}")
    if len(now.sides) == 1:
        found += _senders(now.sides[0])
    return "  ".join(found)


def summary(report: ListenReport) -> Iterator[Text]:
    """All of it."""
    for name, side in zip(_names(report), report.sides, strict=True):
        for line in _side(name, side, report.seconds):
            yield Text(line.lstrip(), indent=len(line) - len(line.lstrip()))
    yield from stream_pairs.lines(report.pairs, is_one=True)
    yield Text(_verdict(report))


def _names(report: ListenReport) -> tuple[str, ...]:
    return ("A", "B") if len(report.sides) > 1 else ("",)


def _numbers(side: HeardSide) -> list[StreamNumbers]:
    return [each.numbers for one in side.sources for each in one.measured if each.numbers is not None]


def _lost(side: HeardSide) -> str:
    found = [f"{side.packets:,} packets"]
    if numbers := _numbers(side):
        duplicate, late = sum(one.duplicate for one in numbers), sum(one.late for one in numbers)
        found.append(f"{missing(side):,} missing, {duplicate:,} duplicate, {late:,} late")
    if side.dropped:
        found.append(f"{side.dropped:,} dropped by the socket")
    return ", ".join(found)


def _senders(side: HeardSide) -> Iterator[str]:
    if side.sources:
        yield f"jitter {short(max(one.jitter for one in side.sources))}"
    for one in side.sources[:_SHOWN_SOURCES]:
        yield f"{one.source} {one.first_bytes[: 3 * _SHOWN_BYTES].rstrip()}".rstrip()
    if (more := len(side.sources) - _SHOWN_SOURCES) > 0:
        yield f"and {more} more"


def _side(name: str, side: HeardSide, seconds: float) -> Iterator[str]:
    where = f" on {side.interface}" if side.interface else ""
    source = f" from {side.source}" if side.source else ""
    feed = f" ({side.feed})" if side.feed else ""
    count = f"{side.packets:,} packets in {seconds:.1f}s, {side.rate:,.0f}/s, {bits(side.bit_rate)}"
    yield f"{name and f'{name} '}{side.group}:{side.port}{source}{where}{feed}: {count}"
    yield f"  dropped by the socket: {side.dropped:,} (receive buffer {side.receive_buffer:,} bytes)"
    for one in side.sources:
        yield from _source(one)
    if side.others:
        yield f"  from further sources: {side.others:,} packets"
    for each in side.arrived:
        lost = "" if each.missing is None else f", {each.missing:,} missing"
        yield f"  mcastd counted meanwhile on {each.tunnel} from {each.source}: {each.packets:,} packets{lost}"


def _source(one: HeardSource) -> Iterator[str]:
    yield f"  from {one.source} port {one.port}: {one.packets:,} packets, jitter {short(one.jitter)}"
    yield from (f"  {line}" for line in lines_of(one.measured))
    yield f"    the last one begins with {one.first_bytes or 'nothing, it is empty'}"


def _verdict(report: ListenReport) -> str:
    silent = [f"{one.group}:{one.port}{_other_ports(one)}" for one in report.sides if not one.packets]
    if silent:
        return f"nothing has arrived: {', '.join(silent)}"
    if report.lost:
        dropped = sum(one.dropped for one in report.sides)
        return f"packets were lost{f'; {dropped:,} had no room in the buffer of this socket' if dropped else ''}"
    if any(one.compared for one in report.pairs):
        return "nothing is lost on both sides"
    is_numbered = any(map(_numbers, report.sides))
    return "nothing is lost" if is_numbered else "the socket dropped nothing; without --sequence no other loss is seen"


def _other_ports(side: HeardSide) -> str:
    ports = ", ".join(map(str, side.other_ports[:_SHOWN_PORTS]))
    return f" (mcastd has counted port {ports} of this group)" if ports else ""
