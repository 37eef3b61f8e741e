"""Shared by the commands that ask the daemon and can repeat that: ``--json``, ``--watch``."""

import argparse
import sys
import time
from collections.abc import Callable

_CLEAR = "\x1b[H\x1b[2J"


def add_watch_arguments(parser: argparse.ArgumentParser) -> None:
    """``--json`` and ``--watch``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object with stable keys")
    parser.add_argument("--watch", action="store_true", help="repeat every second until Ctrl-C")


def watch(arguments: argparse.Namespace, ask: Callable[[], tuple[str, bool]]) -> int:
    """Print what ``ask`` returns, with ``--watch`` every second. It says, too, if all is well: exit code 0, else 1."""
    while True:
        text, is_well = ask()
        if arguments.watch and not arguments.json and sys.stdout.isatty():
            print(_CLEAR, end="")
        print(text, flush=True)
        if not arguments.watch:
            return 0 if is_well else 1
        time.sleep(1.0)
