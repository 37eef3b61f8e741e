"""What commands print by the answers that they were given in the lab, so that a view can be run again without one.

Of each command all that it asks of the host is kept, in the order in which it was asked: the answers of the daemon, the
names of processes, and what ``doctor`` and ``listen`` have observed.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, redirect_stdout
from io import StringIO
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Final
from unittest.mock import MagicMock, patch

import msgspec

from mcastd.cli import main
from mcastd.tools.doctor.walk import Walk
from mcastd.tools.listen.report import ListenReport

PAGE: Final = Path(__file__).parents[2] / "docs" / "transcripts.md"
ANSWERS: Final = Path(__file__).parent / "answers.json"
Answers = dict[str, list[msgspec.Raw]]
"""What was answered, by the function that was asked."""

_WIDTH: Final = "120"
_BLOCK = re.compile(r"(?m)^    \$ (mcastd .*)\n((?:    .*\n|\n(?=    [^$]))*)")
ASKED: Final[dict[str, Any]] = {
    "time.time": float,
    "mcastd.control.ask": str,
    "mcastd.cli.streams.of_sockets": dict[int, dict[int, str]],
    "mcastd.cli.streams.cgroup_path": str | None,
    "mcastd.cli.doctor.walk": Walk,
    "mcastd.cli.listen._listen": ListenReport,
}
"""What commands ask, and the type of the answer."""


def commands() -> list[str]:
    """The commands of the page, in its order."""
    return [match[1] for match in _BLOCK.finditer(PAGE.read_text())]


def page(outputs: Iterator[str]) -> str:
    """The page with these outputs of its commands."""

    def block(match: re.Match[str]) -> str:
        lines = [f"$ {match[1]}", *next(outputs).splitlines()]
        return "".join(f"    {line}".rstrip() + "\n" for line in lines)

    return _BLOCK.sub(block, PAGE.read_text())


def stored() -> str:
    """The page by the answers of the last run in the lab."""
    answers = msgspec.json.decode(ANSWERS.read_bytes(), type=list[Answers])
    return page(replayed(command, found) for command, found in zip(commands(), answers, strict=True))


def printed(command: str, functions: dict[str, Callable[..., Any]]) -> str:
    """What a command prints with these functions in place of what it asks."""
    text = StringIO()
    with ExitStack() as stack:
        for name, function in (functions | {"mcastd.cli.doctor.settled": _no_look}).items():
            stack.enter_context(patch(name, function))
        stack.enter_context(patch.dict(os.environ, {"COLUMNS": _WIDTH}))
        stack.enter_context(redirect_stdout(text))
        main(command.split()[1:])
    return text.getvalue()


async def _no_look(*_: object) -> object:
    """The doctor's facts, which no finding is made of here: the findings are among the answers."""
    return MagicMock()


def replayed(command: str, answers: Answers) -> str:
    """What a command prints by what it was answered."""
    left = {name: chain(found, repeat(found[-1])) for name, found in answers.items()}

    def answering(name: str) -> Callable[..., Any]:
        def answer(*_: object, **__: object) -> Any:
            found = msgspec.json.decode(next(left[name]), type=ASKED[name])
            return found.encode() if name == "mcastd.control.ask" else found

        return answer

    return printed(command, {name: answering(name) for name in ASKED})
