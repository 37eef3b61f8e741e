"""One group in words, for ``mcastd status --group``: who wants it, who receives it, and what arrives."""

from collections.abc import Iterator

from mcastd.cli.layout import Style, Text
from mcastd.cli.units import duration
from mcastd.group_status import EntryStatus, GroupReport, OriginStatus, ReceiverStatus
from mcastd.status import GroupStatus, StreamStatus

_BY: dict[str, str] = {
    "file": "the file",
    "command": "mcastd join",
    "application": "applications on this host",
}


def group_lines(report: GroupReport) -> Iterator[Text]:
    """The report, line by line."""
    yield Text(f"group {report.group}", "title")
    yield Text("wanted by:" if report.origins else "wanted by nothing", "title")
    yield from (Text(_origin(one), indent=2) for one in report.origins)
    yield Text("received by:" if report.receivers else "received by nothing that is known", "title")
    yield from (Text(_receiver(one), indent=2) for one in report.receivers)
    yield Text("joined:" if report.joins else "joined nowhere", "title")
    yield from (Text(_join(one), _style(one), indent=2) for one in report.joins)
    if report.forwarded:
        yield Text("forwarded:", "title")
        yield from (Text(_entry(report.group, one), indent=2) for one in report.forwarded)
    if report.streams_problem is not None:
        yield Text(f"what arrives is not known: streams are not counted: {report.streams_problem}", "warn")
        return
    yield Text("arrives:" if report.streams else "nothing of it has arrived", "title")
    yield from (Text(_stream(one), "warn" if one.state == "silent" else "plain", indent=2) for one in report.streams)


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
    return f"{one.interface}: static{age}"


def _join(one: GroupStatus) -> str:
    rp = f", RP {one.rp}" if one.rp else ""
    upstream = f", to {one.upstream}" if one.upstream else ""
    age = "" if one.uptime is None else f" for {duration(one.uptime)}"
    arrival = "" if one.arrival is None else f", {one.arrival.replace('_', ' ')}"
    problem = "" if one.problem is None else f": {one.problem}"
    count = "" if one.forwarded is None else f" ({one.forwarded} packets)"
    to = f", forwarded to {', '.join(one.forwarded_to)}{count}" if one.forwarded_to else ""
    return f"({one.source or '*'}, {one.group}) on {one.tunnel}: {one.state}{age}{rp}{upstream}{arrival}{to}{problem}"


def _entry(group: str, one: EntryStatus) -> str:
    wrong = f"; {one.wrong_interface} came from elsewhere, dropped" if one.wrong_interface else ""
    last = "" if one.last_age is None else f", the last {duration(one.last_age)} ago"
    count = f"{one.packets} packets, {one.bytes} bytes{last}{wrong}"
    return f"({one.source or '*'}, {group}) from {one.tunnel} to {', '.join(one.to) or 'no interface'}: {count}"


def _stream(one: StreamStatus) -> str:
    rate = "" if one.rate is None else f", {one.rate:.1f} packets/s"
    count = f"{one.packets} packets, the last {duration(one.last_age)} ago"
    return f"from {one.source} to port {one.port} on {one.tunnel}: {one.state}, {count}{rate}"
