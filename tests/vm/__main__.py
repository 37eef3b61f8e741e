"""``python -m tests.vm [--kind uml|qemu] [--systemd] -- COMMAND ...``: run a command in a kernel that is not this one.

The exit status is the command's; 124 past the time limit, 125 if the machine did not come up or died.
"""

import argparse
import shutil
import signal
import sys
from pathlib import Path

from tests.vm.machine import Machine, MachineError, Options, TimeLimitError


def run(command: list[str], options: Options, results: Path | None) -> int:
    """Run the command, print what it prints, and keep its results."""
    with Machine(command, options) as machine:
        printed, status = 0, None
        try:
            while status is None:
                status = machine.step()
                printed += sys.stdout.buffer.write(machine.output(printed))
                sys.stdout.flush()
        finally:
            if results is not None:
                shutil.copytree(machine.results, results, dirs_exist_ok=True)
    return status


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="./dev vm", description=__doc__)
    parser.add_argument("--kind", choices=("uml", "qemu"), default="uml")
    parser.add_argument("--systemd", action="store_true", help="systemd as PID 1; the command is a service of it")
    parser.add_argument("--memory", type=int, default=Options.memory, metavar="MB")
    parser.add_argument("--limit", type=float, default=Options.limit, metavar="SECONDS")
    parser.add_argument("--results", type=Path, metavar="DIR", help="where what is written to /vm/results goes")
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    asked = parser.parse_args()
    options = Options(kind=asked.kind, systemd=asked.systemd, memory=asked.memory, limit=asked.limit)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        return run(asked.command, options, asked.results)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except MachineError as error:
        print(f"vm: {error}", file=sys.stderr)  # noqa: T201  # a command prints
        return 124 if isinstance(error, TimeLimitError) else 125


if __name__ == "__main__":
    sys.exit(main())
