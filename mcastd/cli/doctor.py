"""Walk the path hop by hop and name the first that is broken: what was seen, what it means and what to change.

It observes the path for 1.5 seconds, changes nothing, and needs root. The exit code is 0 if nothing is broken, else 1.

Examples: mcastd doctor
          mcastd doctor --json | jq -r .finding.change
"""

import argparse
import asyncio
import textwrap

import msgspec

from mcastd.cli.client import add_socket_arguments, socket_of
from mcastd.tools.doctor.collect import look
from mcastd.tools.doctor.finding import Side
from mcastd.tools.doctor.walk import walk

_WIDTH = 120
_SIDES = {Side.HERE: "on this side", Side.THERE: "on the other side", Side.EITHER: "on this or the other side"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print one JSON object with stable keys")
    add_socket_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Observe, walk and print the result; returns the exit code."""
    result = walk(asyncio.run(look(arguments.config, socket_of(arguments))))
    if arguments.json:
        print(msgspec.json.encode(result).decode())
        return 0 if result.healthy else 1
    if result.well:
        print(_filled("ok: ", ", ".join(result.well)))
    for note in result.notes:
        print(_filled("note: ", f"{note.hop}: {note.text}"))
    if result.finding is None:
        print("Nothing is broken.")
        return 0
    print(f"BROKEN: {result.finding.hop} ({result.finding.problem})")
    print(_filled("  saw:    ", result.finding.saw))
    print(_filled("  means:  ", result.finding.means))
    print(_filled("  change: ", f"{_SIDES[result.finding.side]}: {result.finding.change}"))
    return 1


def _filled(head: str, text: str) -> str:
    return textwrap.fill(head + text, _WIDTH, subsequent_indent=" " * len(head), break_long_words=False)
