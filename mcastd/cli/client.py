"""Shared by the commands that use the control socket: its path, and the arguments that name a group."""

import argparse
import os
import tomllib
from ipaddress import IPv4Address
from pathlib import Path

from mcastd import control
from mcastd.cli import add_config_argument

_DEFAULT = Path("/run/mcastd")


def multicast_group(text: str) -> IPv4Address:
    """The type of an argument that names a group."""
    try:
        group = IPv4Address(text)
    except ValueError:
        group = IPv4Address(0)
    if not group.is_multicast:
        raise argparse.ArgumentTypeError(f"{text}; allowed: an IPv4 multicast group, e.g. 239.1.1.2")
    return group


def add_socket_arguments(parser: argparse.ArgumentParser) -> None:
    """``-c FILE`` and ``--socket PATH``."""
    add_config_argument(parser)
    parser.add_argument("--socket", metavar="PATH", type=Path, help="the control socket (default: as configured)")


def socket_of(arguments: argparse.Namespace) -> Path:
    """The path of the control socket.

    Of the configuration only ``daemon.runtime_dir`` is read: a file that is invalid, or that this user may not read,
    must not prevent a query to a running daemon.
    """
    if arguments.socket is not None:
        return Path(arguments.socket)
    if "MCASTD_SOCKET" in os.environ:
        return Path(os.environ["MCASTD_SOCKET"])
    try:
        directory = Path(tomllib.loads(arguments.config.read_text())["daemon"]["runtime_dir"])
    except (OSError, ValueError, KeyError, TypeError):
        directory = _DEFAULT
    return directory / "control.sock"


def add_membership_arguments(parser: argparse.ArgumentParser) -> None:
    """``GROUP [--source S] [--tunnel T]``."""
    parser.add_argument("group", metavar="GROUP", type=multicast_group, help="an IPv4 multicast group, e.g. 239.1.1.2")
    parser.add_argument("--source", metavar="S", type=IPv4Address, help="one source, (S,G); required for SSM groups")
    parser.add_argument("--tunnel", metavar="T", help="the tunnel to join on (default: the only one)")
    add_socket_arguments(parser)


def ask_membership(arguments: argparse.Namespace, command: str) -> int:
    """Send join or leave to the daemon and print its answer."""
    membership = {"group": str(arguments.group), "tunnel": arguments.tunnel}
    membership["source"] = str(arguments.source) if arguments.source else None
    print(control.decode(control.ask(socket_of(arguments), command, membership), str))
    return 0
