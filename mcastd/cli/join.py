"""Join a group until it is left, or the daemon ends; the configuration is for those that stay.

Examples: mcastd join 239.1.1.2
          mcastd join 232.1.1.1 --source 100.15.30.10 --tunnel gre1
"""

import argparse

from mcastd.cli.client import add_membership_arguments, ask_membership


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_membership_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask and report."""
    return ask_membership(arguments, "join")
