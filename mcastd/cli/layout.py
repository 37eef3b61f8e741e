"""What a command shows, as lines of words with their styles: tables whose columns are aligned, and text. Pure.

A command makes blocks, and ``lines`` lays them out: for a pipe or a file as wide as they are, or as wide as a terminal.
There the columns of a table with the highest rank are left out first, and what is in its last column goes on below
itself. All text may come from others: what cannot be printed is shown as ``?``.

The tables are not rich's, which takes 0.1 ms for each cell: of 10,000 streams it would make a table in 20 seconds.
"""

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap
from typing import Literal
from unicodedata import combining, east_asian_width

from msgspec import Struct

Style = Literal["plain", "good", "warn", "bad", "dim", "title"]

_GAP = 2  # columns of the terminal between two of a table
_LEAST = 24  # columns of the terminal for what goes on below itself
_HANGING = 2  # how far a text's further lines are indented


class Cell(Struct, frozen=True):
    """Words of one style."""

    text: str
    style: Style = "plain"


Line = tuple[Cell, ...]


class Column(Struct, frozen=True):
    """A column of a table. Of a rank above 0 it may be left out, the highest first, where the terminal is narrow."""

    title: str
    right: bool = False
    rank: int = 0


class Text(Struct, frozen=True):
    """A line of text, which goes on below itself on a terminal that is narrower."""

    text: str = ""
    style: Style = "plain"
    indent: int = 0


Row = tuple[Cell | str, ...]


class Table(Struct, frozen=True):
    """Rows under the titles of the columns. A text among the rows stands as it is, between them.

    A column without anything in it is left out.
    """

    columns: tuple[Column, ...]
    rows: Sequence[Row | Text]
    indent: int = 0


Block = Text | Table


def lines(blocks: Iterable[Block], width: int | None = None) -> Iterator[Line]:
    """The blocks, line by line, without blanks at their ends. ``width`` is that of a terminal."""
    for block in blocks:
        yield from _text(block, width) if isinstance(block, Text) else _table(block, width)


def plain(blocks: Iterable[Block], width: int | None = None) -> str:
    """The same without styles."""
    return "".join(f"{''.join(cell.text for cell in line)}\n" for line in lines(blocks, width))


def wide(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    return 0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1


def printable(text: str) -> str:
    """A text without what could control a terminal."""
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)


def _text(block: Text, width: int | None) -> Iterator[Line]:
    text = printable(block.text)
    first = " " * block.indent
    if width is None or wide(text) + block.indent <= width:
        yield (Cell(f"{first}{text}".rstrip(), block.style),)
        return
    room, further = max(_LEAST, width), first + " " * _HANGING
    for line in wrap(text, room, initial_indent=first, subsequent_indent=further, break_on_hyphens=False):
        yield (Cell(line, block.style),)


def _table(block: Table, width: int | None) -> Iterator[Line]:
    rows = [one if isinstance(one, Text) else tuple(map(_cell, one)) for one in block.rows]
    cells = [one for one in rows if not isinstance(one, Text)]
    widths = [max((wide(cell.text) for cell in column), default=0) for column in zip(*cells, strict=True)]
    kept = [index for index, most in enumerate(widths) if most]
    widths = [max(most, len(column.title)) for most, column in zip(widths, block.columns, strict=False)]
    if width is not None:
        kept = _fitting(block, widths, kept, width)
    if kept:
        yield from _row(block, [Cell(block.columns[index].title, "title") for index in kept], widths, kept, None)
    for row in rows:
        if isinstance(row, Text):
            yield from _text(row, width)
        elif kept:
            yield from _row(block, [row[index] for index in kept], widths, kept, width)


def _cell(cell: Cell | str) -> Cell:
    if isinstance(cell, str):
        return Cell(printable(cell))
    return cell if cell.text.isprintable() else Cell(printable(cell.text), cell.style)


def _fitting(block: Table, widths: list[int], kept: list[int], width: int) -> list[int]:
    """The columns that are shown: the last one needs no more than its least width."""
    kept = list(kept)
    while (
        block.indent + sum(min(widths[one], _LEAST) if one == kept[-1] else widths[one] + _GAP for one in kept) > width
    ):
        worst = max(kept, key=lambda one: (block.columns[one].rank, one))
        if not block.columns[worst].rank:
            break
        kept.remove(worst)
    return kept


def _row(block: Table, cells: list[Cell], widths: list[int], kept: list[int], width: int | None) -> Iterator[Line]:
    line: list[Cell] = [Cell(" " * block.indent)] if block.indent else []
    taken = block.indent
    for cell, index in zip(cells[:-1], kept[:-1], strict=True):
        blanks = " " * (widths[index] - wide(cell.text))
        line.append(Cell(f"{blanks}{cell.text}" if block.columns[index].right else f"{cell.text}{blanks}", cell.style))
        line.append(Cell(" " * _GAP))
        taken += widths[index] + _GAP
    last, index = cells[-1], kept[-1]
    if block.columns[index].right:
        last = Cell(last.text.rjust(widths[index]), last.style)
    if width is None or taken + wide(last.text) <= width or width - taken < _LEAST:
        yield _stripped((*line, last))
        return
    first, *further = wrap(last.text, width - taken, break_on_hyphens=False) or [""]
    yield _stripped((*line, Cell(first, last.style)))
    yield from ((Cell(" " * taken), Cell(one, last.style)) for one in further)


def _stripped(line: Line) -> Line:
    """Without blanks at its end."""
    while line:
        text = line[-1].text.rstrip()
        if text:
            return (*line[:-1], Cell(text, line[-1].style))
        line = line[:-1]
    return line
