"""The table of streams, for people: what is wrong first. Pure."""

from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address
from typing import Final

from msgspec import UNSET

from mcastd.cli import stream_measures
from mcastd.cli.layout import Cell, Column, Row, Style, Table, Text
from mcastd.cli.stream_history import MINUTE, spark
from mcastd.cli.units import bits, count, duration, rate, size
from mcastd.stream_status import StreamCount

# On a narrow terminal the columns of the highest rank give way first.
_COLUMNS: Final = (
    Column("group"),
    Column("port", right=True),
    Column("source", rank=4),
    Column("tunnel", rank=5),
    Column("packets", right=True, rank=8),
    Column("bytes", right=True, rank=9),
    Column("rate", right=True),
    Column("bits", right=True, rank=3),
    Column("missing", right=True),
    Column("dropped", right=True, rank=1),
    Column("last", right=True, rank=2),
    Column("for", right=True, rank=10),
    Column("longest", right=True, rank=6),
    Column("in 10 ms", right=True, rank=7),
    Column("minute"),
    Column(""),
)


def order(one: StreamCount) -> tuple[IPv4Address, int, IPv4Address, str]:
    """By group, port, source and tunnel."""
    return IPv4Address(one.group), one.port, IPv4Address(one.source), one.tunnel


def summary(streams: Iterable[StreamCount]) -> Text:
    """How many are as they should be."""
    found = [_rank(one) for one in streams]
    words = ("with losses", "silent", "", "not wanted")
    wrong = [f"{count(found.count(rank))} {word}" for rank, word in enumerate(words) if word and rank in found]
    style: Style = "bad" if 0 in found else "warn" if 1 in found else "plain"
    number = f"{count(len(found))} stream{'' if len(found) == 1 else 's'}"
    return Text(": ".join(filter(None, (number, ", ".join(wrong)))), style)


def table(streams: Iterable[StreamCount], below: Callable[[StreamCount], Iterable[Text]]) -> Table:
    """A row for each: those that lose packets, those that are silent, the others, and then what nothing wants.

    The last minute has a column where it is all that is known second by second.
    """
    return Table(_COLUMNS, tuple(_rows(sorted(streams, key=lambda one: (_rank(one), order(one))), below)))


def _rows(streams: Iterable[StreamCount], below: Callable[[StreamCount], Iterable[Text]]) -> Iterator[Row | Text]:
    for one in streams:
        yield _row(one)
        yield from below(one)


def _rank(one: StreamCount) -> int:
    if not one.wanted:
        return 3
    if one.dropped or any(each.missing for each in one.numbers):
        return 0
    return 1 if one.state == "silent" else 2


def _row(one: StreamCount) -> Row:
    longest, burst, missing = stream_measures.columns(one)
    style: Style = ("bad", "warn", "plain", "dim")[_rank(one)]
    has_missed = any(each.missing for each in one.numbers)
    marks = "silent" if one.state == "silent" else "", "" if one.wanted else "not wanted", one.feed
    return (
        Cell(one.group, style),
        str(one.port),
        one.source,
        one.tunnel,
        count(one.packets),
        size(one.bytes),
        "" if one.rate is None else rate(one.rate),
        "" if one.rate is None or not one.packets else bits(one.rate * 8 * one.bytes / one.packets),
        Cell(missing, "bad" if has_missed else "plain"),  # what is only awaited may come late
        Cell(count(one.dropped) if one.dropped else "", "bad"),
        duration(one.last_age),
        "" if one.age is None else duration(one.age),
        longest,
        burst,
        "" if one.history is UNSET or len(one.history.packets) > MINUTE else spark(one.history.packets),
        Cell(", ".join(filter(None, marks)), style),
    )
