"""Show health, peers and SAs, tunnels, keepalives, neighbours and groups: what is wrong first.

The exit code is 1 if health is not ok.

Examples: mcastd status
          mcastd status --watch
          mcastd status --group 239.1.1.1
          mcastd status --json | jq .groups
"""

import argparse
import time

from mcastd import control
from mcastd.cli import status_view
from mcastd.cli.client import add_socket_arguments, multicast_group, socket_of
from mcastd.cli.group_lines import group_lines
from mcastd.cli.status_groups import SHOWN
from mcastd.cli.watch import Answer, add_watch_arguments, watch
from mcastd.group_status import GroupReport
from mcastd.status import Status


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_watch_arguments(parser)
    parser.add_argument("--group", metavar="G", type=multicast_group, help="one group: who wants it, and what arrives")
    parser.add_argument("--all", action="store_true", help=f"show all problems and groups, not only {SHOWN} groups")
    add_socket_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask the daemon and print its status; returns the exit code."""
    path = socket_of(arguments)

    def ask() -> Answer:
        if arguments.group is not None:
            answer = control.ask(path, "group", {"group": str(arguments.group)})
            report = control.decode(answer, GroupReport)
            is_well = all(join.problem is None for join in report.joins)
            return answer.decode() if arguments.json else tuple(group_lines(report)), is_well
        answer = control.ask(path, "status")
        status = control.decode(answer, Status)
        if arguments.json:
            return answer.decode(), status.healthy
        return tuple(status_view.blocks(status, time.time(), everything=arguments.all)), status.healthy

    return watch(arguments, ask)
