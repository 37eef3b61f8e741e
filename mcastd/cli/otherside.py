"""What the commands for the other side share: the agreement with one peer."""

import argparse
from pathlib import Path

from mcastd.cli import add_config_argument
from mcastd.config.agreement import with_peer
from mcastd.config.load import load
from mcastd.config.model import Config
from mcastd.errors import ConfigError, ConfigProblem


def add_peer_arguments(parser: argparse.ArgumentParser) -> None:
    """``-c FILE`` and ``--peer NAME``."""
    add_config_argument(parser)
    parser.add_argument("--peer", metavar="NAME", help="which of several peers; may be left out where there is one")


def agreed(arguments: argparse.Namespace) -> Config:
    """What is agreed on with the peer that is meant. The file has to be valid, its keys need not be readable.

    Raises ConfigError where it is not clear which peer that is.
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
