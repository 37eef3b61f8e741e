"""How the benchmarks print what they measure: a line a figure, with the target beside it."""

import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def say(what: str, value: float, unit: str, target: float | None = None) -> None:
    """Print one figure; ``target`` is the most that it may be."""
    verdict = "" if target is None else f"   (at most {target:g}: {'met' if value <= target else 'MISSED'})"
    sys.stdout.write(f"{what:<64} {value:10.2f} {unit}{verdict}\n")
    sys.stdout.flush()


def say_all(what: str, values: Sequence[float], unit: str, target: float | None = None) -> None:
    """Print the median of several runs, against the target, and what lies around it."""
    say(f"{what}: median of {len(values)}", statistics.median(values), unit, target)
    say(f"{what}: least", min(values), unit)
    say(f"{what}: most", max(values), unit)


def cpu(pid: int) -> float:
    """The seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK
