"""The command line: each command in a file that loads only what the command needs.

Exit codes: 0 done; 1 it failed or something is down; 2 wrong usage or configuration; 3 the daemon does not answer.
"""

import argparse
import os
import sys
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from mcastd import __version__
from mcastd.errors import ConfigError, ControlError, McastdError

DEFAULT_CONFIG = Path("/etc/mcastd.toml")
COMMANDS = {
    "run": "run the daemon in the foreground",
    "check": "validate the configuration: every error with file, line and key",
    "status": "peers and SAs, tunnels, keepalives, neighbours, groups",
    "join": "join a group until it is left, or the daemon ends",
    "leave": "leave a group that was joined with join",
    "doctor": "walk the path hop by hop and name the first that is broken",
    "reload": "read the configuration again; waits, and says why if it is refused",
    "params": "the table of parameters to agree on with the other side",
    "peer-config": "the other side's configuration, made from ours",
    "import": "ipsec.conf, ipsec.secrets or swanctl.conf to mcastd.toml",
    "cleanup": "take down what a daemon that has ended left standing",
    "firewall": "the nftables rules that the configuration makes",
    "support": "one archive for the person who is asked for help, without secrets",
    "trace": "IKE, keepalives, PIM and IGMP as they pass, decoded or written as pcapng",
    "lab": "the whole scene, data centre and cloud VM, on this machine",
}
_MODULES = {"peer-config": "peer_config", "import": "import_"}  # where a command's name cannot be a module's
_FAILED, _WRONG, _SILENT = 1, 2, 3


class Command(Protocol):
    """What a command's module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it; returns the exit code, or raises McastdError."""


def command_line(loaded: Collection[str]) -> argparse.ArgumentParser:
    """The parser of all commands, with the arguments of those in ``loaded``, whose modules are imported."""
    parser = argparse.ArgumentParser(
        prog="mcastd",
        description="A data centre's multicast, in a cloud VM: IPsec, GRE, keepalives and PIM from one file.",
        epilog="Example: mcastd check -c /etc/mcastd.toml && systemctl reload mcastd",
    )
    parser.add_argument("--version", action="version", version=f"mcastd {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, help_text in COMMANDS.items():
        sub = commands.add_parser(name, help=help_text, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name in loaded:
            module = cast("Command", import_module(f"mcastd.cli.{_MODULES.get(name, name)}"))
            sub.description = (module.__doc__ or "").strip()
            module.add_arguments(sub)
            sub.set_defaults(module=module)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    # Only the chosen command's module is loaded: status must not wait for what lab imports.
    chosen = next((word for word in words if not word.startswith("-")), "")
    arguments = command_line({chosen}).parse_args(words)
    module = cast("Command", arguments.module)
    try:
        return module.run(arguments)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return _WRONG
    except McastdError as error:
        print(f"mcastd: {error}", file=sys.stderr)
        return _SILENT if type(error) is ControlError else _FAILED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except KeyboardInterrupt:
        return 130


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """``-c FILE``, as every command that needs the configuration takes it."""
    default = os.environ.get("MCASTD_CONFIG", str(DEFAULT_CONFIG))
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        type=Path,
        default=Path(default),
        help=f"the configuration (default: {default})",
    )
