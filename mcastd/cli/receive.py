"""Print the commands that make another machine a receiver of an overlay, from the configuration of its head end.

Values in angle brackets are to be completed. They need iproute2, and nftables for the last of them.

Examples: mcastd receive --print
          mcastd receive --print --local 10.1.2.17 --address 10.20.0.17/24 | ssh receiver17 sudo sh -e
          mcastd receive --print --overlay vx0 --head-end 10.1.3.246
"""

import argparse
from ipaddress import IPv4Address, IPv4Interface

from mcastd.cli import add_config_argument
from mcastd.config.load import load
from mcastd.errors import ConfigError, ConfigProblem
from mcastd.tools.receive.commands import script
from mcastd.tools.receive.overlays import receiver


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``-c FILE``, ``--print``, the overlay and what differs from receiver to receiver."""
    add_config_argument(parser)
    parser.add_argument("--print", action="store_true", required=True, help="print them, and change nothing")
    parser.add_argument("--overlay", metavar="NAME", help="the overlay (default: the only one)")
    parser.add_argument("--local", metavar="ADDRESS", type=IPv4Address, help="the receiver's own address, of members")
    parser.add_argument(
        "--address", metavar="ADDRESS/LEN", type=IPv4Interface, help="its address on the overlay, another for each"
    )
    parser.add_argument(
        "--head-end",
        metavar="ADDRESS",
        type=IPv4Address,
        action="append",
        default=[],
        help="another head end of the same VNI, which takes over if this one ends; can be repeated",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the commands; returns the exit code."""

    def refuse(option: str, text: str) -> ConfigError:
        return ConfigError((ConfigProblem(str(arguments.config), 1, option, text),))

    found = receiver(
        load(arguments.config, check_files=False).config,
        refuse,
        overlay=arguments.overlay,
        local=arguments.local,
        address=arguments.address,
        further=tuple(arguments.head_end),
    )
    print(script(found), end="")
    return 0
