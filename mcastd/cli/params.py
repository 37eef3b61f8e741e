"""Print the table of parameters to agree on with the other side, ready to send. It does not have the pre-shared key.

Examples: mcastd params
          mcastd params --format html > parameters.html
          mcastd params --format csv > parameters.csv
"""

import argparse

from mcastd.cli.otherside import add_peer_arguments, agreed
from mcastd.tools.params.render import FORMATS
from mcastd.tools.params.rows import tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``-c FILE``, ``--peer NAME`` and ``--format``."""
    add_peer_arguments(parser)
    parser.add_argument("--format", choices=sorted(FORMATS), default="md", help="md is Markdown, the default")


def run(arguments: argparse.Namespace) -> int:
    """Print the table; returns the exit code."""
    config = agreed(arguments)
    print(FORMATS[arguments.format](tables(config)), end="")
    return 0
