"""What a test does in a machine, it has done outside."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.vm.kernels import PROJECT

pytestmark = [pytest.mark.root, pytest.mark.vm]


def test_what_fails_is_skipped_or_does_not_run_in_a_machine_fails_outside(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junit-xml={report}"]
    done = subprocess.run([*argv, "tests/vm/samples/outcomes.py"], cwd=PROJECT, capture_output=True, check=False)
    assert done.returncode == 1
    found = {case.get("name"): case.find("failure") for case in ET.parse(report).iter("testcase")}
    said = {name: "" if failure is None else failure.text or "" for name, failure in found.items()}
    assert found["test_passes[uml]"] is None
    assert "a reason" in said["test_fails[uml]"]
    assert "skipped in uml" in said["test_is_skipped[uml]"]
    assert "another reason" in said["test_is_skipped[uml]"]
    assert "the machine died" in said["test_kills_the_machine[uml]"]
    assert "not run in uml" in said["test_comes_too_late[uml]"]
