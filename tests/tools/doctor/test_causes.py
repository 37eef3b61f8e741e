"""Each cause is declared once, found by a case of ``cases``, and in docs/doctor.md as it is declared."""

import ast
import re
from inspect import getsource
from pathlib import Path

import pytest

from mcastd.tools.doctor.finding import Cause
from mcastd.tools.doctor.hops import applications, delivery, forwarding, gre, host, ipsec, pim, routing, status
from mcastd.tools.doctor.walk import HOPS, walk
from tests.tools.doctor.cases import CASES

MANUAL = Path(__file__).parents[3] / "docs" / "doctor.md"
MODULES = (applications, host, routing, status, ipsec, gre, pim, delivery, forwarding)
CAUSES = {cause.name.lower(): cause for declared in Cause.__subclasses__() for cause in declared}
ROW = re.compile(r"\| `(\w+)` \| ([a-z_, ]+) \| (.+) \|")


def rows() -> dict[str, tuple[list[str], str]]:
    """The table of the manual: by code, the hops and what it means."""
    found = [match.groups() for line in MANUAL.read_text().splitlines() if (match := ROW.fullmatch(line))]
    assert len({code for code, _, _ in found}) == len(found)
    return {code: (hops.split(", "), means) for code, hops, means in found}


def test_the_manual_has_every_cause_as_it_is_declared() -> None:
    expected = {code: cause.means for code, cause in CAUSES.items()}
    assert {code: means for code, (_, means) in rows().items()} == expected


def test_the_manual_names_the_hops_that_find_a_cause() -> None:
    at: dict[str, set[str]] = {}
    for code, broken in CASES.values():
        finding = walk(broken).finding
        assert finding is not None
        at.setdefault(code, set()).add(finding.hop)
    assert {code: set(hops) for code, (hops, _) in rows().items()} == at
    assert all(set(hops) <= HOPS.keys() for hops, _ in rows().values())


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_cause_is_given_the_names_in_its_text(module: object) -> None:
    calls = [
        node
        for node in ast.walk(ast.parse(getsource(module)))  # type: ignore[arg-type]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "found"
    ]
    assert calls
    for call in calls:
        assert isinstance(call.func, ast.Attribute)
        declared = vars(module).get(getattr(getattr(call.func.value, "value", None), "id", ""))
        cause = getattr(declared, getattr(call.func.value, "attr", ""), None)
        names = {str(keyword.arg) for keyword in call.keywords}
        if isinstance(cause, Cause) and "None" not in names:
            assert set(re.findall(r"{(\w+)}", cause.remedy)) <= names, cause


def test_a_finding_has_its_names_filled_in() -> None:
    finding = pim.Pim.WRONG_NEIGHBOR.found("10.0.0.1 is heard", tunnel="gre1")
    assert "tunnels.gre1.pim.neighbor" in finding.change
    assert "{" not in finding.change
