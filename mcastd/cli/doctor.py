"""Walk the path hop by hop and name the first that is broken: what was seen, what that means, and what to change.

It looks for a second and a half, changes nothing, and needs root. The exit code is 0 if all is well, else 1.

Examples: mcastd doctor
          mcastd doctor --json | jq -r .finding.change
"""

import argparse
import asyncio
import textwrap

import msgspec

from mcastd.cli.client import add_socket_arguments, socket_of
from mcastd.tools.doctor.collect import look
from mcastd.tools.doctor.finding import Finding, Side
from mcastd.tools.doctor.walk import Walk, walk

_WIDTH = 120
_SIDES = {Side.HERE: "on this side", Side.THERE: "on the other side", Side.EITHER: "on this side or the other"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--json", action="store_true", help="one JSON object, whose keys stay stable")
    add_socket_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Look, walk and tell."""
    result = walk(asyncio.run(look(arguments.config, socket_of(arguments))))
    if arguments.json:
        found = {"schema": 1, "healthy": result.finding is None, **msgspec.to_builtins(result)}
        print(msgspec.json.encode(found).decode())
    else:
        _tell(result)
    return 0 if result.finding is None else 1


def _tell(result: Walk) -> None:
    if result.well:
        print(_filled("well: ", ", ".join(result.well)))
    for note in result.notes:
        print(_filled("note: ", f"{note.hop}: {note.text}"))
    if result.finding is None:
        print("Nothing is broken.")
    else:
        _tell_finding(result.finding)


def _tell_finding(finding: Finding) -> None:
    print(f"BROKEN: {finding.hop} ({finding.problem})")
    print(_filled("  saw:    ", finding.saw))
    print(_filled("  means:  ", finding.means))
    print(_filled("  change: ", f"{_SIDES[finding.side]}: {finding.change}"))


def _filled(head: str, text: str) -> str:
    return textwrap.fill(head + text, _WIDTH, subsequent_indent=" " * len(head), break_long_words=False)
