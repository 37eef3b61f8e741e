"""Shared by the commands for the other side: the part of the configuration that concerns one peer."""

import argparse
from pathlib import Path

from mcastd.cli import add_config_argument
from mcastd.config.load import load
from mcastd.config.model import Config
from mcastd.config.other_side import with_peer
from mcastd.errors import ConfigError, ConfigProblem


def add_peer_arguments(parser: argparse.ArgumentParser) -> None:
    """``-c FILE`` and ``--peer NAME``."""
    add_config_argument(parser)
    parser.add_argument("--peer", metavar="NAME", help="the peer (default: the only one)")


def agreed(arguments: argparse.Namespace) -> Config:
    """The configuration of the peer that is named. The file must be valid; the files with keys are not read.

    Raises ConfigError if there are several peers and none is named, or if there is no peer with that name.
    """
    path: Path = arguments.config
    config = load(path, check_files=False).config
    names = [peer.name for peer in config.peers]
    if arguments.peer is None and len(names) <= 1:
        return config
    if arguments.peer not in names:
        wrong = "there are several" if arguments.peer is None else f"there is no peer {arguments.peer}"
        allowed = ", ".join(f"--peer {name}" for name in names) or "a file with a peer"
        raise ConfigError((ConfigProblem(str(path), 1, "peers", f"{wrong}; allowed: {allowed}"),))
    return with_peer(config, arguments.peer)
