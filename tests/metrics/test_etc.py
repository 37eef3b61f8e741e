"""The alerts and the dashboard use what there is: metrics, labels, and codes and states as their values."""

import re
import subprocess
from pathlib import Path
from typing import Final, get_args

import pytest

from mcastd.metrics.page import TABLES
from mcastd.problems import ProblemCode
from mcastd.status import ForwardState, Health
from tests.alerts.cases import CASES
from tests.alerts.prometheus import PROGRAMS
from tests.alerts.rules import ETC, alerts, panels, scaled
from tests.metrics.samples import made, text

LABELS: Final = {
    family.sample: {"job", "instance", *table.labels, *family.labels} for table in TABLES for family in table.families
}
VALUES: Final = {
    "code": set(get_args(ProblemCode)),
    "state": {*get_args(Health), *get_args(ForwardState)},
    "side": {"a", "b", "both"},
}


QUERIES: Final = [
    *((one["expr"], one["summary"]) for one in alerts()),
    *((target["expr"], target["legendFormat"]) for panel in panels() for target in panel["targets"]),
]


@pytest.mark.parametrize(("query", "text"), QUERIES, ids=[query for query, _ in QUERIES])
def test_a_query_uses_what_there_is(query: str, text: str) -> None:
    names = re.findall(r"\b(?:mcastd_\w+|up)\b(?:{([^}]*)})?", query)
    used = re.findall(r"\b(mcastd_\w+)\b", query)
    assert set(used) <= LABELS.keys()
    assert names
    of_all = {"job", "instance"} | {label for name in used for label in LABELS[name]}
    for selector in names:
        for label, value in re.findall(r'(\w+)=~?"([^"]*)"', selector):
            assert label in of_all
            if label in VALUES:
                assert set(value.split("|")) <= VALUES[label]
    for labels in re.findall(r"by \(([^)]*)\)", query):
        assert set(labels.split(", ")) <= of_all
    assert set(re.findall(r"{{ ?(?:\$labels\.)?(\w+) ?}}", text)) <= of_all


def test_each_alert_says_what_is_wrong_and_what_to_do() -> None:
    found = alerts()
    assert len({one["alert"] for one in found}) == len(found) > 20
    for one in found:
        assert one["severity"] in ("critical", "warning")
        assert one["summary"]


def test_each_alert_fires_by_a_fault_to_which_its_runbook_leads_and_the_documentation_too() -> None:
    steps = [(alert, command) for case in CASES for alert, (command, _) in case.alerts.items()]
    assert sorted(alert for alert, _ in steps) == sorted(one["alert"] for one in alerts())
    runbooks = {one["alert"]: one["runbook"] for one in alerts()}
    for alert, command in steps:
        assert runbooks[alert].startswith(command), alert
        place = re.search(r" \((docs/\w+\.md), ([^()]+)\)$", runbooks[alert])
        assert place is not None, alert
        _, heading, after = (ETC.parent / place[1]).read_text().partition(f"\n## {place[2]}\n")
        assert heading, place
        section = after.partition("\n## ")[0]
        assert command.removesuffix("ROUP") in section, (alert, place[2])
        assert alert in section or place[1] != "docs/monitoring.md", alert


def test_each_legend_says_of_which_instance_it_is() -> None:
    for target in (target for panel in panels() for target in panel["targets"]):
        assert target["legendFormat"].startswith("{{instance}} ")
        for labels in re.findall(r"by \(([^)]*)\)", target["expr"]):
            assert "instance" in labels.split(", ")


def test_panels_do_not_overlap() -> None:
    taken = set[tuple[int, int]]()
    for panel in panels():
        at = panel["gridPos"]
        area = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not area & taken
        taken |= area
        assert at["x"] + at["w"] <= 24


def promtool(*arguments: str | Path, text: str = "") -> None:
    """It finds nothing: no error, and nothing that is not as is customary."""
    command = [str(PROGRAMS / "promtool"), "check", *map(str, arguments)]
    judged = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (judged.returncode, judged.stderr) == (0, "")


def test_promtool_has_nothing_against_them(tmp_path: Path) -> None:
    scaled_rules = tmp_path / "rules.yml"
    scaled_rules.write_text(scaled())
    promtool("rules", ETC / "prometheus-alerts.yml", scaled_rules)
    promtool("metrics", text=text(made()))
