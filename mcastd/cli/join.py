"""Join a group until ``mcastd leave``, or until mcastd stops. Permanent groups belong in the configuration.

Examples: mcastd join 239.1.1.2
          mcastd join 232.1.1.1 --source 100.15.30.10 --tunnel gre1
"""

import argparse

from mcastd.cli.client import add_membership_arguments, ask_membership


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_membership_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Send the command and print the answer."""
    return ask_membership(arguments, "join")
