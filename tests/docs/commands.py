"""The commands that the README and the pages show, for tests that run them."""

import re
import shlex
from collections.abc import Iterator
from itertools import groupby, takewhile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
# The first word of a line that is a command of a shell.
_PROGRAM = re.compile(r" {4,}(?:sudo )?(\./dev|[a-z][a-z0-9-]+)(?=\s|$)")
_PROGRAMS = ("./dev", "apt", "aws", "chgrp", "curl", "docker", "install", "mcastd", "python3", "sudoedit", "systemctl")


class Command(NamedTuple):
    """One command, and where it is shown."""

    page: str
    line: int
    argv: tuple[str, ...]


def shown() -> list[Command]:
    """All, without comments; each command of a line with ``&&`` or a pipe by itself."""
    found = []
    for page in PAGES:
        if page.name == "transcripts.md":
            continue  # what they print, made by ./dev transcripts
        for number, line in enumerate(page.read_text().splitlines(), 1):
            match = _PROGRAM.match(line)
            if match is None or match[1] not in _PROGRAMS or "[" in line:
                continue  # brackets are for what may be left out
            found += [Command(page.name, number, argv) for argv in _commands(line)]
    return found


def _commands(line: str) -> Iterator[tuple[str, ...]]:
    """The commands of a line, without sudo, and without where their output goes."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    for is_end, command in groupby(words, lambda word: word in ("&&", "|")):
        if not is_end:
            argv = tuple(takewhile(lambda word: word != ">", command))
            yield argv[1:] if argv[0] == "sudo" else argv
