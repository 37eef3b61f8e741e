"""The line of a TOML file on which each key is, which tomllib does not report.

The scanner reads a document that tomllib has accepted already, so it checks nothing. At a construct that it does not
know it stops, and the keys that follow have the line of the nearest enclosing table that it has read.
"""

import re
import tomllib
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from mcastd.config.cursor import Cursor

KeyPath = tuple[str | int, ...]

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SEPARATOR: Final = re.compile(rf"{_BLANK.pattern}(?:,{_BLANK.pattern})?")
_SPACE: Final = re.compile(r"[ \t]*")
_DOT: Final = re.compile(r"[ \t]*\.[ \t]*")
_EQUALS: Final = re.compile(r"[ \t]*=[ \t]*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"' + r"|'[^'\n]*'")
_LONG_STRING: Final = r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}' + r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
_SCALAR: Final = re.compile(rf"(?s:{_LONG_STRING})|{_STRING.pattern}|[^,\]}}#\n\"'][^,\]}}#\n]*")
_MARK: Final = re.compile(r"[\[\]{}]")
_MARKS: Final = re.compile(r"\[\[?|\]\]?")


class LineNumbers:
    """The lines of one document, by key path: ``("groups", 2, "sources", 0)``."""

    def __init__(self, found: dict[KeyPath, int]) -> None:
        self._found = found

    def line(self, path: KeyPath) -> int:
        """The line of a key or array element, else of the nearest enclosing one that has a line, else 1."""
        while path:
            if path in self._found:
                return self._found[path]
            path = path[:-1]
        return 1

    def __contains__(self, path: KeyPath) -> bool:
        return path in self._found


def scan(text: str) -> LineNumbers:
    """The lines of every key, table and array element of a valid TOML document. Never fails."""
    scanner = _Scanner(text)
    with suppress(_LostError, RecursionError):
        scanner.document()
    return LineNumbers(scanner.found)


def last_key(text: str, *, is_unfinished: bool = False) -> KeyPath:
    """The key of the value with which the beginning of a document ends, or in which; ``()``: it ends elsewhere.

    ``is_unfinished`` is that it ends in the value that was begun last, in whatever way.
    """
    scanner = _Scanner(text)
    with suppress(_LostError, RecursionError):
        scanner.document()
    return scanner.last if is_unfinished or scanner.end in (None, len(text)) else ()


class _LostError(Exception):
    """The text is not what the scanner expects here."""


class _Scanner:
    def __init__(self, text: str) -> None:
        self.found: dict[KeyPath, int] = {}
        self.last: KeyPath = ()  # the key that was read last, with an equals sign
        self.end: int | None = 0  # where its value ends; None before it is read
        self._cursor = Cursor(text)
        self._last_index: dict[KeyPath, int] = {}  # of each array that has [[headers]]

    def document(self) -> None:
        table: KeyPath = ()
        self._take(_BLANK)
        while self._cursor.next:
            if self._cursor.next == "[":
                table = self._header()
            else:
                self._pair(table)
            self._take(_BLANK)

    def _header(self) -> KeyPath:
        line = self._cursor.line
        is_array = self._take(_MARKS) == "[["
        parts = self._key()
        self._take(_SPACE)
        self._take(_MARKS)
        path: KeyPath = ()
        for part in parts[:-1]:
            path = (*path, part)
            self.found.setdefault(path, line)
            if path in self._last_index:
                path = (*path, self._last_index[path])
        path = (*path, parts[-1])
        if is_array:
            self.found.setdefault(path, line)
            index = self._last_index[path] = self._last_index.get(path, -1) + 1
            path = (*path, index)
        self.found[path] = line
        return path

    def _pair(self, path: KeyPath) -> None:
        line = self._cursor.line
        for part in self._key():
            path = (*path, part)
            self.found.setdefault(path, line)
        self._take(_EQUALS)
        self.last, self.end = path, None
        self._value(path)
        self.last, self.end = path, self._cursor.at

    def _key(self) -> list[str]:
        self._take(_SPACE)
        parts = []
        while True:
            is_quoted = self._cursor.next in ('"', "'")
            parts.append(str(tomllib.loads(f"key = {self._take(_STRING)}")["key"]) if is_quoted else self._take(_BARE))
            if not self._cursor.take(_DOT):
                return parts

    def _value(self, path: KeyPath) -> None:
        match self._cursor.next:
            case "[":
                self._items("]", lambda index: self._element((*path, index)))
            case "{":
                self._items("}", lambda _index: self._pair(path))
            case _:
                self._take(_SCALAR)

    def _element(self, path: KeyPath) -> None:
        self.found[path] = self._cursor.line
        self._value(path)

    def _items(self, end: str, item: Callable[[int], None]) -> None:
        index = 0
        self._take(_MARK)
        self._take(_BLANK)
        while self._cursor.next != end:
            item(index)
            self._take(_SEPARATOR)
            index += 1
        self._take(_MARK)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = self._cursor.take(pattern)
        if match is None:
            raise _LostError
        return match.group()
