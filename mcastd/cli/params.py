"""Print the table of parameters to agree on with the other side, ready to send. The pre-shared key is not in it.

Examples: mcastd params
          mcastd params --format html > parameters.html
          mcastd params --format csv > parameters.csv
"""

import argparse

from mcastd.cli import add_config_argument
from mcastd.config.load import load
from mcastd.params.render import FORMATS
from mcastd.params.rows import tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``-c FILE`` and ``--format``."""
    add_config_argument(parser)
    parser.add_argument("--format", choices=sorted(FORMATS), default="md", help="md is Markdown, the default")


def run(arguments: argparse.Namespace) -> int:
    """Print it; the file has to be valid, its keys need not be readable."""
    config = load(arguments.config, check_psk=False).config
    print(FORMATS[arguments.format](tables(config)), end="")
    return 0
