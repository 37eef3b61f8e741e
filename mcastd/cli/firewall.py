"""Print the nftables rules of the configuration: nothing for a CHILD_SA in the clear (the guard), SNAT, MSS clamping.

Changes nothing; needs neither the daemon nor root.

Example: mcastd firewall -c ./mcastd.toml | sudo nft -c -f -
"""

import argparse

from mcastd.cli import add_config_argument
from mcastd.config.load import load
from mcastd.firewall import rules


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the table."""
    config = load(arguments.config, check_files=False).config
    print(rules.table(config) or "# This configuration needs no rules.\n", end="")
    return 0
