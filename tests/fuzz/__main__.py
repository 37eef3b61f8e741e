"""``python -m tests.fuzz [--runs N] [TARGET ...]``: fuzz with atheris, then measure the corpus.

Each target runs in a process of its own, from the corpus in ``tests/fuzz/corpus/TARGET``; what is new is kept in
``.fuzz/corpus/TARGET``. A target that ends in any other way than by having done its runs is a failure, and it is said
which: an exception other than DecodeError, too slow, too big, or a signal. Its input is kept in ``.fuzz/failed``, with
what came before where the target has a memory, and its output in ``.fuzz/log``; what is kept is then run again by
itself, to say whether it is the input, or was the machine.
"""

import argparse
import signal
import subprocess
import sys
from pathlib import Path

from tests.fuzz.coverage import REQUIRED, replay
from tests.fuzz.targets import FAILED, HISTORY

CORPUS = Path(__file__).parent / "corpus"
NAMES = sorted(path.name for path in CORPUS.iterdir())
FOLDER = FAILED.parent
TIMEOUT = 4  # seconds of the wall clock for one input: generous, for a machine that does other things too
MEMORY = 1024  # MB
# libFuzzer's exit codes.
ENDS = {
    70: f"TOO SLOW, over {TIMEOUT} s for one input",
    71: f"TOO BIG, over {MEMORY} MB",
    72: "INTERRUPTED",
    77: "FAILED, with an exception or a crash",
}


def outcome(code: int) -> str:
    """An exit code in words."""
    if code < 0:
        return f"KILLED by {signal.Signals(-code).name}"
    return ENDS.get(code, f"ENDED with exit code {code}")


def command(name: str, *arguments: object) -> list[str]:
    """How to run one target."""
    limits = (f"-timeout={TIMEOUT}", f"-rss_limit_mb={MEMORY}")
    return [sys.executable, "-m", "tests.fuzz.one", name, *map(str, arguments), *limits]


def fuzz(name: str, runs: int) -> str | None:
    """Run one target; None if it survived, else what happened."""
    found, log = FOLDER / "corpus" / name, FOLDER / "log" / name
    for each in (found, FAILED, log.parent):
        each.mkdir(parents=True, exist_ok=True)
    HISTORY.unlink(missing_ok=True)
    before = set(FAILED.iterdir())
    words = (f"-atheris_runs={runs}", "-max_len=2048", f"-artifact_prefix={FAILED}/{name}-", "-print_final_stats=1")
    with log.open("wb") as output:
        done = subprocess.run(command(name, found, CORPUS / name, *words), check=False, stdout=output, stderr=output)
    if done.returncode == 0:
        return None
    said = outcome(done.returncode)
    kept = sorted(set(FAILED.iterdir()) - before)
    again = "".join(f"\n  {path}: {run_again(name, path)}" for path in kept) or "\n  no input was kept"
    last = log.read_text(errors="replace").splitlines()[-40:]
    return f"{said}; its output is {log}{again}\n" + "\n".join(f"  | {line}" for line in last)


def run_again(name: str, path: Path) -> str:
    """Run a kept input by itself, in a process of its own, and say how that ended."""
    asked = ["--history", path] if path == HISTORY else [path]
    done = subprocess.run(command(name, *asked), check=False, capture_output=True)
    return outcome(done.returncode) + ", again" if done.returncode else "by itself it runs through"


def main() -> int:
    """Share the runs among the targets; exit 1 if one failed or, else, the corpus reaches too little."""
    parser = argparse.ArgumentParser(prog="tests.fuzz")
    parser.add_argument("--runs", type=int, default=100_000, help="executions, over all targets together")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}; all by default")
    asked = parser.parse_args()
    targets = asked.targets or NAMES
    if unknown := set(targets) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    runs = -(-asked.runs // len(targets))
    failures = 0
    for name in targets:
        failure = fuzz(name, runs)
        failures += failure is not None
        print(f"{name}: {runs} runs, {failure or 'ok'}", flush=True)  # noqa: T201  # a command prints
    if failures:
        return 1
    reached = replay([CORPUS, FOLDER / "corpus"])
    for module, percent in reached.items():
        print(f"{percent:5.1f} % of the lines of the decoders in {module}")  # noqa: T201
    if too_little := [module for module, percent in reached.items() if percent < REQUIRED]:
        print(f"less than {REQUIRED:g} % of: {', '.join(too_little)}")  # noqa: T201
    return 1 if too_little else 0


if __name__ == "__main__":
    sys.exit(main())
