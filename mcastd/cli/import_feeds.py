"""``mcastd import --feeds``: the result holds nothing but ``[[groups]]`` and ``[[feeds]]``."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from mcastd.cli.output import PUBLIC, write_new
from mcastd.config.load import loads
from mcastd.errors import ConfigError
from mcastd.tools.feedlist import draft, read
from mcastd.tools.feedlist.entry import LARGEST, Entry, Source
from mcastd.tools.feedlist.write import toml

_INVALID: Final = 1
_NOTED: Final = 20  # lines for the same reason
_NAMED: Final = 5  # feeds in an error
_TUNNEL: Final = """
[tunnels.{name}]
local = "198.18.255.1"
remote = "198.18.255.2"
address = "198.18.255.5/30"
upstream = "none"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the list, and what to make of it."""
    parser.add_argument(
        "--feeds", metavar="FILE", type=Path, help="an exchange's list of its multicast: XML of CME or MOEX, or CSV"
    )
    parser.add_argument("--tunnel", metavar="NAME", help="with --feeds: the tunnel to join on (default: the only one)")
    parser.add_argument(
        "--only",
        metavar="PATTERN",
        action="append",
        help='with --feeds: these alone, such as "CME 310*"; repeatable',
    )
    parser.add_argument("--any-source", action="store_true", help="with --feeds: join (*,G), not (S,G) of its sources")


def run(arguments: argparse.Namespace) -> int:
    """Read, convert and write; returns the exit code."""
    path: Path = arguments.feeds
    output: Path | None = arguments.output
    source = Source(path)
    entries = read.entries(_content(path, source), source)
    chosen = [entry for entry in entries if _is_chosen(entry, arguments.only)]
    if not chosen:
        names = ", ".join(dict.fromkeys(entry.name for entry in entries[:_NAMED]))
        raise source.refused(1, f"no feed matches --only; allowed: patterns of its feeds, such as {names}")
    feeds = draft.feeds(chosen, source)
    groups = draft.groups(feeds, source, any_source=arguments.any_source)
    text = toml(
        feeds, groups, path.name, str(output.absolute() if output else path.with_suffix(".toml").name), arguments.tunnel
    )
    if output is None:
        print(text, end="")
    else:
        write_new({output: (text.encode(), PUBLIC)})
    for line in _notes(source):
        print(f"note: {line}", file=sys.stderr)
    return _check(text, output or Path("mcastd.toml"), arguments.tunnel or "gre1")


def _is_chosen(entry: Entry, only: list[str] | None) -> bool:
    names = (entry.name.lower(), f"{entry.name} {entry.side}".lower())
    return only is None or any(fnmatchcase(name, pattern.lower()) for pattern in only for name in names)


def _notes(source: Source) -> Iterator[str]:
    """What is not imported, by line; of the same reason some, and how many more there are."""
    counts = Counter[str]()
    for note in sorted(source.notes, key=lambda one: one.line):
        counts[note.text] += 1
        if counts[note.text] <= _NOTED:
            yield str(note)
    for text, count in counts.items():
        if count > _NOTED:
            yield f"{source.path}: {count - _NOTED} more: {text}"


def _content(path: Path, source: Source) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except OSError as error:
        raise source.refused(1, f"it cannot be read: {error.strerror}; allowed: a readable file") from error


def _check(text: str, path: Path, tunnel: str) -> int:
    """Validate the result as a part of a configuration with this tunnel, on which every group can be joined."""
    try:
        loads(text + _TUNNEL.format(name=json.dumps(tunnel)), path, check_files=False)
    except ConfigError as error:
        print(f"mcastd: the result is not valid:\n{error}", file=sys.stderr)
        return _INVALID
    return 0
