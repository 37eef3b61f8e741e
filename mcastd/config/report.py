"""Collects errors and notes on a file, each with its line and key."""

import json
import re
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


class Report:
    """The problems and notes of one file, each by the path of its key."""

    def __init__(self, file: Path, lines: LineNumbers) -> None:
        self._file = file
        self.folder = file.absolute().parent  # what relative paths are relative to
        self._lines = lines
        self.problems: list[ConfigProblem] = []
        self.notes: list[ConfigProblem] = []
        self._wrong: set[KeyPath] = set()  # keys with values that are wrong by themselves
        self._arrays_with_wrong: set[KeyPath] = set()  # and the arrays that such values are in

    def wrong(self, path: KeyPath, text: str) -> None:
        """Report a value that cannot be used; rules that involve it are not reported later."""
        self.problems.append(self._problem(path, text))
        self._wrong.add(path)
        self._arrays_with_wrong.update(path[:end] for end, part in enumerate(path) if isinstance(part, int))

    def refuse(self, path: KeyPath, text: str, *involved: KeyPath) -> None:
        """Report values that are not allowed together, unless one of those involved is wrong by itself."""
        if not any(self.is_wrong(one) for one in (path, *involved)):
            self.problems.append(self._problem(path, text))

    def note(self, path: KeyPath, text: str, *involved: KeyPath) -> None:
        """Report what is not an error but may be a mistake, unless a value involved is wrong by itself."""
        if not any(self.is_wrong(one) for one in (path, *involved)):
            self.notes.append(self._problem(path, text))

    def is_wrong(self, path: KeyPath) -> bool:
        """Whether the value at a path, an element of it, or a table or array that contains it, is wrong by itself."""
        return path in self._arrays_with_wrong or any(path[:end] in self._wrong for end in range(1, len(path) + 1))

    def table(self, *path: str | int) -> "Table":
        """The table at a path, for rules about its keys."""
        return Table(self, path)

    def line(self, path: KeyPath) -> int:
        """The line of a key."""
        return self._lines.line(path)

    def _problem(self, path: KeyPath, text: str) -> ConfigProblem:
        return ConfigProblem(str(self._file), self._lines.line(path), dotted(path), text)


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
