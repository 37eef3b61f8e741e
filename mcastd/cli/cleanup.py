"""Remove what a daemon that has ended left in place, as systemctl stop does after a crash.

SAs, interfaces, addresses, routes, rules and settings are put back, and nothing is begun: no SA is initiated. Prunes
and a goodbye are sent only through tunnels that are still up. If nothing is left, nothing happens. The exit code is 1
while a daemon is running, and if something could not be removed.

Example: mcastd cleanup
"""

import argparse

from mcastd.cli import add_config_argument
from mcastd.system import log


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Remove and report."""
    log.configure("info")
    from mcastd.serve import clean_up

    clean_up(arguments.config, log.get_logger())
    return 0
