"""What is injected so that alerts fire, what their runbooks must lead to, and what came of it. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.faults.fault import Step, nothing

FIRES, RESOLVES = 60.0, 120.0  # seconds, at most: mcastd's own times are not scaled down


@dataclass(frozen=True, kw_only=True)
class Case:
    """One fault. ``alerts`` has, for each alert that it makes fire, a command of its runbook and what that must show.

    What it shows is a regular expression. ``what`` happens is for people.
    """

    name: str
    what: str
    alerts: Mapping[str, tuple[str, str]]
    inject: Step
    undo: Step = nothing


@dataclass(kw_only=True)
class Observed:
    """What came of it. Times are in seconds since the injection, or since the fault was undone."""

    fired: dict[str, float] = field(default_factory=dict)  # also alerts that the case does not name
    shown: dict[str, str] = field(default_factory=dict)  # what the commands printed, by the command
    resolved: float | None = None  # when none fired any more
    error: str | None = None  # what kept it from going on

    def misses(self, case: Case) -> list[str]:
        """What is not as it must be."""
        found = [] if self.error is None else [self.error]
        for alert, (command, pattern) in case.alerts.items():
            if alert not in self.fired:
                found.append(f"{alert} did not fire within {FIRES:.0f} s; there were {', '.join(self.fired) or 'none'}")
            elif not re.search(pattern, self.shown.get(command, "")):
                found.append(f"{command} did not show {pattern!r}:\n{self.shown.get(command)}")
        if self.resolved is None:
            found.append(f"not resolved within {RESOLVES:.0f} s")
        return found

    def rows(self, case: Case) -> dict[str, str]:
        """The rows of docs/monitoring.md, by the alert."""
        rows = {}
        for alert, (command, pattern) in case.alerts.items():
            found = next(line for line in self.shown[command].splitlines() if re.search(pattern, line))
            shown = re.sub(r"\s+", " ", found).strip().replace("|", "/")
            rows[alert] = f"| `{alert}` | {case.what} | {self.fired[alert]:.0f} s | `{command}` | `{shown}` |"
        return rows

    def line(self, case: Case) -> str:
        """One line for the terminal."""
        fired = ", ".join(f"{alert} {after:.0f} s" for alert, after in self.fired.items()) or "none"
        resolved = "never" if self.resolved is None else f"{self.resolved:.0f} s"
        return f"{'MISS' if self.misses(case) else 'ok':5}{case.name:20} fired: {fired}; resolved: {resolved}"
