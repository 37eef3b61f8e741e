"""What came of faults as text: a line of the table on the terminal, and docs/reliability.md."""

import os
import platform
import re
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path

from tests.faults.fault import Fault, Group, Observed, judge
from tests.faults.list import FAULTS

_HEAD = """\
# Reliability

What came of each fault that `./dev faults` injects into the lab: real charon, FRR and NAT, a feed of 1,000 packets a
second. `./dev faults --write docs/reliability.md` writes this page; [testing.md](testing.md) says how to add one.

- *Lost* are the packets of the feed from the injection to the end, so with a path that is cut also those of the
  seconds for which it was cut (in brackets, how long the fault lasted).
- *Back* is the time from the end of the fault until the next packet.
- *Shown* is what `mcastd status` showed, with the seconds since the first sign of the fault: the last packet before
  the feed fell silent or, where it did not, the injection. Then what `mcastd doctor` found.
- *As expected* compares that with what `tests/faults` requires; where it is "no", it says what differs.

Each row is of the last run of that fault; a fault without a row has not been run yet.

Last written on {day}: {machine}.
"""
_RATE = 1000.0  # packets a second in the lab
_TABLE = "| fault | what happens | lost | back | shown | as expected |\n|---|---|---|---|---|---|\n"
_ROW = re.compile(r"^\| `([a-z0-9-]+)` \|.*$", re.MULTILINE)


def line(fault: Fault, seen: Observed) -> str:
    """One line for the terminal."""
    verdict = "MISS" if judge(fault, seen) else "ok"
    return f"{verdict:5}{fault.name:26} lost {seen.lost:6}  back {_back(seen):>6}  {_shown(seen)}"


def write(path: Path, results: Iterable[tuple[Fault, Observed]]) -> None:
    """Write the page; the rows of faults that are not among the results stay as they are."""
    _write(path, _rows(path) | {fault.name: _row(fault, seen) for fault, seen in results})


def merge(path: Path, other: Path) -> None:
    """Take the rows of another page, which a virtual machine has written, into this one."""
    _write(path, _rows(path) | _rows(other))


def _rows(path: Path) -> dict[str, str]:
    return {match[1]: match[0] for match in _ROW.finditer(path.read_text())} if path.exists() else {}


def _write(path: Path, rows: Mapping[str, str]) -> None:
    text = _HEAD.format(day=date.today().isoformat(), machine=_machine())
    for group in Group:
        its = [rows[name] for name, fault in FAULTS.items() if fault.group is group and name in rows]
        if its:
            text += f"\n## {group.value}\n\n{_TABLE}" + "".join(f"{row}\n" for row in its)
    path.write_text(text)


def _row(fault: Fault, seen: Observed) -> str:
    misses = judge(fault, seen)
    where = "" if seen.rate == _RATE else f" at {seen.rate:.0f} packets a second, in a virtual machine"
    cells = (
        f"`{fault.name}`",
        fault.what,
        f"{seen.lost} ({seen.lasted:.0f} s){where}",
        _back(seen),
        _shown(seen),
        f"no: {'; '.join(misses)}" if misses else "yes",
    )
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _back(seen: Observed) -> str:
    return "never" if seen.back is None else f"{seen.back:.1f} s"


def _shown(seen: Observed) -> str:
    codes = [f"{code} {after:.1f} s" for code, after in sorted(seen.shown.items(), key=lambda one: one[1])]
    return f"{seen.worst}: {', '.join(codes) or 'nothing'}" + (
        f"; doctor: {seen.doctor} in {seen.doctor_took:.1f} s" if seen.doctor else ""
    )


def _machine() -> str:
    release = platform.freedesktop_os_release().get("PRETTY_NAME", "?")
    return f"{os.cpu_count()} processors, {release}, kernel {platform.release()}, Python {platform.python_version()}"
