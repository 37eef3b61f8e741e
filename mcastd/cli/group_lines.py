"""One group in words, for ``mcastd status --group``: who wants it, who receives it, and what arrives."""

from collections.abc import Iterator

from mcastd.cli import path_lines
from mcastd.cli.layout import Block, Cell, Column, Row, Style, Table, Text
from mcastd.cli.units import count, duration, rate, size
from mcastd.group_status import EntryStatus, GroupReport, OriginStatus, ReceiverStatus
from mcastd.listed import with_names
from mcastd.status import GroupStatus, StreamStatus

_BY: dict[str, str] = {
    "file": "the file",
    "command": "mcastd join",
    "application": "applications on this host",
}
_ENTRY = (
    Column("from"),
    Column("on"),
    Column("to"),
    Column("packets", right=True),
    Column("bytes", right=True, rank=1),
    Column("last", right=True),
    Column("but"),
)
_STREAM = (
    Column("from"),
    Column("port", right=True),
    Column("on"),
    Column("state"),
    Column("packets", right=True),
    Column("rate", right=True),
    Column("last", right=True),
    Column("feed"),
)


def group_lines(report: GroupReport) -> Iterator[Block]:
    """The report, line by line."""
    yield Text(f"group {with_names(report.group, report.feeds)}", "title")
    yield Text("wanted by:" if report.origins else "wanted by nothing", "title")
    yield from (Text(_origin(one), indent=2) for one in report.origins)
    yield Text("received by:" if report.receivers else "received by nothing that is known", "title")
    yield from (Text(_receiver(one), indent=2) for one in report.receivers)
    yield from path_lines.lines(report.paths)
    yield Text("joined:" if report.joins else "joined nowhere", "title")
    yield from (Text(_join(one), _style(one), indent=2) for one in report.joins)
    if report.forwarded:
        yield Text("forwarded:", "title")
        yield Table(_ENTRY, tuple(map(_entry, report.forwarded)), indent=2)
    if report.streams_problem is not None:
        yield Text(f"what arrives is not known: streams are not counted: {report.streams_problem}", "warn")
        return
    yield Text("arrives:" if report.streams else "nothing of it has arrived", "title")
    yield Table(_STREAM, tuple(map(_stream, report.streams)), indent=2)


def _style(join: GroupStatus) -> Style:
    return "bad" if join.problem else "warn" if join.arrival in ("silent", "never_arrived") else "plain"


def _origin(one: OriginStatus) -> str:
    excluded = f", except from {', '.join(one.excluded)}" if one.excluded else ""
    by = _BY.get(one.origin, f"receivers behind {one.origin}")
    return f"{by} for {duration(one.age)}: from {one.source or 'any source'}{excluded}, on {one.tunnel}"


def _receiver(one: ReceiverStatus) -> str:
    age = "" if one.age is None else f" for {duration(one.age)}"
    match one.kind:
        case "application":
            return f"applications on this host, on {one.interface}{age}"
        case "host":
            return f"host {one.address} behind {one.interface}{age}"
        case "hosts":
            return f"hosts behind {one.interface}{age}"
        case "members":
            return f"machines behind {one.interface}, by members_file{age}"
    return f"{one.interface}: static{age}"


def _join(one: GroupStatus) -> str:
    rp = f", RP {one.rp}" if one.rp else ""
    upstream = f", to {one.upstream}" if one.upstream else ""
    age = "" if one.uptime is None else f" for {duration(one.uptime)}"
    arrival = "" if one.arrival is None else f", {one.arrival.replace('_', ' ')}"
    problem = "" if one.problem is None else f": {one.problem}"
    packets = "" if one.forwarded is None else f" ({count(one.forwarded)} packets)"
    to = f", forwarded to {', '.join(one.forwarded_to)}{packets}" if one.forwarded_to else ""
    return f"({one.source or '*'}, {one.group}) on {one.tunnel}: {one.state}{age}{rp}{upstream}{arrival}{to}{problem}"


def _entry(one: EntryStatus) -> Row:
    wrong = f"{count(one.wrong_interface)} came from elsewhere, dropped" if one.wrong_interface else ""
    last = "" if one.last_age is None else duration(one.last_age)
    to = ", ".join(one.to) or "no interface"
    return one.source or "any source", one.tunnel, to, count(one.packets), size(one.bytes), last, Cell(wrong, "warn")


def _stream(one: StreamStatus) -> Row:
    state = Cell(one.state.replace("_", " "), "good" if one.state == "arriving" else "warn")
    each = "" if one.rate is None else rate(one.rate)
    return (
        one.source,
        str(one.port),
        one.tunnel,
        state,
        count(one.packets),
        each,
        duration(one.last_age),
        one.feed or "",
    )
