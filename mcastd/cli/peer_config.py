"""Print the other side's configuration, the mirror image of ours.

Values in angle brackets are to be completed, including the pre-shared key (<PSK>), which mcastd never writes.

Examples: mcastd peer-config --vendor ios-xe --outside GigabitEthernet0/0/0
          mcastd peer-config --vendor frr-strongswan --output other-side
"""

import argparse
from pathlib import Path

from mcastd.cli.otherside import add_peer_arguments, agreed
from mcastd.cli.output import SECRET, write_new
from mcastd.tools.peerconfig import iosxe, linux


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``-c FILE``, ``--peer NAME``, the kind of the other side and its interfaces."""
    add_peer_arguments(parser)
    parser.add_argument("--vendor", choices=("ios-xe", "frr-strongswan"), required=True, help="the other side's kind")
    parser.add_argument("--outside", metavar="NAME", help="its interface with the public address")
    parser.add_argument("--inside", metavar="NAME", help="its interface towards the sources")
    parser.add_argument("--output", metavar="DIR", type=Path, help="write to this directory; no file is overwritten")


def run(arguments: argparse.Namespace) -> int:
    """Print or write the configuration; returns the exit code."""
    config = agreed(arguments)
    if arguments.vendor == "ios-xe":
        files = {"ios-xe.cfg": iosxe.configuration(config, outside=arguments.outside, inside=arguments.inside)}
    else:
        files = linux.files(config, outside=arguments.outside, inside=arguments.inside)
    if arguments.output is None:
        heading = "" if len(files) == 1 else "# ===== {} =====\n"
        print("\n".join(heading.format(name) + text for name, text in files.items()), end="")
        return 0
    written = {arguments.output / name: (text.encode(), SECRET) for name, text in files.items()}
    write_new(written)  # readable for the owner only, since they will hold the key
    print("\n".join(map(str, written)))
    return 0
