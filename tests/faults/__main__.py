"""``./dev faults [NAME ...]``: injects faults into a lab, and compares what comes of each with what must.

Without names, all that can be had here. The exit status is 1 if one was not as it must be.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults import report
from tests.faults.engine import run
from tests.faults.fault import Fault, Observed, judge
from tests.faults.list import FAULTS
from tests.vm import abilities
from tests.vm.__main__ import run as run_in_machine
from tests.vm.machine import INSIDE, MachineError, Options

_LIMIT = 3600.0  # seconds for a virtual machine
_INSIDE = [".venv/bin/python", "-m", "tests.faults"]


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="./dev faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; --list lists them")
    parser.add_argument("--list", action="store_true", help="list the faults, and run none")
    parser.add_argument("--sample", type=int, metavar="N", help="run N of them, chosen by the seed")
    parser.add_argument("--seed", default=_seed(), help="of --sample (default: the commit, or else the day)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the results into docs/reliability.md")
    parser.add_argument("--without", action="store_true", help="inject nothing: those whose signs are missing fail")
    parser.add_argument(
        "--vm",
        action="store_true",
        help="in a virtual machine, over the kernel's datapath; without names, those that this kernel cannot have",
    )
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in FAULTS]:
        parser.error(f"there is no fault {', '.join(unknown)}; --list lists them")
    chosen = [FAULTS[name] for name in asked.names] or list(FAULTS.values())
    if asked.list:
        for fault in chosen:
            print(f"{fault.name:26} {fault.what}")
        return 0
    if asked.vm:
        names = asked.names or [fault.name for fault in chosen if not _can_be_had(fault)]
        return _in_machine(names, asked.write)
    chosen = [fault for fault in chosen if _can_be_had(fault)]
    if asked.sample is not None:
        print(f"seed {asked.seed}: repeat with --sample {asked.sample} --seed {asked.seed}", flush=True)
        chosen = random.Random(asked.seed).sample(chosen, min(asked.sample, len(chosen)))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        return _run(chosen, asked.write, injected=not asked.without)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _can_be_had(fault: Fault) -> bool:
    """Whether a fault can be injected here."""
    return all(map(abilities.has, fault.needs)) and (not fault.machine or INSIDE in os.environ)


def _seed() -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return commit.stdout.strip() or date.today().isoformat()


def _run(chosen: list[Fault], write: Path | None, *, injected: bool) -> int:
    """Run faults, with a line for each, and a table of all at the end."""
    results: list[tuple[Fault, Observed]] = []
    began = time.monotonic()
    for fault, seen in run(chosen, injected=injected):
        results.append((fault, seen))
        misses = judge(fault, seen)
        now = time.monotonic() - began
        print(f"[{len(results)}/{len(chosen)}] {now:6.1f} s  {report.line(fault, seen)}", flush=True)
        for miss in misses:
            print(f"{'':18} MISS: {miss}", flush=True)
        if write is not None:
            report.write(write, results)
    print("\n" + "\n".join(report.line(fault, seen) for fault, seen in results))
    missed = sum(bool(judge(fault, seen)) for fault, seen in results)
    print(f"{len(results) - missed} as expected, {missed} not")
    return 1 if missed else 0


def _in_machine(names: list[str], write: Path | None) -> int:
    """Run in a machine whose kernel has everything; what it writes comes out with the machine's results."""
    try:
        with TemporaryDirectory() as results:
            page = Path(results) / "page.md"
            command = [*_INSIDE, *names, "--write", f"/vm/results/{page.name}"]
            status = run_in_machine(command, Options(kind="qemu", limit=_LIMIT), page.parent)
            if write is not None:
                report.merge(write, page)
            return status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except MachineError as error:
        print(f"faults: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
