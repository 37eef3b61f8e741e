"""Shared by the commands that ask the daemon and can repeat that: ``--json``, ``--watch``."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence

from mcastd.cli import terminal
from mcastd.cli.layout import Block, Text
from mcastd.cli.units import duration
from mcastd.errors import ControlError

_PERIOD = 1.0  # seconds

Answer = tuple[str | Sequence[Block], bool]
"""JSON, or what is shown of it; and whether all is well."""


def add_watch_arguments(parser: argparse.ArgumentParser) -> None:
    """``--json`` and ``--watch``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object with stable keys")
    parser.add_argument("--watch", action="store_true", help="repeat every second until Ctrl-C, in place on a terminal")


def watch(arguments: argparse.Namespace, ask: Callable[[], Answer]) -> int:
    """Print what ``ask`` returns, with ``--watch`` every second. The exit code is 0 if all is well, else 1."""
    if not arguments.watch:
        answer, is_well = ask()
        _print(answer)
        return 0 if is_well else 1
    again = _Again(ask)
    if not arguments.json and terminal.is_terminal():
        terminal.repaint(again.blocks, _PERIOD)
    while True:
        again.print()
        time.sleep(_PERIOD)


def _print(answer: str | Sequence[Block]) -> None:
    if isinstance(answer, str):
        print(answer, flush=True)
    else:
        terminal.show(answer)


class _Again:
    """Asks a daemon that may be away for a while, once it has answered: it is being restarted."""

    def __init__(self, ask: Callable[[], Answer]) -> None:
        self._ask = ask
        self._answered: float | None = None  # when it did last; None: it never has
        self._problem = ""  # why it does not answer now; empty: it does

    def blocks(self) -> Sequence[Block]:
        """What it answers, or that it does not."""
        answer = self._answer()
        if answer is not None:
            return (Text(answer),) if isinstance(answer, str) else answer
        age = duration(time.monotonic() - (self._answered or 0.0))
        return Text(f"mcastd does not answer; it did {age} ago", "bad"), Text(self._problem)

    def print(self) -> None:
        """Print what it answers. That it does not is printed once, to standard error."""
        before = self._problem
        answer = self._answer()
        if answer is not None:
            _print(answer)
        elif not before:
            print(f"mcastd: mcastd does not answer: {self._problem}", file=sys.stderr, flush=True)

    def _answer(self) -> str | Sequence[Block] | None:
        """None where it does not answer. Raises ControlError where it never has."""
        try:
            answer, _ = self._ask()
        except ControlError as error:
            if self._answered is None:
                raise
            self._problem = str(error)
            return None
        self._answered, self._problem = time.monotonic(), ""
        return answer
