"""Validate the configuration. Every error is printed as FILE:LINE: KEY: what is wrong, what is allowed."""

import argparse
import sys
from pathlib import Path
from typing import Final

from mcastd.cli import add_config_argument
from mcastd.config.load import load
from mcastd.config.model import Config
from mcastd.errors import ConfigError
from mcastd.system import own_networks

VALID: Final = 0
REFUSED: Final = 2

_EXAMPLE: Final = """\
example:
  $ mcastd check -c mcastd.toml
  mcastd.toml:49: tunnels.gre1.mtu: 1476 does not fit a path of 1500 bytes (...); allowed: at most 1398, or "auto"

exit code: 0 the file is valid, 2 it is refused
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``-c FILE``."""
    parser.epilog = _EXAMPLE
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check ``arguments.config``; returns the exit code."""
    path: Path = arguments.config
    try:
        loaded = load(path, host=own_networks.read())
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return REFUSED
    for note in loaded.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{path}: ok, {summary(loaded.config)}")
    return VALID


def summary(config: Config) -> str:
    """The number of items of each kind: ``1 peer, 2 children, 1 tunnel, 3 groups``."""
    children = sum(len(peer.children) for peer in config.peers)
    counts = (
        (len(config.peers), "peer", "peers"),
        (children, "child", "children"),
        (len(config.tunnels), "tunnel", "tunnels"),
        (len(config.groups), "group", "groups"),
    )
    return ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts)
