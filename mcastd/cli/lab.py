"""A laboratory on this machine: a cloud VM, its NAT, a data centre and a source, with real strongSwan and FRR.

  mcastd lab run --seconds 20      start everything, show the feed for 20 seconds, remove everything
  mcastd lab up                    start everything and keep it, to try things:
  mcastd lab exec cloud mcastd status
  mcastd lab exec dc vtysh -c 'show ip pim neighbor'
  mcastd lab exec dc swanctl --list-sas
  mcastd lab down
  mcastd lab up --data-centres 2   two of them, dc and dc2, with tunnels gre1 and gre2, send the same groups:
  mcastd lab exec dc2 swanctl --terminate --ike dc2
  mcastd lab up --receivers 8      machines that join by an overlay, receiver1 to receiver8, and an outsider:
  mcastd lab exec receiver1 mcastd listen 239.1.1.1:5001

It uses the network namespaces mcastd-cloud, mcastd-internet, mcastd-dc, mcastd-source and mcastd-client, with two data
centres mcastd-dc2 and mcastd-source2 too, with receivers mcastd-vpc, mcastd-receiver1 ... and mcastd-outsider, and
/run/mcastd-lab, where the daemon's configuration is mcastd.toml. Nothing else on the machine is changed. It needs root.
"""

import argparse
import os
from ipaddress import IPv4Address

from mcastd.errors import LabError
from mcastd.lab import sites, topology
from mcastd.lab.receivers import MOST, OUTSIDER, names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mcastd lab``."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    run_parser = verbs.add_parser("run", help="start everything, show the feed, remove everything")
    run_parser.add_argument(
        "--seconds", type=float, metavar="N", help="show the feed for N seconds (default: until Ctrl-C)"
    )
    run_parser.add_argument("--json", action="store_true", help="print the summary as one JSON object on the last line")
    up_parser = verbs.add_parser("up", help="start everything and keep it")
    up_parser.add_argument("--no-daemon", action="store_true", help="everything except mcastd itself")
    for sub in (run_parser, up_parser):
        sub.add_argument(
            "--groups",
            nargs="+",
            type=_group,
            metavar="GROUP[@SOURCE]",
            default=[topology.GROUP],
            help="the groups that are sent and joined",
        )
        sub.add_argument(
            "--keepalive", type=float, metavar="SECONDS", default=1.0, help="period of the data centre's keepalives"
        )
        sub.add_argument(
            "--data-centres", type=int, choices=(1, 2), default=1, help="how many send the groups (default: 1)"
        )
        sub.add_argument(
            "--receivers",
            type=_count,
            metavar="N",
            default=0,
            help=f"how many machines can join by an overlay (default: 0, at most {MOST})",
        )
    verbs.add_parser("down", help="remove everything, also what a crash left")
    exec_parser = verbs.add_parser("exec", help="run a command in one of the namespaces")
    shown = (*topology.NODES, sites.DC2, sites.SOURCE2, "receiverN", OUTSIDER)
    nodes = {*shown, *names(MOST)} - {"receiverN"}
    exec_parser.add_argument("node", choices=sorted(nodes), metavar="|".join(shown))
    exec_parser.add_argument("argv", nargs=argparse.REMAINDER, metavar="CMD ...")


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text) <= MOST):
        raise argparse.ArgumentTypeError(f"{text}: allowed: 0 to {MOST}")
    return int(text)


def _group(text: str) -> str:
    group, _, source = text.partition("@")
    try:
        multicast = IPv4Address(group).is_multicast
        if source:
            IPv4Address(source)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}; allowed: GROUP or GROUP@SOURCE") from error
    if not multicast:
        raise argparse.ArgumentTypeError(f"{text}: not a multicast group; allowed: 224.0.0.0 to 239.255.255.255")
    return text


def run(arguments: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from mcastd.lab import show
    from mcastd.lab.nodes import Options
    from mcastd.lab.scene import Scene

    if os.geteuid() != 0:
        raise LabError(f"the lab creates network namespaces and needs root: sudo mcastd lab {arguments.verb}")
    if arguments.verb == "down":
        Scene().down()
        return 0
    if arguments.verb == "exec":
        scene = Scene()
        scene.attach()
        if not arguments.argv:
            raise LabError("no command to run; for example: mcastd lab exec cloud ip -d addr")
        if scene.namespace(arguments.node) not in scene.state.record.namespaces:
            more = "--data-centres 2" if arguments.node in (sites.DC2, sites.SOURCE2) else "so many --receivers"
            raise LabError(f"{arguments.node}: not in this lab, which is up without {more}")
        line = scene.argv(arguments.node, arguments.argv)
        os.execvpe(line[0], line, scene.environment())
    options = Options(
        groups=tuple(arguments.groups),
        keepalive_period=arguments.keepalive,
        follow=True,
        data_centres=arguments.data_centres,
        receivers=arguments.receivers,
    )
    if arguments.verb == "up":
        return show.up(Scene(options), daemon=not arguments.no_daemon)
    return show.run(Scene(options), seconds=arguments.seconds, as_json=arguments.json)
