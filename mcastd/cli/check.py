"""Validate the configuration. Every error is printed as FILE:LINE: KEY: what is wrong, what is allowed."""

import argparse
import stat
import sys
from pathlib import Path
from typing import Final

from mcastd.cli import add_config_argument
from mcastd.config.load import load
from mcastd.config.model import Config
from mcastd.config.report import Report
from mcastd.errors import ConfigError, ConfigProblem
from mcastd.system import own_networks
from mcastd.tools.check import check
from mcastd.tools.check.collect import look

VALID: Final = 0
REFUSED: Final = 2

_EXAMPLE: Final = """\
example:
  $ mcastd check -c mcastd.toml
  mcastd.toml:49: tunnels.gre1.mtu: 1476 does not fit a path of 1500 bytes (...); allowed: at most 1398, or "auto"

exit code: 0 the file is valid, 2 it is refused
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``FILE``, and ``-c FILE`` for the same."""
    parser.epilog = _EXAMPLE
    parser.add_argument("file", metavar="FILE", type=Path, nargs="?", help="the configuration, as with -c")
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check ``arguments.file``, else ``arguments.config``; returns the exit code."""
    path: Path = arguments.file or arguments.config
    try:
        _refuse_irregular(path)
        loaded = load(path, host=own_networks.read(), further=rules)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return REFUSED
    for note in loaded.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{path}: ok, {summary(loaded.config)}")
    return VALID


def rules(config: Config, report: Report) -> None:
    """What is checked of a file beyond what the daemon refuses: certificates, and this host."""
    check(config, look(config, report), report)


def _refuse_irregular(path: Path) -> None:
    """Refuse what would be waited for, or has no end; what is not there is refused where it is read."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise ConfigError((ConfigProblem(str(path), 1, "", f"it is {kind}; allowed: a regular file"),))


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
