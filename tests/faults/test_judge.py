"""Every expectation of a fault can fail, and the page keeps the rows of faults that did not run."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from mcastd.problems import ProblemCode
from mcastd.tools.doctor import walk  # noqa: F401  # it declares all causes
from mcastd.tools.doctor.finding import Cause
from tests.faults import charon, daemon, far, files, here, host, path, report
from tests.faults.fault import Fault, Group, Observed, judge, nothing
from tests.faults.list import FAULTS

FAULT = Fault(
    name="path-cut",
    group=Group.PATH,
    what="the path is cut",
    inject=nothing,
    lost=2.0,
    recovery=3.0,
    codes=("all_silent", "no_answer"),
    health=("degraded",),
    doctor=("nothing_comes_back",),
    left=("conf/",),
)
AS_EXPECTED = Observed(
    lost=2000,
    lasted=7.0,
    shown={"all_silent": 3.1, "keepalives_stopped": 6.0},
    worst="degraded",
    doctor="nothing_comes_back",
    back=2.9,
    settled=4.0,
    left=("conf/gre1/rp_filter:2",),
)


def test_what_is_as_expected() -> None:
    assert judge(FAULT, AS_EXPECTED) == []
    unbounded = replace(FAULT, lost=None)
    assert judge(unbounded, replace(AS_EXPECTED, lost=90_000)) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"lost": 2001}, "2001 packets lost, 2000 at most expected"),
        ({"rate": 50.0}, "2000 packets lost, 100 at most expected"),
        ({"shown": {}}, "status showed nothing; one of all_silent, no_answer within 5 s expected"),
        ({"shown": {"all_silent": 5.1}}, "status showed all_silent after 5.1 s"),
        ({"shown": {"flapping": 1.0}}, "status showed flapping after 1.0 s"),
        ({"worst": "ok"}, "health was ok"),
        ({"worst": "down"}, "health was down"),
        ({"doctor": None}, "the doctor said that nothing is broken, not nothing_comes_back"),
        ({"doctor": "no_way"}, "the doctor found no_way, not nothing_comes_back"),
        ({"asked": ("no_answer",)}, "the doctor asks the other side for no_answer"),
        ({"back": 3.1}, "the feed was back after 3.1 s, not 3"),
        ({"back": None}, "the feed did not come back"),
        ({"settled": None}, "health was not ok within 75 s"),
        ({"left": ("gre1: <UP>",)}, "left after SIGTERM: gre1: <UP>"),
        ({"error": "the lab failed: x"}, "the lab failed: x"),
    ],
)
def test_what_is_not(changed: dict[str, object], words: str) -> None:
    misses = judge(replace(FAULT, ours="asked" in changed), replace(AS_EXPECTED, **changed))  # type: ignore[arg-type]
    assert len(misses) == 1
    assert misses[0].startswith(words)


def test_nothing_may_be_left_where_a_fault_says_nothing_of_it() -> None:
    assert judge(replace(FAULT, left=()), AS_EXPECTED) == ["left after SIGTERM: conf/gre1/rp_filter:2"]


def test_what_passes_within_the_rule_has_its_sign_within_what_it_lasts() -> None:
    early = [one.name for one in FAULTS.values() if one.codes and one.within > one.lasts]
    assert early == []


def test_the_page_keeps_what_did_not_run_now(tmp_path: Path) -> None:
    page = tmp_path / "reliability.md"
    cut, dead = FAULTS["path-cut"], FAULTS["far-charon-dead"]
    report.write(page, [(cut, AS_EXPECTED), (dead, replace(AS_EXPECTED, lost=7000))])
    before = page.read_text()
    report.write(page, [(cut, replace(AS_EXPECTED, lost=9000, doctor=None))])
    after = page.read_text()
    assert [line for line in after.splitlines() if "far-charon-dead" in line] == [
        line for line in before.splitlines() if "far-charon-dead" in line
    ]
    assert "| `path-cut` |" in after
    assert "9000 (7 s)" in after
    assert "no: " in after


def test_the_page_has_no_rows_of_faults_that_there_are_no_more(tmp_path: Path) -> None:
    page = tmp_path / "reliability.md"
    page.write_text("| `what-was` | x | 1 | 1 | 1 | yes |\n")
    report.write(page, [(FAULTS["path-cut"], AS_EXPECTED)])
    assert "what-was" not in page.read_text()


def test_every_code_is_one_of_status_and_every_finding_one_of_the_doctor() -> None:
    codes = {code for fault in FAULTS.values() for code in fault.codes}
    assert codes <= set(get_args(ProblemCode))
    findings = {found for fault in FAULTS.values() for found in fault.doctor}
    assert findings <= {cause.name.lower() for declared in Cause.__subclasses__() for cause in declared}


def test_each_fault_has_a_name_of_its_own() -> None:
    parts = (path, here, host, charon, far, daemon, files)
    assert sum(len(part.FAULTS) for part in parts) == len(FAULTS)
