"""What the commands that ask the daemon share: where its socket is, and how a group is named."""

import argparse
import os
import tomllib
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from mcastd import control
from mcastd.cli import add_config_argument

_DEFAULT = Path("/run/mcastd")


def add_socket_arguments(parser: argparse.ArgumentParser) -> None:
    """``-c FILE`` and ``--socket PATH``."""
    add_config_argument(parser)
    parser.add_argument("--socket", metavar="PATH", type=Path, help="the control socket, if not the configuration's")


def socket_of(arguments: argparse.Namespace) -> Path:
    """The control socket to ask.

    The configuration is only looked into for ``daemon.runtime_dir``: a file that is broken, or that this user may not
    read, must not keep anybody from asking a running daemon.
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
    parser.add_argument(
        "group", metavar="GROUP", type=IPv4Address, help="an IPv4 multicast group, for instance 239.1.1.2"
    )
    parser.add_argument(
        "--source", metavar="S", type=IPv4Address, help="one source of it: (S,G), which SSM groups need"
    )
    parser.add_argument("--tunnel", metavar="T", help="the tunnel to join on; may be left out where there is one")
    add_socket_arguments(parser)


def ask_membership(arguments: argparse.Namespace, command: str) -> int:
    """Ask the daemon to join or leave, and print what it says."""
    wanted = {"group": str(arguments.group), "tunnel": arguments.tunnel}
    wanted["source"] = str(arguments.source) if arguments.source else None
    print(msgspec.json.decode(control.ask(socket_of(arguments), command, wanted), type=str))
    return 0
