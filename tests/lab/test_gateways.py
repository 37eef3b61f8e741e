"""Two gateways of one data centre, with real charons: the feed goes on by the other one."""

import signal
from collections.abc import Iterator

import pytest

from mcastd.lab.charon import list_sas
from mcastd.lab.commands import wait_for
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CHILD_GRE, CLOUD, GROUP
from tests.lab.datapath import RATE
from tests.lab.pim_scene import mcastd

pytestmark = pytest.mark.root

KEEPALIVES = "keepalive.reply = true\nkeepalive.period = 0.2\nkeepalive.retries = 3"
STANDBY_AFTER = 2.0  # seconds


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    options = Options(prefix="mcastd-test-gateways", gateways=True, keepalive_period=0.5, rate=RATE)
    with Scene(options) as scene:
        text = scene.config.read_text().replace("keepalive.reply = true", KEEPALIVES)
        after = f'[peers.dc]\nstandby_after = "{STANDBY_AFTER:.0f}s"\n'  # of its standby, too
        scene.config.write_text(text.replace("[peers.dc]\n", after))
        scene.start_daemon()
        wait_for("the feed", lambda: received(scene) > 100)
        yield scene


def received(scene: Scene) -> int:
    return scene.feed.received()[GROUP].received


def states(scene: Scene) -> dict[str, str]:
    return {peer.name: peer.state for peer in scene.status().peers}


def another_move_is_allowed(scene: Scene) -> None:
    """Wait until then."""
    active = "dc2" if states(scene)["dc"] == "standby" else "dc"
    peer = next(number for number, one in enumerate(scene.status().peers) if one.name == active)
    wait_for("the time between two moves", lambda: (scene.status().peers[peer].active_for or 0.0) > STANDBY_AFTER)


def moves(scene: Scene, to: str) -> None:
    """Wait until the feed comes by a gateway."""
    wait_for(f"{to} is used", lambda: states(scene)[to] == "up")
    before = received(scene)
    wait_for("the feed", lambda: received(scene) > before + RATE / 5)
    assert {name for name in ("dc", "dc2") if f"{name}: #" in list_sas(scene, CLOUD)} == {to}


def test_the_feed_goes_on_by_the_other_gateway(scene: Scene) -> None:
    first, second = scene.data_centres
    assert states(scene) == {"dc": "up", "dc2": "standby"}

    # The one that is not active tries, and is refused.
    initiate = f"swanctl --initiate --child {CHILD_GRE} --timeout 5 2>&1 || true"
    assert "failed" in scene.command(second.site.node, ["sh", "-c", initiate])
    assert states(scene) == {"dc": "up", "dc2": "standby"}

    # It deletes its SAs, as one that is shut down.
    another_move_is_allowed(scene)
    first.load(psk="another")
    scene.command(first.site.node, ["swanctl", "--terminate", "--ike", first.site.peer])
    moves(scene, "dc2")
    assert [problem.code for problem in scene.status().problems] == ["on_standby"]

    first.load()
    another_move_is_allowed(scene)
    mcastd(scene, "use", "dc")
    moves(scene, "dc")

    another_move_is_allowed(scene)
    first.crash()
    moves(scene, "dc2")
    assert scene.leaked() == 0
    assert scene.stop_daemon(signal.SIGTERM) == 0
    assert list_sas(scene, CLOUD) == ""
