"""A page of metrics, made of status and of the report of streams in steps. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, TypeVar

from msgspec import Struct

from mcastd.metrics import families, stream_families
from mcastd.metrics.family import Family, Table, head, labels, number
from mcastd.metrics.shown import Shown
from mcastd.metrics.stream_families import GROUP, JOINS, PAIR, STREAM, TUNNEL_STREAMS, Joins, TunnelStreams
from mcastd.metrics.totals import Totals
from mcastd.status import GroupStatus, Status
from mcastd.stream_status import StreamCount, StreamsReport

_STEP: Final = 100  # items that are written at once: some milliseconds
_STEPPED: Final = 1.0  # seconds by which the clock differs from what is expected, where it was set

T = TypeVar("T")


class Streams(Struct, frozen=True):
    """The report of streams, beside its streams."""

    report: StreamsReport


def _is_counted(item: Streams, _now: float) -> Iterable[tuple[str, float]]:
    return (("", item.report.problem is None),)


def _is_measured(item: Streams, _now: float) -> Iterable[tuple[str, float]]:
    return (("", item.report.not_measured is None),)


def _counting_since(item: Streams, _now: float) -> Iterable[tuple[str, float]]:
    since = item.report.counting_since
    return () if since is None else (("", datetime.fromisoformat(since).timestamp()),)


STREAMS: Final = Table(
    Streams,
    (
        Family(
            "mcastd_streams_counted", "gauge", "Whether streams are counted.", ("StreamsReport.problem",), _is_counted
        ),
        Family(
            "mcastd_streams_measured", "gauge", "Whether gaps and sequence numbers of streams are measured.",
            ("StreamsReport.not_measured",), _is_measured,
        ),
        Family(
            "mcastd_streams_start_time_seconds", "gauge", "Since when streams are counted.",
            ("StreamsReport.counting_since",), _counting_since,
        ),
    ),
)  # fmt: skip

TABLES: Final = (*families.TABLES, STREAMS, *stream_families.TABLES)
"""All metrics, in the order of a page."""


class Kept:
    """What is kept from one page to the next."""

    def __init__(self) -> None:
        self.totals = Totals()
        self._began = 0.0  # when the daemon started, in seconds since 1970

    def now(self, uptime: float, clock: float) -> float:
        """The time, by the daemon's uptime: so a time that is some seconds ago is the same on each page."""
        if abs(clock - uptime - self._began) > _STEPPED:
            self._began = clock - uptime
        return self._began + uptime


class Page:
    """One page. ``clock`` is the time at which it was read, in seconds since 1970."""

    def __init__(self, shown: Shown, kept: Kept, clock: float) -> None:
        self._shown = shown
        self._kept = kept
        self._clock = clock
        self._streams: dict[str, TunnelStreams] = {}  # by the tunnel's name
        self._lines: dict[str, list[bytes]] = {}  # the samples, by the name of the metric
        kept.totals.begin()

    def add_status(self, status: Status) -> Iterator[None]:
        """Take status, in steps; this comes first."""
        self._streams = {tunnel.name: TunnelStreams.none() for tunnel in status.tunnels}
        now = self._kept.now(status.uptime, self._clock)
        met = set[tuple[type[Struct], str]]()  # two samples with the same labels would spoil the page
        for found in _parts(families.items(status)):
            for table, known, item in found:
                if (table.of, known) not in met:
                    met.add((table.of, known))
                    self._write(table, ((known, item),), now)
            yield
        joins = {tunnel.name: Joins.none() for tunnel in status.tunnels}
        for groups in _parts(iter(status.groups)):
            for group in groups:
                if group.tunnel in joins:
                    joins[group.tunnel].add(group)
            self._write(GROUP, [(_known(group), group) for group in groups if self._shown.has_group(group)], now)
            yield
        self._write(JOINS, [(labels(tunnel=name), one) for name, one in joins.items()], now)
        yield

    def add_report(self, report: StreamsReport) -> Iterator[None]:
        """Take the report of streams, beside its streams, in steps."""
        self._write(STREAMS, [("", Streams(report))], self._clock)
        yield
        for pairs in _parts(iter(report.pairs)):
            known = [(labels(feed=one.feed, a=one.a, b=one.b, unit=str(one.unit)), one) for one in pairs]
            self._write(PAIR, known, self._clock)
            yield

    def add_streams(self, streams: Iterable[StreamCount]) -> None:
        """Take some streams."""
        chosen = list[tuple[str, StreamCount]]()
        for one in streams:
            self._kept.totals.add(one)
            if one.tunnel not in self._streams:
                self._streams[one.tunnel] = TunnelStreams.none()
            self._streams[one.tunnel].add(one)
            if self._shown.has_stream(one):
                known = labels(
                    tunnel=one.tunnel, source=one.source, group=one.group, port=str(one.port), feed=one.feed or ""
                )
                chosen.append((known, one))
        self._write(STREAM, chosen, self._clock)

    def end(self, report: StreamsReport) -> None:
        """All streams were taken; there are none in the report where they are not counted."""
        if report.counting_since is None:
            return
        self._kept.totals.end()
        for name, one in self._streams.items():
            one.totals = self._kept.totals.of(name)
        self._write(TUNNEL_STREAMS, [(labels(tunnel=name), one) for name, one in self._streams.items()], self._clock)

    def text(self, *, openmetrics: bool) -> Iterator[bytes]:
        """The page in one of the two formats, in parts."""
        for table in TABLES:
            for family in table.families:
                if lines := self._lines.get(family.name):
                    yield head(family, openmetrics=openmetrics).encode()
                    yield from lines
        if openmetrics:
            yield b"# EOF\n"

    def _write(self, table: Table, items: Sequence[tuple[str, Any]], now: float) -> None:
        for family in table.families:
            name, lines = family.sample, list[str]()
            for known, item in items:
                for more, value in family.read(item, now):
                    both = f"{known},{more}" if known and more else known or more
                    lines.append(f"{name}{{{both}}} {number(value)}\n" if both else f"{name} {number(value)}\n")
            if lines:
                self._lines.setdefault(family.name, []).append("".join(lines).encode())


def _known(group: GroupStatus) -> str:
    return labels(tunnel=group.tunnel, group=group.group, source=group.source or "", feed=", ".join(group.feeds))


def _parts(items: Iterator[T]) -> Iterator[list[T]]:
    while part := list(islice(items, _STEP)):
        yield part
