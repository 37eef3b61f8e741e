"""The package's service under a real systemd, on a kernel with GRE and ESP, with a feed of 1,000 packets a second."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from mcastd import __version__
from tests.service.scenario import BY_COMMAND, CONFFILE, FIRST, NEWER, SAME, SLOW
from tests.vm.machine import Machine, Options

pytestmark = [pytest.mark.root, pytest.mark.vm]

PROJECT = Path(__file__).parents[2]
GROUP = "239.1.1.1"
NEWER_VERSION = f"{__version__}+newer"
FIRST_RELEASE = "0.1.0"
STANDING = ("start", "reload", "restart", "crash", "watchdog", "question", "upgrade", "downgrade")
Observed = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def packages(package: None) -> None:
    """Three more of the package: the same version, a newer one whose drop-in for charon is another one, and the first.

    All are without the libraries of ``mcastd trace``, which are most of what dpkg has to do.
    """
    (built,) = (PROJECT / "build").glob("mcastd_*.deb")
    (first,) = (PROJECT / "tests" / "fixtures" / FIRST_RELEASE).glob("*.deb")
    with TemporaryDirectory() as folder:
        _pack(_unpack(first, Path(folder) / "first")[0], FIRST)
        tree, libraries = _unpack(built, Path(folder) / "tree")
        _pack(tree, SAME)
        for path in (tree / "DEBIAN/control", libraries / "mcastd/__init__.py"):
            path.write_text(path.read_text().replace(__version__, NEWER_VERSION))
        with (tree / CONFFILE.relative_to("/")).open("a") as file:
            file.write("# of the newer version\n")
        _pack(tree, NEWER)


def _unpack(package: Path, tree: Path) -> tuple[Path, Path]:
    """The files of a package, and the folder of its libraries."""
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    (libraries,) = tree.glob("usr/lib/mcastd/lib/python3*/site-packages")
    for name in ("pygments", "rich", "scapy"):
        shutil.rmtree(libraries / name, ignore_errors=True)
    return tree, libraries


def _pack(tree: Path, package: Path) -> None:
    pack = ["dpkg-deb", "-Znone", "--root-owner-group", "--build", str(tree), str(PROJECT / package)]
    subprocess.run(pack, check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def seen(packages: None) -> Observed:
    """What the scenario saw, by step."""
    command = [sys.executable, "-m", "tests.service.scenario", "kernel", "1000", "/vm/results/seen.jsonl"]
    with Machine(command, Options(systemd=True, limit=1500.0)) as machine:
        status = machine.wait()
        lines = (machine.results / "seen.jsonl").read_text().splitlines()
        assert status == 0, machine.output().decode(errors="replace")[-4000:]
    return {found["step"]: found for found in map(json.loads, lines)}


def test_installed_it_is_not_enabled_and_enabled_it_runs_with_the_three_capabilities(seen: Observed) -> None:
    assert seen["install"]["status"] == 0, seen["install"]["printed"]
    assert seen["install"]["enabled"] == "disabled"
    assert seen["install"]["sockets"] == ["mcastd", "mcastd"], "that charon has now, and that it makes next time"
    assert seen["start"]["status"] == 0, seen["start"]["printed"]
    assert "CapEff:\t0000008000003000\n" in seen["start"]["process"]
    assert "CapBnd:\t0000008000003000\n" in seen["start"]["process"]
    assert seen["start"]["text"].startswith("up: 1 peer(s), 1 tunnel(s)")
    assert seen["start"]["datapaths"] == ["kernel"]
    assert seen["start"]["warnings"] == ""


@pytest.mark.parametrize("step", STANDING)
def test_nothing_is_lost_and_the_other_side_notices_nothing(seen: Observed, step: str) -> None:
    found = seen[step]
    assert (found["lost"], found["duplicates"]) == (0, 0)
    assert found["joined"] == [GROUP, BY_COMMAND]
    assert found["ifindex"] == seen["start"]["ifindex"]
    assert found["neighbor_uptime"] >= seen["start"]["neighbor_uptime"]


def test_each_of_them_was_another_process(seen: Observed) -> None:
    assert seen["reload"]["pid"] == seen["start"]["pid"]
    pids = [seen[step]["pid"] for step in ("start", "restart", "crash", "watchdog", "upgrade", "downgrade")]
    assert len(set(pids)) == len(pids)
    assert 0 not in pids


def test_a_refused_file_fails_the_reload_with_its_reason_in_the_journal(seen: Observed) -> None:
    found = seen["reload"]
    assert (found["good"], found["active"]) == (0, "active")
    assert found["bad"] != 0
    assert "10.0.0.1 is not a multicast group" in found["journal"]


def test_a_newer_version_takes_over_once_dpkg_may_keep_the_file_that_the_administrator_changed(seen: Observed) -> None:
    asked, done = seen["question"], seen["upgrade"]
    assert asked["status"] != 0
    assert "conffile" in asked["printed"]
    assert (asked["pid"], asked["version"], asked["active"]) == (seen["watchdog"]["pid"], __version__, "active")
    assert (done["status"], done["version"]) == (0, NEWER_VERSION), done["printed"]
    assert done["conffile"].endswith("# the administrator's\n")


@pytest.fixture
def upgraded(seen: Observed) -> Observed:
    if "first release" not in seen:
        pytest.skip("the package of the first release is for Python 3.11")
    return seen


def test_the_first_release_is_upgraded_under_the_feed_and_nothing_is_lost(upgraded: Observed) -> None:
    before, after = upgraded["first release"], upgraded["from the first release"]
    assert (before["status"], before["version"]) == (0, FIRST_RELEASE), before["printed"]
    assert (after["status"], after["version"], after["active"]) == (0, __version__, "active"), after["printed"]
    assert (after["lost"], after["duplicates"]) == (before["lost"], before["duplicates"])
    assert after["joined"] == before["joined"] == [GROUP, BY_COMMAND]
    assert after["ifindex"] == before["ifindex"]
    assert after["neighbor_uptime"] >= before["neighbor_uptime"]
    assert 0 != after["pid"] != before["pid"] != 0


def test_what_the_first_release_had_set_up_is_taken_down_by_this_one(upgraded: Observed) -> None:
    found = upgraded["stop after the first release"]
    assert (found["joined"], found["neighbors"], found["sas"]) == ([], [], "")
    assert "gre1" not in found["links"]
    assert found["files"] == ["lock"]


def test_the_older_version_takes_over_as_well_and_enables_nothing(seen: Observed) -> None:
    found = seen["downgrade"]
    assert (found["status"], found["version"], found["enabled"]) == (0, __version__, "disabled"), found["printed"]


def test_a_service_that_is_stopped_stays_so(seen: Observed) -> None:
    found = seen["reinstall"]
    assert (found["status"], found["active"], found["enabled"], found["pid"]) == (0, "inactive", "enabled", 0)


@pytest.mark.parametrize("step", ["charon restarts", "charon is killed", "charon starts", "late charon"])
def test_charon_comes_and_the_same_process_has_the_feed_back_in_seconds(seen: Observed, step: str) -> None:
    before = seen["without charon" if step == "late charon" else "downgrade"]
    assert seen[step]["pid"] == before["pid"] != 0
    assert seen[step]["joined"][0] == GROUP
    assert seen[step]["took"] < 30.0


def test_charon_stops_alone(seen: Observed) -> None:
    found = seen["charon stops"]
    assert (found["active"], found["pid"]) == ("active", seen["downgrade"]["pid"])


def test_at_boot_the_service_starts_right_after_charon_and_nothing_fails(seen: Observed) -> None:
    found = seen["boot"]
    assert (found["status"], found["failed"], found["verified"]) == (0, "", [0, ""]), found["printed"]
    charon, mcastd = found["times"]["strongswan"], found["times"]["mcastd"]
    assert charon[1] - charon[0] > SLOW
    assert charon[1] <= mcastd[0] < charon[1] + 3.0
    assert mcastd[1] < mcastd[0] + 30.0


def test_stopped_together_with_charon_it_still_says_goodbye(seen: Observed) -> None:
    assert (seen["boot"]["stopped_joined"], seen["boot"]["stopped_neighbors"]) == ([], [])


def test_without_charon_it_is_ready_and_says_what_is_missing(seen: Observed) -> None:
    found = seen["without charon"]
    assert (found["status"], found["active"]) == (0, "active"), found["printed"]
    for said in (found["text"], found["journal"], found["doctor"]):
        assert "charon does not answer on /run/charon.vici" in said


@pytest.mark.parametrize("step", ["stop", "stop after a crash"])
def test_a_stop_prunes_says_goodbye_and_takes_everything_down(seen: Observed, step: str) -> None:
    found = seen[step]
    assert (found["joined"], found["neighbors"], found["sas"]) == ([], [], "")
    assert "gre1" not in found["links"]
    assert found["files"] == ["lock"]


def test_the_journal_explains_and_purged_the_package_leaves_only_what_is_the_administrators(seen: Observed) -> None:
    found = seen["remove"]
    assert "Subject: A tunnel is up" in found["explained"]
    assert "Subject: mcastd exits without teardown" in found["explained"]
    assert (found["removed"], found["purged"], found["kept"], found["left"]) == (0, 0, True, [])
