"""The command line: each command in a file that loads only what the command needs.

The exit codes are the same for all of them: ``EXIT_CODES``.
"""

import argparse
import os
import signal
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
    "status": "show peers and SAs, tunnels, keepalives, PIM neighbours and groups",
    "streams": "show what the kernel has counted of each stream",
    "listen": "join a group as an application does, and show what one gets",
    "bench": "send a burst through this host's kernel, and show what each stage loses",
    "join": "join a group until mcastd leave, or until mcastd stops",
    "leave": "leave a group that was joined with mcastd join",
    "use": "use one of several tunnels, or another gateway of the other side",
    "doctor": "check the path hop by hop and name the first that is broken",
    "netcheck": "check the way to a peer before there is a configuration",
    "reload": "apply a changed configuration and wait; prints the reason if it is refused",
    "params": "print the table of parameters to agree on with the other side",
    "peer-config": "print the configuration of the other side, derived from this one",
    "receive": "print the commands that make another machine a receiver of an overlay",
    "import": "convert ipsec.conf, ipsec.secrets, swanctl.conf or an exchange's feed list",
    "cleanup": "remove what a daemon that has ended left in place",
    "firewall": "print the nftables rules of the configuration",
    "support": "collect diagnostics for a support request into one archive, without secrets",
    "trace": "show IKE, keepalives, PIM and IGMP packets, or write them as pcapng",
    "lab": "a data centre and a cloud VM in network namespaces on this machine",
}
_MODULES = {"peer-config": "peer_config", "import": "import_"}  # where a command's name cannot be a module's
_FAILED, _WRONG, _SILENT, _INTERRUPTED = 1, 2, 3, 130
EXIT_CODES = {
    0: "done, and all is well",
    _FAILED: "it failed, or not all is well: health is degraded or down, something is broken, packets are missing",
    _WRONG: "wrong usage, or a configuration that is refused",
    _SILENT: "the daemon does not answer",
    _INTERRUPTED: "interrupted by Ctrl-C",
}


class Command(Protocol):
    """The interface of a command's module."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Run the command; returns the exit code, or raises McastdError."""


def command_line(loaded: Collection[str]) -> argparse.ArgumentParser:
    """The parser of all commands, with the arguments of those in ``loaded``, whose modules are imported."""
    parser = argparse.ArgumentParser(
        prog="mcastd",
        description="Multicast from a data centre in a cloud VM: IPsec, GRE, keepalives and PIM from one file.",
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
    # Only the module of the command is imported: mcastd status must not wait for the libraries of mcastd lab.
    chosen = next((word for word in words if not word.startswith("-")), "")
    try:
        arguments = command_line({chosen}).parse_args(words)
        return cast("Command", arguments.module).run(arguments)
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
        if argv is None:  # the interpreter is about to end, and would show another one as an error
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return _INTERRUPTED


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
