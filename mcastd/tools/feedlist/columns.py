"""A table of addresses, as CSV: which column is what, by its heading. Pure."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from typing import Final, NamedTuple

from mcastd.config.feed_formats import FORMATS
from mcastd.config.report import shown
from mcastd.tools.feedlist.entry import Entry, Source

_DELIMITERS: Final = ",;\t|"
_HEADINGS: Final[Mapping[str, str]] = {
    heading: kind
    for kind, headings in {
        "name": "name,feed name,channel name,stream name,channel,label,description,stream,service,unit,channel id,"
        "product,product name",
        "group": "group,multicast group,multicast address,multicast ip,multicast,group address,group ip,mcast,mcast ip,"
        "mcast group,mcast address,address,ip,ip address,destination,destination ip,destination address,dest ip,dst ip",
        "port": "port,udp port,multicast port,mcast port,destination port,dest port,dst port,group port",
        "source": "source,source ip,source address,sources,src,src ip,src address,sender,host ip,source ips",
        "side": "side,line,leg,a b,ab,feed side,feed line",
        "feed": "feed",
        "sequence": "sequence,format,sequence format,sequence number,numbering",
        "protocol": "protocol,transport",
    }.items()
    for heading in headings.split(",")
}
_NOT_OF_A_HEADING: Final = frozenset(("feed", "side", "line"))
_NOTHING: Final = frozenset(("", "-", "n/a", "none", "tbd"))
_ALLOWED: Final = (
    "XML of CME or MOEX, or a table whose first line has headings, such as name,group,port,source,side,sequence"
)


class _Column(NamedTuple):
    """What a column has, and of which side; of both if that is empty."""

    kind: str
    side: str = ""


def entries(text: str, source: Source) -> Iterator[Entry]:
    """What a table has. Raises ConfigError for one without headings, or with nonsense in it."""
    lines = text.splitlines(keepends=True)
    head = next((number for number, line in enumerate(lines) if line.strip() and not line.startswith("#")), 0)
    start = lines[head] if lines else ""
    delimiter = max(_DELIMITERS, key=lambda one: sum(column is not None for column in _columns(start, one)))
    columns = _columns(start, delimiter)
    if not any(column is not None and column.kind == "group" for column in columns):
        raise source.refused(head + 1, f"it has no column with groups; allowed: {_ALLOWED}")
    reader = csv.reader(StringIO("".join(lines[head + 1 :])), delimiter=delimiter, skipinitialspace=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        rows += ((head + 1 + reader.line_num, list(map(_cell, row))) for row in reader)
    except csv.Error as error:
        raise source.refused(head + 1 + reader.line_num, f"not a table: {error}; allowed: {_ALLOWED}") from None
    if rows and not text.endswith(("\n", "\r")):
        _is_whole(*rows[-1], len(columns), source)
    columns = _with_feed(columns, rows)
    for line, row in rows:
        if any(row) and not row[0].startswith("#"):
            yield from _row(columns, row, line, source)


def _is_whole(line: int, row: Sequence[str], columns: int, source: Source) -> None:
    """A file that is cut off ends within a line, perhaps within an address."""
    if len(row) < columns:
        text = f"the file ends after {len(row)} of {columns} columns"
        raise source.refused(line, f"{text}; allowed: a whole file, with a newline at its end")
    source.note(line, "", "no newline is at its end: is the file whole?")


def _row(columns: Sequence[_Column | None], row: Sequence[str], line: int, source: Source) -> Iterator[Entry]:
    def cell(kind: str, side: str = "") -> str:
        """The first one that has something."""
        return next((text for column, text in zip(columns, row, strict=False) if column == (kind, side) and text), "")

    sides = dict.fromkeys(column.side for column in columns if column is not None and column.kind == "group")
    named = cell("name") or cell("feed")
    protocol = cell("protocol")
    for side in sides:
        address, _, inline_port = cell("group", side).partition(":")
        what = named or address
        if protocol.upper().startswith("TCP"):
            source.note(line, what, f"it is {protocol}, no multicast")
            continue
        group = source.group(address.strip(), line, what)
        if group is None:
            continue
        port = source.port(cell("port", side) or cell("port") or inline_port.strip(), line, what)
        senders = re.split(r"[\s;,/|]+", cell("source", side) or cell("source"))
        yield Entry(
            name=what,
            side=side or cell("side").upper(),
            group=group,
            port=port,
            sources=source.senders(senders, line, what),
            sequence=_sequence(cell("sequence"), line, what, source),
            about="",
            line=line,
        )


def _cell(text: str) -> str:
    return "" if text.strip().lower() in _NOTHING else text.strip()


def _sequence(text: str, line: int, what: str, source: Source) -> str | None:
    name = re.sub(r"[\s_]+", "-", text.lower())
    if not name:
        return None
    if name not in FORMATS:
        raise source.refused(line, f"{shown(text)} is no known format; allowed: {', '.join(FORMATS)}", what)
    return name


def _columns(line: str, delimiter: str) -> list[_Column | None]:
    try:
        cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return []
    return list(map(_column, cells))


def _column(heading: str) -> _Column | None:
    words = re.findall(r"[a-z0-9]+", heading.lower())
    if kind := _HEADINGS.get(" ".join(words)):
        return _Column(kind)
    sides = [word for word in words if word in ("a", "b")]
    rest = " ".join(word for word in words if word not in sides and word not in _NOT_OF_A_HEADING)
    kind = _HEADINGS.get(rest or "group")
    return _Column(kind, sides[0].upper()) if len(sides) == 1 and kind in ("group", "port", "source") else None


def _with_feed(columns: Sequence[_Column | None], rows: Iterable[tuple[int, list[str]]]) -> list[_Column | None]:
    """A column "feed" has sides, where it has nothing else."""
    found = list(columns)
    for index, column in enumerate(columns):
        if column == ("feed", ""):
            cells = {row[index].upper() for _, row in rows if index < len(row)}
            found[index] = _Column("side" if cells <= {"A", "B", ""} else "feed")
    return found
