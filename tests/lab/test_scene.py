"""The scene itself: what it refuses, what it leaves behind, what it repairs. Without the daemon."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mcastd.errors import LabError
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.state import NETNS, SceneState, inode
from mcastd.lab.topology import NODES

PREFIX = "mcastd-test-scene"
OPTIONS = Options(prefix=PREFIX)
NAMES = [f"{PREFIX}-{node}" for node in NODES]
ROOT = Path(__file__).parents[2]
IMPORTS = """
from mcastd.lab import show
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
"""

pytestmark = pytest.mark.root


def wait(what: str, ready: Callable[[], object], patience: float = 20.0) -> None:
    deadline = time.monotonic() + patience
    while not ready():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def processes_of_the_scene() -> list[str]:
    """Command lines that name the folder of the scene, or its namespaces."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{PREFIX}-" in line:
            found.append(line)
    return found


def assert_nothing_left() -> None:
    assert [name for name in NAMES if inode(name)] == []
    assert processes_of_the_scene() == []
    assert not Path(f"/run/{PREFIX}-lab").exists()


def host() -> tuple[str, ...]:
    """What the scene must not touch: the links, addresses, routes and rules of the host's own namespace."""
    questions = (["ip", "-o", "addr"], ["ip", "route", "show", "table", "all"], ["nft", "list", "ruleset"])
    return tuple(subprocess.run(line, capture_output=True, text=True, check=True).stdout for line in questions)


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    Scene(OPTIONS).down()
    yield
    Scene(OPTIONS).down()
    for name in NAMES:
        if inode(name):
            subprocess.run(["ip", "netns", "del", name], check=True)


def start(body: str) -> subprocess.Popen[str]:
    code = f"{IMPORTS}scene = Scene(Options(prefix={PREFIX!r}))\n{body}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_a_scene_is_built_of_real_parts_and_leaves_nothing_behind() -> None:
    before = host()
    with Scene(OPTIONS) as scene:
        assert all(process.alive for process in scene.state.record.processes)
        assert scene.dc.security_associations() == ""
        assert scene.dc.neighbors() == []
        assert "10.44.4.5/30" in scene.command("dc", ["ip", "addr", "show", "gre1"])
        assert scene.feed.received()["239.1.1.1"].received == 0
        assert host() == before
    assert_nothing_left()
    assert host() == before


def test_the_data_centre_has_no_igmp_on_its_tunnel_and_is_the_rp() -> None:
    with Scene(OPTIONS) as scene:
        # FRR opens an IGMP socket for multicast traceroute on every PIM interface, and says so: that one is no IGMP.
        assert set(re.findall(r"^(?:gre1|lan0) +(\w+)", scene.dc.frr("show ip igmp interface"), re.M)) == {"mtrc"}
        assert "ip igmp" not in scene.dc.frr("show running-config")
        rps = scene.dc.frr_json("show ip pim rp-info")
    assert rps["100.15.30.253"][0]["iAmRP"] is True


def test_the_gateway_translates_one_address_and_passes_nothing_else() -> None:
    with Scene(OPTIONS) as scene:
        assert scene.exec("cloud", ["ping", "-c1", "-W2", "177.54.214.20"]).returncode == 0
        assert scene.exec("dc", ["ping", "-c1", "-W2", "222.45.67.1"]).returncode == 0
        scene.command("cloud", ["ip", "address", "add", "10.44.6.1/32", "dev", "lo"])
        assert scene.exec("cloud", ["ping", "-c1", "-W1", "-I", "10.44.6.1", "177.54.214.20"]).returncode != 0
        assert scene.exec("dc", ["ping", "-c1", "-W1", "10.1.1.246"]).returncode != 0


def test_unanswered_keepalives_take_the_line_down_and_no_shutdown_brings_it_up() -> None:
    with Scene(Options(prefix=PREFIX, keepalive_period=0.1)) as scene:
        wait("the line goes down", lambda: scene.dc.keepalives().line_protocol == "down")
        assert scene.dc.keepalives().sent > 3
        assert scene.dc.frr_json("show ip pim interface")["gre1"]["state"] == "down"
        scene.dc.no_shutdown()
        wait("the line comes up", lambda: "state UP" in scene.command("dc", ["ip", "link", "show", "gre1"]) or ",UP" in
             scene.command("dc", ["ip", "link", "show", "gre1"]))  # fmt: skip


