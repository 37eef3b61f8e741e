"""Use another gateway of the other side: one of those that stand by for each other ([peers.NAME] with standby_for).

The move takes as long as establishing the SAs. It stays so until that gateway is dead; nothing moves back by itself.

Example: mcastd use dc && mcastd status
"""

import argparse

import msgspec

from mcastd import control
from mcastd.cli.client import add_socket_arguments, socket_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="the name of a peer, as in [peers.NAME]")
    add_socket_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Send the command and print the answer."""
    print(msgspec.json.decode(control.ask(socket_of(arguments), "use", {"name": arguments.name}), type=str))
    return 0
