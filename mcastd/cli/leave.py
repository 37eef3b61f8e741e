"""Leave a group that was joined with ``mcastd join``. Groups of the configuration and of applications stay joined.

Example: mcastd leave 239.1.1.2
"""

import argparse

from mcastd.cli.client import add_membership_arguments, ask_membership


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_membership_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Send the command and print the answer."""
    return ask_membership(arguments, "leave")
