"""Applications on the VM get what they join, and nothing of it is in the file."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from mcastd.daemon import HAND_OVER
from mcastd.lab.commands import wait_for
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD, DC, GROUP, TUNNEL
from mcastd.status import Status
from tests.lab.pim_scene import JOIN_PRUNE, PIM, Tap, as_new, mcastd, wait_for_more
from tests.lab.service_manager import ServiceManager

pytestmark = pytest.mark.root

ANOTHER, CHANNEL, SOURCE = "239.1.1.9", "232.1.1.1", "100.15.30.11"


@pytest.fixture(scope="module")
def standing_scene() -> Iterator[Scene]:
    with Scene(Options(prefix="mcastd-test-apps", keepalive_period=120.0, follow=True)) as scene:
        yield scene


@pytest.fixture
def scene(standing_scene: Scene) -> Iterator[Scene]:
    with as_new(standing_scene) as scene:
        text = scene.config.read_text()
        scene.config.write_text(text[: text.index("[[groups]]")])
        yield scene


@pytest.fixture
def manager(scene: Scene) -> Iterator[ServiceManager]:
    """The daemon as a service; the application has joined GROUP, which is not in the file."""
    found = ServiceManager(scene)
    try:
        found.start()
        wait_for("the feed", lambda: scene.feed.received()[GROUP].received > 100)
        scene.wait_for_status("everything is up", lambda status: status.healthy)
        yield found
    finally:
        scene.stop_daemon()
        found.close()


@pytest.mark.alone
@pytest.mark.also_kernel
def test_groups_and_channels_arrive_and_are_pruned_after_the_application_has_left(
    scene: Scene, manager: ServiceManager
) -> None:
    senders = [scene.feed.send(ANOTHER), scene.feed.send(CHANNEL, source=SOURCE)]
    channel = f"{CHANNEL}@{SOURCE}"
    try:
        with Tap(scene, DC, PIM) as tap:
            scene.feed.receive(ANOTHER, channel)
            wait_for_more(scene, ANOTHER)
            wait_for_more(scene, channel)
            assert scene.dc.joined() == {GROUP, ANOTHER, channel}
            origins = {row.group: row.origins for row in scene.status().groups}
            assert origins == dict.fromkeys((GROUP, ANOTHER, CHANNEL), ("application",))
            before = scene.feed.received()
            assert (before[ANOTHER].lost, before[channel].lost) == (0, 0)
            scene.feed.stop_receiving()
            left = time.monotonic()
            wait_for("the prunes", lambda: scene.dc.joined() == set())
            assert time.monotonic() - left < 10.0
            messages = [packet for packet in tap.packets() if packet.pim_type == JOIN_PRUNE]
            pruned = [(record, packet.when) for packet in messages for record in packet.records() if record.pruned]
            assert min(when for _, when in pruned) - left > 4.5
            assert not any("*" in entry for record, _ in pruned if record.group == CHANNEL for entry in record.pruned)
    finally:
        for sender in senders:
            scene.stop(sender)


@pytest.mark.alone
@pytest.mark.also_kernel
def test_restart_reload_and_sigkill_of_the_daemon_lose_nothing(scene: Scene, manager: ServiceManager) -> None:
    for number in (HAND_OVER, signal.SIGKILL):
        manager.restart(number)
        # FRR keeps the Join for its holdtime: that it is repeated follows from its being desired again.
        scene.wait_for_status("everything is up and followed", lambda status: status.healthy and is_followed(status))
        wait_for_more(scene)
    with scene.config.open("a") as config:
        config.write(f'\n[[groups]]\ngroup = "{ANOTHER}"\ntunnel = "{TUNNEL}"\n')
    mcastd(scene, "reload")
    wait_for_more(scene)
    found = scene.feed.received()[GROUP]
    assert (found.lost, found.duplicates) == (0, 0)
    assert scene.dc.joined() == {GROUP, ANOTHER}


def is_followed(status: Status) -> bool:
    return any(one.group == GROUP and "application" in one.origins for one in status.groups)


def test_a_killed_application_is_pruned_and_what_is_not_followed_is_named(
    scene: Scene, manager: ServiceManager
) -> None:
    process = scene.feed.receive(ANOTHER)
    wait_for("the join", lambda: scene.dc.joined() == {GROUP, ANOTHER})
    os.kill(process.pid, signal.SIGKILL)
    wait_for("the prune", lambda: scene.dc.joined() == {GROUP}, 8.0)
    text = scene.config.read_text()
    scene.config.write_text(text.replace(f"[tunnels.{TUNNEL}]\n", f"[tunnels.{TUNNEL}]\nfollow = false\n"))
    mcastd(scene, "reload")
    wait_for("nothing is followed", lambda: scene.dc.joined() == set())
    shown = scene.exec(CLOUD, ["mcastd", "status"])
    assert f"applications have joined {GROUP} on {TUNNEL}, which is not joined upstream" in shown.stdout
    found = scene.exec(CLOUD, ["mcastd", "doctor"])
    assert found.returncode == 1
    assert "BROKEN: followed (not_followed)" in found.stdout
    assert f'set tunnels.{TUNNEL}.follow = true or, among its ranges, "{GROUP}/32"' in " ".join(found.stdout.split())
