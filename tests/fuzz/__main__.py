"""``python -m tests.fuzz [--runs N] [TARGET ...]``: fuzz with atheris, then measure the corpus.

Each target runs in a process of its own, from the corpus in ``tests/fuzz/corpus/TARGET``; what is new is kept in
``.fuzz/TARGET``. An exception other than DecodeError stops the run, and its input is kept there too.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from tests.fuzz.coverage import REQUIRED, replay

CORPUS = Path(__file__).parent / "corpus"
NAMES = sorted(path.name for path in CORPUS.iterdir())


def fuzz(name: str, runs: int, found: Path) -> bool:
    """Run one target; whether it survived."""
    found.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.one", name, str(found), str(CORPUS / name)]
    command += [
        f"-atheris_runs={runs}",
        "-max_len=2048",
        "-timeout=10",
        f"-artifact_prefix={found}/crash-",
        "-verbosity=0",
    ]
    done = subprocess.run(command, check=False)
    outcome = f"FAILED with exit code {done.returncode}" if done.returncode else "ok"
    print(f"{name}: {runs} runs, {outcome}", flush=True)  # noqa: T201  # a command prints
    return done.returncode == 0


def main() -> int:
    """Share the runs among the targets; exit 1 if one failed or the corpus reaches too little."""
    parser = argparse.ArgumentParser(prog="tests.fuzz")
    parser.add_argument("--runs", type=int, default=100_000, help="executions, over all targets together")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}; all by default")
    asked = parser.parse_args()
    targets = asked.targets or NAMES
    if unknown := set(targets) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    runs = -(-asked.runs // len(targets))
    survived = [fuzz(name, runs, Path(".fuzz") / name) for name in targets]
    reached = replay([CORPUS, Path(".fuzz")])
    for module, percent in reached.items():
        print(f"{percent:5.1f} % of the lines of the decoders in {module}")  # noqa: T201
    return 0 if all(survived) and min(reached.values()) >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main())
