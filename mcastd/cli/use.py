"""Use a tunnel, or another gateway of the other side, whatever the order in the file.

A tunnel carries the groups that several tunnels can carry ([[groups]] with tunnels and use = "first"), until that is
ended by auto; while it is dead, the others do. Nothing is lost, as the groups are joined there first. A peer is one of
those that stand by for each other ([peers.NAME] with standby_for); that move takes as long as establishing the SAs, and
lasts until that gateway is dead.

Examples: mcastd use gre2 --hold 1h
          mcastd use gre2 --group 239.1.1.1
          mcastd use auto
          mcastd use dc && mcastd status
"""

import argparse

from mcastd import control
from mcastd.cli.client import add_socket_arguments, multicast_group, socket_of
from mcastd.config.value_types import seconds


def _hold(text: str) -> float:
    found = seconds(text)
    if found is None or found <= 0:
        raise argparse.ArgumentTypeError(f"{text}; allowed: a time, e.g. 90s, 30m or 1h")
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="the name of a tunnel or a peer, or auto: tunnels as in the file")
    parser.add_argument("--hold", metavar="D", type=_hold, help="a tunnel for this time, e.g. 1h (default: until auto)")
    parser.add_argument("--group", metavar="G", type=multicast_group, help="the tunnel for one group (default: all)")
    add_socket_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Send the command and print the answer."""
    group = None if arguments.group is None else str(arguments.group)
    asked = {"name": arguments.name, "hold": arguments.hold, "group": group}
    print(control.decode(control.ask(socket_of(arguments), "use", asked), str))
    return 0
