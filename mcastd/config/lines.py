"""Which line of a TOML file a key stands on, which tomllib does not tell.

The scanner skims a document that tomllib has accepted already, so it checks nothing; where it loses its way it stops,
and keys that it did not reach are said to be on the line of the nearest enclosing table that it did.
"""

import re
import tomllib
from bisect import bisect_right
from contextlib import suppress
from typing import Final

KeyPath = tuple[str | int, ...]

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_LONG_STRING: Final = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}' + r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}", re.DOTALL
)
_STRING: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"' + r"|'[^'\n]*'")
_PLAIN: Final = re.compile(r"[^,\]}#\n]+")


class Lines:
    """The lines of one document, by key path: ``("groups", 2, "sources", 0)``."""

    def __init__(self, found: dict[KeyPath, int]) -> None:
        self._found = found

    def line(self, path: KeyPath) -> int:
        """The line of a key or array element, else that of the nearest thing around it, else 1."""
        while path:
            if path in self._found:
                return self._found[path]
            path = path[:-1]
        return 1

    def __contains__(self, path: KeyPath) -> bool:
        return path in self._found


def scan(text: str) -> Lines:
    """The lines of every key, table and array element of a valid TOML document. Never fails."""
    scanner = _Scanner(text)
    with suppress(_LostError, RecursionError):
        scanner.document()
    return Lines(scanner.found)


class _LostError(Exception):
    """The text is not what the scanner expects here."""


class _Scanner:
    def __init__(self, text: str) -> None:
        self.found: dict[KeyPath, int] = {}
        self._text = text
        self._at = 0
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._last_index: dict[KeyPath, int] = {}  # of every array made by [[headers]]

    def document(self) -> None:
        table: KeyPath = ()
        self._take(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._take(_BLANK)

    def _header(self) -> KeyPath:
        line = self._line()
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        parts = self._key()
        self._at += 2 if is_array else 1
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

    def _pair(self, table: KeyPath) -> None:
        line = self._line()
        path = table
        for part in self._key():
            path = (*path, part)
            self.found.setdefault(path, line)
        self._expect("=")
        self._take(_SPACE)
        self._value(path)

    def _key(self) -> list[str]:
        parts = []
        while True:
            self._take(_SPACE)
            if self._next() in ('"', "'"):
                parts.append(str(tomllib.loads(f"key = {self._take(_STRING)}")["key"]))
            else:
                parts.append(self._take(_BARE))
            self._take(_SPACE)
            if self._next() != ".":
                return parts
            self._at += 1

    def _value(self, path: KeyPath) -> None:
        start = self._next()
        if start == "[":
            self._array(path)
        elif start == "{":
            self._inline_table(path)
        elif self._text.startswith(('"""', "'''"), self._at):
            self._take(_LONG_STRING)
        elif start in ('"', "'"):
            self._take(_STRING)
        else:
            self._take(_PLAIN)

    def _array(self, path: KeyPath) -> None:
        self._expect("[")
        self._take(_BLANK)
        index = 0
        while self._next() != "]":
            self.found[*path, index] = self._line()
            self._value((*path, index))
            self._take(_BLANK)
            if self._next() == ",":
                self._at += 1
                self._take(_BLANK)
            index += 1
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._expect("{")
        self._take(_BLANK)
        while self._next() != "}":
            self._pair(path)
            self._take(_BLANK)
            if self._next() == ",":
                self._at += 1
                self._take(_BLANK)
        self._at += 1

    def _line(self) -> int:
        return bisect_right(self._newlines, self._at) + 1

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _expect(self, mark: str) -> None:
        if self._next() != mark:
            raise _LostError
        self._at += 1

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise _LostError
        self._at = match.end()
        return match.group()
