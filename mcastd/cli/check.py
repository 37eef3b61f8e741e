"""``mcastd check``: is the file valid, and if not, everything that is wrong with it."""

import argparse
import sys
from pathlib import Path
from typing import Final

from mcastd.config.load import DEFAULT_PATH, load
from mcastd.config.model import Config
from mcastd.errors import ConfigError

VALID: Final = 0
REFUSED: Final = 2

_EXAMPLE: Final = """\
example:
  $ mcastd check -c mcastd.toml
  mcastd.toml:44: tunnels.gre1.mtu: 1476 does not fit a path of 1500 bytes (...); allowed: at most 1398, or "auto"

exit code: 0 the file is valid, 2 it is refused
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command with argparse."""
    parser = subparsers.add_parser(
        "check",
        help="validate the configuration: every error with its file, line and key",
        description="Validate the configuration. Errors are FILE:LINE: KEY: what is wrong, what is allowed.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-c", "--config", type=Path, default=DEFAULT_PATH, metavar="FILE", help=f"the file (default: {DEFAULT_PATH})"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check ``args.config``; the exit code."""
    path: Path = args.config
    try:
        loaded = load(path)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return REFUSED
    for note in loaded.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{path}: ok, {summary(loaded.config)}")
    return VALID


def summary(config: Config) -> str:
    """How much there is of everything: ``1 peer, 2 children, 1 tunnel, 3 groups``."""
    children = sum(len(peer.children) for peer in config.peers)
    counts = (
        (len(config.peers), "peer", "peers"),
        (children, "child", "children"),
        (len(config.tunnels), "tunnel", "tunnels"),
        (len(config.groups), "group", "groups"),
    )
    return ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts)
