"""Look at every peer, tunnel and group, and name what is broken: what was seen, what it means and what to change.

It observes for 1.5 seconds and needs root; it changes nothing, but with --trace-firewall. The exit code is 0 if nothing
is broken, else 1. A group that is silent where all else is well is not broken, unless `mcastd status` says that it
should not be silent.

Examples: mcastd doctor
          mcastd doctor --tunnel gre1 --group 239.1.1.1
          mcastd doctor --trace-firewall
          mcastd doctor --json | jq -r '.findings[].change'
"""

import argparse
import asyncio
import sys
import textwrap
from collections.abc import Awaitable

import msgspec

from mcastd.cli.client import add_socket_arguments, multicast_group, socket_of
from mcastd.config.feed_names import FeedNames
from mcastd.listed import listed
from mcastd.tools.doctor.collect import look
from mcastd.tools.doctor.facts import Facts
from mcastd.tools.doctor.finding import Finding, Side
from mcastd.tools.doctor.settle import settled
from mcastd.tools.doctor.walk import Path, Walk, walk

_WIDTH = 120
_LISTED = 5  # groups
_SIDES = {Side.HERE: "on this side", Side.THERE: "on the other side", Side.EITHER: "on this or the other side"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print one JSON object with stable keys")
    parser.add_argument("--tunnel", metavar="T", help="report what concerns this tunnel alone")
    parser.add_argument("--group", metavar="G", type=multicast_group, help="of the groups, report this one alone")
    parser.add_argument(
        "--trace-firewall",
        action="store_true",
        help="trace packets through nftables for a second, to name the rule that drops them",
    )
    add_socket_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Observe, walk and print the result; returns the exit code."""

    def observe() -> Awaitable[Facts]:
        return look(arguments.config, socket_of(arguments), trace=arguments.trace_firewall)

    def waiting(reason: str) -> None:
        if sys.stderr.isatty():
            print(f"observing again: {reason}", file=sys.stderr)

    facts = asyncio.run(settled(observe, waiting))
    group = None if arguments.group is None else str(arguments.group)
    result = walk(facts, arguments.tunnel, group)
    if (wrong := _unknown(facts, arguments.tunnel, group, result)) is not None:
        print(f"mcastd doctor: {wrong}", file=sys.stderr)
        return 2
    if arguments.json:
        print(msgspec.json.encode(result).decode())
    else:
        _print(result, FeedNames(() if facts.config is None else facts.config.feeds))
    return 0 if result.healthy else 1


def _unknown(facts: Facts, tunnel: str | None, group: str | None, result: Walk) -> str | None:
    """What is wrong with the arguments, if nothing has been found before they could be compared."""
    names = [one.name for one in facts.configured]
    if tunnel is not None and names and tunnel not in names:
        return f"--tunnel: there is no tunnel {tunnel} in {facts.config_file}; there are {', '.join(names)}"
    if group is None or facts.status is None or any(one.group == group for one in facts.status.groups):
        return None
    if any(one.groups for one in result.findings):
        return None
    wanted = listed(sorted({one.group for one in facts.status.groups}), _LISTED) or "none"
    return f"--group: {group} is not joined on any tunnel, which [[groups]] or an application does; joined: {wanted}"


def _print(result: Walk, names: FeedNames) -> None:
    about = {one.subject for one in result.findings if one.groups}
    for path in result.paths:
        if result.healthy or not (path.broken or path.failing or any(not one.subject for one in result.findings)):
            print(_filled("ok: ", _line(path)))
        elif not path.broken and path.tunnel in about:
            print(_filled("ok, but for groups: ", _line(path)))
    for silent in result.silent:
        print(f"SILENT: {silent.subject}: {names.beside(listed(silent.groups, _LISTED))}")
        print(_filled("  saw:    ", names.beside(silent.saw)))
        print(_filled("  ask:    ", f"if it should arrive now, the other side: {silent.ask}"))
    for note in result.notes:
        print(_filled("note: ", f"{note.hop}: {note.text}"))
    for finding in result.findings:
        _print_finding(finding, names)
    if result.healthy:
        print("Nothing is broken.")


def _print_finding(finding: Finding, names: FeedNames) -> None:
    where = f" on {finding.subject}" if finding.subject else ""
    print(f"BROKEN: {finding.hop} ({finding.problem}){where}")
    if finding.groups:
        print(_filled("  groups: ", names.beside(listed(finding.groups, _LISTED))))
    print(_filled("  saw:    ", names.beside(finding.saw)))
    print(_filled("  means:  ", finding.means))
    print(_filled("  change: ", f"{_SIDES[finding.side]}: {finding.change}"))


def _line(path: Path) -> str:
    """A path in a line."""
    carried = ", ".join(name for name in (path.child, path.peer) if name not in (None, path.name))
    found = path.name + (f" ({carried})" if carried else "")
    if path.tunnel is None:
        return found
    found += f": {path.groups} group{'' if path.groups == 1 else 's'} joined"
    found += f", {path.silent} silent" if path.silent else ""
    return found + (f", {path.failing} failing" if path.failing else "")


def _filled(head: str, text: str) -> str:
    return textwrap.fill(head + text, _WIDTH, subsequent_indent=" " * len(head), break_long_words=False)
