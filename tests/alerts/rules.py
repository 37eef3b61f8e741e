"""The alerts of etc/, as they are and scaled down in time, and the queries of the dashboard. Pure.

Scaled down are the rules' own times, ``for`` and the ranges of expressions, by the same factor as the scrape interval:
what an expression sees is what it sees in production. The times of mcastd itself are not scaled.
"""

import json
import re
from pathlib import Path
from typing import Any, Final

ETC: Final = Path(__file__).parents[2] / "etc"
RULES: Final = (ETC / "prometheus-alerts.yml").read_text()
DASHBOARD: Final[dict[str, Any]] = json.loads((ETC / "grafana-dashboard.json").read_text())
INTERVAL: Final = 15  # seconds between two scrapes, in docs/monitoring.md; in the lab one

_SECONDS: Final = {"s": 1, "m": 60}


def alerts() -> list[dict[str, str]]:
    """What is below each ``- alert:``, without the quotes."""
    found = []
    for rule in RULES.split("- alert: ")[1:]:
        pairs = re.findall(r"(?m)^ *(\w+): (.+)$", f"alert: {rule}")
        found.append({key: value[1:-1] if value.startswith("'") else value for key, value in pairs})
    return found


def panels() -> list[dict[str, Any]]:
    """The panels of the dashboard."""
    found: list[dict[str, Any]] = DASHBOARD["panels"]
    return found


def scaled() -> str:
    """The rules as they are, but for their times."""

    def down(match: re.Match[str]) -> str:
        return f"{match[1]}{int(match[2]) * _SECONDS[match[3]] / INTERVAL * 1000:.0f}ms"

    return re.sub(r"(for: |\[)(\d+)([sm])\b", down, RULES)


def selectors(expression: str) -> set[str]:
    """The series that an expression asks for; of problems those with any code, since most exist at no time."""
    found = re.findall(r"\b(?:mcastd_\w+|up\b)(?:{[^}]*})?", expression)
    return {re.sub(r"{code=[^}]*}", "", one) for one in found}
