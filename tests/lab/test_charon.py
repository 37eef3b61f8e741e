"""charon restarts at the other side, or does not answer on this one, at 1,000 packets a second."""

import signal
import sys
import time
from collections.abc import Iterator

import pytest

from mcastd.lab.charon import start_charon, wait_for_charons
from mcastd.lab.commands import wait_for
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD, DC, GROUP
from tests.faults.vici_proxy import ViciProxy
from tests.lab.datapath import RATE

pytestmark = pytest.mark.root

BACK = 10.0  # seconds from the start of the other side's charon to the feed
STALL = 20.0  # seconds; after 15.5 s without an answer charon counts as gone


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Scene(Options(prefix="mcastd-test-charon", keepalive_period=0.5, rate=RATE)) as scene:
        yield scene
        sys.stdout.write(scene.tail("mcastd", 60))


def arrived(scene: Scene) -> int:
    return scene.feed.received()[GROUP].received


def start(scene: Scene) -> None:
    scene.start_daemon()
    wait_for("the feed", lambda: arrived(scene) > 100)
    scene.wait_for_status("everything is up", lambda status: status.healthy)


@pytest.mark.parametrize("away", [2.0, 25.0])
def test_the_feed_is_back_within_seconds_of_the_other_sides_charon(scene: Scene, away: float) -> None:
    start(scene)
    wait_for("the streams are known", lambda: arrived(scene) > 5 * RATE)
    scene.kill(f"charon-{DC}", signal.SIGKILL)
    time.sleep(away)
    start_charon(scene, DC)
    wait_for_charons(scene)
    scene.dc.load()
    began, before = time.monotonic(), arrived(scene)
    wait_for("the feed", lambda: arrived(scene) > before + 100, BACK)
    sys.stdout.write(f"back after {time.monotonic() - began:.1f} s\n")
    scene.wait_for_status("everything is up", lambda status: status.healthy)


@pytest.mark.alone
def test_a_charon_that_does_not_answer_for_long_costs_no_packet(scene: Scene) -> None:
    path, charon = scene.folder / CLOUD / "proxy.vici", scene.vici(CLOUD)
    proxy = ViciProxy(path, charon)
    try:
        text = scene.config.read_text()
        scene.config.write_text(text.replace(f'vici_socket = "{charon}"', f'vici_socket = "{path}"'))
        start(scene)
        proxy.mode = "stall"
        began = time.monotonic()
        scene.wait_for_status("charon is named", lambda status: status.charon_code == "charon_gone")
        time.sleep(max(0.0, began + STALL - time.monotonic()))
        status = scene.status()
        assert (status.health, [problem.code for problem in status.problems]) == ("degraded", ["charon_gone"])
        proxy.mode = "pass"
        scene.wait_for_status("charon answers again", lambda status: status.healthy)
        before = arrived(scene)
        wait_for("more of the feed", lambda: arrived(scene) > before + RATE)
        found = scene.feed.received()[GROUP]
        assert (found.lost, found.duplicates) == (0, 0)
        assert all(child.state == "up" for peer in scene.status().peers for child in peer.children)
    finally:
        proxy.close()
