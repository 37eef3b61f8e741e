"""Statements of ipsec.conf and ipsec.secrets, and of the files that they include. Pure."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from mcastd.config.strongswan_conf import Include, Value
from mcastd.tools.importer.draft import refused

COMMENT: Final = re.compile(r"(?:^|(?<=\s))#.*")
_DEEPEST: Final = 10  # files that include one another

Split = Callable[[str], Iterable[tuple[int, str]]]
"""Divides a text into statements, each with the number of its first line; none of them is blank."""


def statements(text: str, file: Path, split: Split, include: Include, depth: int = 0) -> Iterator[Value]:
    """The statements of a file that is included ``depth`` deep; those of an included file come before the ``include``.

    Raises ConfigError where files include one another too deep.
    """
    for line, content in split(text):
        here = Value(content, file, line)
        if content.startswith("include") and content.split()[0] == "include":
            if depth == _DEEPEST:
                raise refused(here, "too many files include one another; does one include itself?")
            for path, included in include(content.removeprefix("include").strip(), file):
                yield from statements(included, path, split, include, depth + 1)
        yield here