def test_a_foreign_namespace_is_refused_and_left_alone() -> None:
    foreign = NAMES[2]
    subprocess.run(["ip", "netns", "add", foreign], check=True)
    number = inode(foreign)
    with pytest.raises(LabError, match=f"{foreign}: exists, and was not created by the lab"):
        Scene(OPTIONS).up()
    assert inode(foreign) == number
    Scene(OPTIONS).down()
    assert inode(foreign) == number
    assert [name for name in NAMES if inode(name)] == [foreign]
    assert not Path(f"/run/{PREFIX}-lab").exists()


def test_a_namespace_that_was_made_again_by_somebody_else_is_not_ours() -> None:
    scene = Scene(OPTIONS)
    scene.up()
    name = NAMES[3]
    old = inode(name)
    subprocess.run(["umount", str(NETNS / name)], check=True)
    (NETNS / name).unlink()
    subprocess.run(["ip", "netns", "add", name], check=True)
    assert inode(name) != old
    scene.down()
    assert [left for left in NAMES if inode(left)] == [name]


def test_two_labs_at_once_are_refused_and_the_first_lives_on() -> None:
    with Scene(OPTIONS) as scene:
        with pytest.raises(LabError, match=f"another `mcastd lab` is running \\(process {os.getpid()}\\)"):
            Scene(OPTIONS).up()
        with pytest.raises(LabError, match="another `mcastd lab` is running"):
            Scene(OPTIONS).down()
        assert all(process.alive for process in scene.state.record.processes)
    assert_nothing_left()


def test_a_kept_scene_is_found_again_and_not_built_twice() -> None:
    scene = Scene(OPTIONS)
    scene.up()
    scene.keep()
    with pytest.raises(LabError, match="up already"):
        Scene(OPTIONS).up()
    found = Scene(OPTIONS)
    found.attach()
    assert found.command("source", ["hostname"])
    found.down()
    scene.reap()
    assert_nothing_left()


def test_exec_without_a_scene_says_so() -> None:
    with pytest.raises(LabError, match="not up"):
        Scene(OPTIONS).attach()


def test_what_a_crash_left_is_repaired_by_up() -> None:
    crashed = start("scene.up(); print('up', flush=True); import time; time.sleep(600)")
    assert crashed.stdout is not None
    assert crashed.stdout.readline() == "up\n"
    crashed.kill()
    crashed.communicate()
    left = {inode(name) for name in NAMES}
    assert None not in left
    with Scene(OPTIONS) as scene:
        assert all(process.alive for process in scene.state.record.processes)
    assert_nothing_left()


def test_what_a_crash_left_is_removed_by_down() -> None:
    crashed = start("scene.up(); print('up', flush=True); import time; time.sleep(600)")
    assert crashed.stdout is not None
    assert crashed.stdout.readline() == "up\n"
    crashed.kill()
    crashed.communicate()
    stray = subprocess.Popen(["ip", "netns", "exec", NAMES[0], "sleep", "600"])
    wait("the stray is inside", lambda: "sleep" in Path(f"/proc/{stray.pid}/comm").read_text())
    Scene(OPTIONS).down()
    assert stray.wait(5) == -signal.SIGTERM
    assert_nothing_left()


def test_a_crash_between_a_namespace_and_its_record_is_repaired() -> None:
    state = SceneState(Path(f"/run/{PREFIX}-lab"))
    state.lock()
    state.record.namespaces[NAMES[0]] = None
    state.save()
    state.unlock()
    subprocess.run(["ip", "netns", "add", NAMES[0]], check=True)
    Scene(OPTIONS).down()
    assert_nothing_left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("seen", ["mcastd-test-scene-cloud", "charon-dc.log", "dc/frr/pimd.conf"])
def test_a_signal_while_it_is_built_leaves_nothing(number: signal.Signals, seen: str) -> None:
    building = start("show.run(scene, seconds=600.0, as_json=False)")
    folder = Path(f"/run/{PREFIX}-lab")
    wait(seen, lambda: inode(seen) or (folder / "log" / seen).exists() or (folder / seen).exists())
    building.send_signal(number)
    building.send_signal(number)
    building.communicate(timeout=30)
    assert_nothing_left()


def test_a_part_that_fails_is_named_with_the_end_of_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = "mcastd.tools.peerconfig.linux.link_settings"
    monkeypatch.setattr(broken, lambda _config, _tunnel: ["link set gre1 nonsense"])
    with pytest.raises(LabError, match="nonsense"):
        Scene(OPTIONS).up()
    assert_nothing_left()
