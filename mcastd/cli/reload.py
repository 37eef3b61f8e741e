"""Make the daemon read its configuration again, and wait until it is applied.

A file with an error is refused as a whole: every error is printed, nothing changes, and the exit code is 1.

Example: mcastd reload && mcastd status
"""

import argparse

from mcastd import control
from mcastd.cli.client import add_socket_arguments, socket_of

_TIMEOUT = 30.0  # seconds until the configuration is applied


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_socket_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Send the command, wait and print the answer."""
    print(control.decode(control.ask(socket_of(arguments), "reload", timeout=_TIMEOUT), str))
    return 0
