import sys
from collections.abc import Iterator

import pytest

from mcastd.lab import topology
from mcastd.lab.commands import wait_for
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from tests.lab.datapath import KEEPALIVE_PERIOD, RATE, assert_datapath


@pytest.fixture(scope="session")
def standing_scene() -> Iterator[Scene]:
    """A scene that the tests of the main job share; it stands as long as they run, silent beside other scenes."""
    with Scene(Options(prefix="mcastd-test-lab", keepalive_period=KEEPALIVE_PERIOD, rate=RATE)) as scene:
        scene.end("source")
        # The kernel says so up to a second late, and a test must not take that for a change of its own.
        wait_for("the VM's link", lambda: "state UP" in scene.command("cloud", ["ip", "link", "show", "eth0"]))
        yield scene


@pytest.fixture(scope="module")
def _feed(standing_scene: Scene) -> Iterator[None]:
    """What the shared scene sends, as long as a module uses it."""
    standing_scene.feed.send(topology.GROUP)
    yield
    standing_scene.end("source")


@pytest.fixture
def scene(standing_scene: Scene, _feed: None) -> Iterator[Scene]:
    """The shared scene as new: no daemon, its first configuration, an application that has received nothing."""
    configuration = standing_scene.config.read_text()
    yield standing_scene
    standing_scene.stop_daemon()
    # pytest shows it where the test has failed.
    sys.stdout.write(standing_scene.tail("mcastd", 60))
    standing_scene.config.write_text(configuration)
    standing_scene.block()
    standing_scene.dc.load()
    standing_scene.feed.stop_receiving()
    standing_scene.feed.receive(topology.GROUP)


@pytest.fixture
def running(scene: Scene) -> Scene:
    """The scene with the daemon started and its feed arriving."""
    scene.start_daemon()
    wait_for("the feed", lambda: scene.feed.received()[topology.GROUP].received > 100)
    scene.wait_for_status("everything is up", lambda status: status.healthy)
    assert_datapath(scene)
    return scene
