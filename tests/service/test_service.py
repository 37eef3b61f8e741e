"""The package's service under a real systemd, on a kernel with GRE and ESP, with a feed of 1,000 packets a second."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.service.scenario import BY_COMMAND
from tests.vm.machine import Machine, Options

pytestmark = [pytest.mark.root, pytest.mark.vm]

PROJECT = Path(__file__).parents[2]
GROUP = "239.1.1.1"
STANDING = ("start", "reload", "restart", "crash", "watchdog")
Observed = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def package() -> None:
    """The package, built."""
    built = subprocess.run([str(PROJECT / "dev"), "deb"], capture_output=True, text=True, check=False, cwd=PROJECT)
    assert built.returncode == 0, built.stdout + built.stderr


@pytest.fixture(scope="module")
def seen(package: None) -> Observed:
    """What the scenario saw, by step."""
    command = [sys.executable, "-m", "tests.service.scenario", "kernel", "1000", "/vm/results/seen.jsonl"]
    with Machine(command, Options(systemd=True, limit=900.0)) as machine:
        status = machine.wait()
        lines = (machine.results / "seen.jsonl").read_text().splitlines()
        assert status == 0, machine.output().decode(errors="replace")[-4000:]
    return {found["step"]: found for found in map(json.loads, lines)}


def test_installed_it_is_not_enabled_and_enabled_it_runs_with_the_two_capabilities(seen: Observed) -> None:
    assert seen["install"]["status"] == 0, seen["install"]["printed"]
    assert seen["install"]["enabled"] == "disabled"
    assert seen["start"]["status"] == 0, seen["start"]["printed"]
    assert "CapEff:\t0000000000003000\n" in seen["start"]["process"]
    assert "CapBnd:\t0000000000003000\n" in seen["start"]["process"]
    assert seen["start"]["text"].startswith("up: 1 peer(s), 1 tunnel(s)")
    assert seen["start"]["datapaths"] == ["kernel"]


@pytest.mark.parametrize("step", STANDING)
def test_nothing_is_lost_and_the_other_side_notices_nothing(seen: Observed, step: str) -> None:
    found = seen[step]
    assert (found["lost"], found["duplicates"]) == (0, 0)
    assert found["joined"] == [GROUP, BY_COMMAND]
    assert found["ifindex"] == seen["start"]["ifindex"]
    assert found["neighbor_uptime"] >= seen["start"]["neighbor_uptime"]


def test_each_of_them_was_another_process(seen: Observed) -> None:
    assert seen["reload"]["pid"] == seen["start"]["pid"]
    pids = [seen[step]["pid"] for step in ("start", "restart", "crash", "watchdog")]
    assert len(set(pids)) == len(pids)
    assert 0 not in pids


def test_a_refused_file_fails_the_reload_with_its_reason_in_the_journal(seen: Observed) -> None:
    found = seen["reload"]
    assert (found["good"], found["active"]) == (0, "active")
    assert found["bad"] != 0
    assert "10.0.0.1 is not a multicast group" in found["journal"]


@pytest.mark.parametrize("step", ["stop", "stop after a crash"])
def test_a_stop_prunes_says_goodbye_and_takes_everything_down(seen: Observed, step: str) -> None:
    found = seen[step]
    assert (found["joined"], found["neighbors"], found["sas"]) == ([], [], "")
    assert "gre1" not in found["links"]
    assert found["files"] == ["lock"]


def test_the_journal_explains_and_purged_the_package_leaves_only_what_is_the_administrators(seen: Observed) -> None:
    found = seen["remove"]
    assert "Subject: A tunnel is up" in found["explained"]
    assert "Subject: mcastd ends and leaves everything standing" in found["explained"]
    assert (found["removed"], found["purged"], found["kept"], found["left"]) == (0, 0, True, [])
