"""Collects errors and notes on a file, each with its line and key."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from mcastd.config.line_numbers import KeyPath, LineNumbers
from mcastd.errors import ConfigProblem

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN: Final = 60
_LONGEST_NUMBER: Final = 128  # bits


def dotted(path: KeyPath) -> str:
    """A key path as text: ``groups[2].sources[0]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE.fullmatch(part) else json.dumps(part))
    return text


def shown(value: object) -> str:
    """A value from the file, on one line and not too long."""
    if isinstance(value, int) and value.bit_length() > _LONGEST_NUMBER:
        return f"a number of {value.bit_length()} bits"  # Python limits the conversion of long integers
    text = json.dumps(value, ensure_ascii=not value.isprintable()) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


class Place(msgspec.Struct, frozen=True):
    """Where a table is written: its path in its file. ``value``: that of its key of this name, if not below ``path``.

    ``is_range``: other tables are written there as well, of which the same has not to be reported again.
    """

    file: Path
    lines: LineNumbers
    path: KeyPath
    value: KeyPath = ()
    is_range: bool = False

    def of_range(self, value: KeyPath) -> "Place":
        """The place of one table of several that are written here, by an element of a value."""
        return Place(self.file, self.lines, self.path, value, is_range=True)

    def at(self, key: KeyPath) -> "Place":
        """The place of a key below the table."""
        below = self.value if self.value[:1] == key[:1] else key
        return Place(self.file, self.lines, (*self.path, *below), is_range=self.is_range)

    @property
    def line(self) -> int:
        """Its line."""
        return self.lines.line(self.path)


class Report:
    """The problems and notes of one file and of those that it includes, each by the path of its key."""

    def __init__(self, file: Path, lines: LineNumbers) -> None:
        self.file = file
        self.folder = file.absolute().parent  # what relative paths are relative to
        self._lines = lines
        self._places: dict[KeyPath, Place] = {}  # of tables that are written elsewhere than their paths say
        self._said: set[tuple[bool, ConfigProblem]] = set()  # what was reported or noted; of ranges without the text
        self._inherited: set[KeyPath] = set()  # keys of peers with the value of another peer, where it is reported
        self.problems: list[ConfigProblem] = []
        self.notes: list[ConfigProblem] = []
        self._wrong: set[KeyPath] = set()  # keys with values that are wrong by themselves
        self._arrays_with_wrong: set[KeyPath] = set()  # and the arrays that such values are in

    def wrong(self, path: KeyPath, text: str) -> None:
        """Report a value that cannot be used; rules that involve it are not reported later."""
        if not self._is_inherited(path):
            self._report(self.problems, path, text)
        self._wrong.add(path)
        self._arrays_with_wrong.update(path[:end] for end, part in enumerate(path) if isinstance(part, int))

    def refuse(self, path: KeyPath, text: str, *involved: KeyPath) -> None:
        """Report values that are not allowed together, unless one of those involved is wrong by itself."""
        if not self._is_inherited(path, *involved) and not any(self.is_wrong(one) for one in (path, *involved)):
            self._report(self.problems, path, text)

    def note(self, path: KeyPath, text: str, *involved: KeyPath) -> None:
        """Report what is not an error but may be a mistake, unless a value involved is wrong by itself."""
        if not self._is_inherited(path, *involved) and not any(self.is_wrong(one) for one in (path, *involved)):
            self._report(self.notes, path, text)

    def is_wrong(self, path: KeyPath) -> bool:
        """Whether the value at a path, an element of it, or a table or array that contains it, is wrong by itself."""
        return path in self._arrays_with_wrong or any(path[:end] in self._wrong for end in range(1, len(path) + 1))

    def inherit(self, *paths: KeyPath) -> None:
        """Of these keys of a peer nothing is reported: what is wrong is said where their values are written."""
        self._inherited.update(paths)

    def _is_inherited(self, *paths: KeyPath) -> bool:
        return all(path[:3] in self._inherited for path in paths)

    def table(self, *path: str | int) -> "Table":
        """The table at a path, for rules about its keys."""
        return Table(self, path)

    def moved(self, array: str, places: Mapping[int, Place]) -> None:
        """Where tables of an array are written, by their index, which they do not have in their file."""
        self._places.update(((array, index), place) for index, place in places.items())

    @property
    def included(self) -> frozenset[Path]:
        """The files that it includes, as far as they have tables."""
        return frozenset(place.file for place in self._places.values()) - {self.file}

    def place(self, path: KeyPath) -> Place:
        """Where a key is written."""
        moved = self._places.get(path[:2])
        return Place(self.file, self._lines, path) if moved is None else moved.at(path[2:])

    def line(self, path: KeyPath, seen_from: KeyPath = ()) -> str:
        """The line of a key in words, with its file where that is not the one of ``seen_from``."""
        place = self.place(path)
        return f"line {place.line}" if place.file == self.place(seen_from).file else f"{place.file}:{place.line}"

    def wrong_at(self, place: Place, text: str) -> None:
        """Report what is wrong at a place of an included file."""
        self.problems.append(ConfigProblem(str(place.file), place.line, dotted(place.path), text))

    def _report(self, found: list[ConfigProblem], path: KeyPath, text: str) -> None:
        place = self.place(path)
        problem = ConfigProblem(str(place.file), place.line, dotted(place.path), text)
        said = found is self.problems, msgspec.structs.replace(problem, text="") if place.is_range else problem
        if said not in self._said:
            self._said.add(said)
            found.append(problem)


class Table(msgspec.Struct, frozen=True):
    """One table of the file. A key is its name, or a path below the table; ``()`` is the table itself."""

    report: Report
    path: KeyPath

    def __getitem__(self, key: str | KeyPath) -> KeyPath:
        """The path of a key."""
        return (*self.path, *((key,) if isinstance(key, str) else key))

    def keys(self, *names: str) -> list[KeyPath]:
        """The paths of several keys."""
        return [self[name] for name in names]

    def refuse(self, key: str | KeyPath, text: str, *involved: str | KeyPath) -> None:
        """``Report.refuse`` for a key; ``involved`` are names of keys of this table and paths of others."""
        self.report.refuse(self[key], text, *(self[one] if isinstance(one, str) else one for one in involved))

    def note(self, key: str | KeyPath, text: str, *involved: str | KeyPath) -> None:
        """``Report.note`` for a key, with the same ``involved``."""
        self.report.note(self[key], text, *(self[one] if isinstance(one, str) else one for one in involved))
