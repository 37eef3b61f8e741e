"""A cursor over a text, shared by the parsers of this package."""

import re
from bisect import bisect_right


class Cursor:
    """Reads a text from its beginning, pattern by pattern."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self.at = 0

    @property
    def line(self) -> int:
        """The line of what comes next, from 1."""
        return bisect_right(self._newlines, self.at - 1) + 1

    @property
    def next(self) -> str:
        """The next character; empty at the end."""
        return self._text[self.at : self.at + 1]

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Match the pattern here and move behind the match; None, without moving, if it does not match."""
        match = pattern.match(self._text, self.at)
        if match is not None:
            self.at = match.end()
        return match
