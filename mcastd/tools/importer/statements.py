"""Statements of ipsec.conf and ipsec.secrets, and of the files that they include. Pure."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from mcastd.config.strongswan import Include, Value
from mcastd.tools.importer.draft import refused

COMMENT: Final = re.compile(r"(?:^|(?<=\s))#.*")
_DEEPEST: Final = 10  # files that include one another
_MOST: Final = 1000  # files in all

Split = Callable[[str], Iterable[tuple[int, str]]]
"""Divides a text into statements, each with the number of its first line; none of them is blank."""


def statements(text: str, file: Path, split: Split, include: Include) -> Iterator[Value]:
    """The statements of a file; those of an included file come just before the ``include``.

    Raises ConfigError where files include one another without end.
    """
    return _statements(text, file, split, include, [file])


def _statements(
    text: str, file: Path, split: Split, include: Include, read: list[Path], depth: int = 0
) -> Iterator[Value]:
    for line, content in split(text):
        here = Value(content, file, line)
        if content.startswith("include") and content.split()[0] == "include":
            if depth == _DEEPEST or len(read) > _MOST:
                raise refused(here, "too many files include one another; does one include itself?")
            for path, included in include(content.removeprefix("include").strip(), file):
                read.append(path)
                yield from _statements(included, path, split, include, read, depth + 1)
        yield here
