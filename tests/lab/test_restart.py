"""Restart, crash and reload lose nothing at 1,000 packets a second, and the other side notices nothing of them."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mcastd.daemon import HAND_OVER
from mcastd.lab.commands import wait_for
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD, DC, GROUP, TUNNEL
from tests.lab.pim_scene import HELLO, JOIN_PRUNE, LEAF, PIM, Tap, as_new, generation_id_of, mcastd
from tests.lab.service_manager import ServiceManager

pytestmark = pytest.mark.root

BY_COMMAND = "239.1.1.7"


@pytest.fixture(scope="module")
def standing_scene() -> Iterator[Scene]:
    # So rare that no three are missed while there is no daemon: what a flapping line loses is not looked at here.
    with Scene(Options(prefix="mcastd-test-restart", keepalive_period=120.0)) as scene:
        yield scene


@pytest.fixture
def scene(standing_scene: Scene) -> Iterator[Scene]:
    with as_new(standing_scene) as scene:
        yield scene


@contextmanager
def service(scene: Scene, *, store: bool = True) -> Iterator[ServiceManager]:
    """The daemon as a service whose feed arrives; it knows its neighbour by Hello alone."""
    scene.config.write_text(re.sub(r"(?m)^neighbor = .*\n", "", scene.config.read_text()))
    manager = ServiceManager(scene, store=store)
    try:
        manager.start()
        wait_for("the feed", lambda: scene.feed.received()[GROUP].received > 500)
        scene.wait_for_status("everything is up", lambda status: status.healthy)
        assert scene.dc.joined() == {GROUP}
        yield manager
    finally:
        scene.stop_daemon()
        manager.close()


@pytest.fixture
def managed(scene: Scene) -> Iterator[ServiceManager]:
    with service(scene) as manager:
        yield manager


def sas(scene: Scene) -> list[str | None]:
    """What names the CHILD_SAs: they would be others if anything had been negotiated again."""
    return [child.spi_in for peer in scene.status().peers for child in peer.children]


def index(scene: Scene) -> str:
    return scene.command(CLOUD, ["cat", f"/sys/class/net/{TUNNEL}/ifindex"])


def wait_for_more(scene: Scene, count: int = 500) -> None:
    before = scene.feed.received()[GROUP].received
    wait_for("more of the feed", lambda: scene.feed.received()[GROUP].received >= before + count)


@pytest.mark.alone
@pytest.mark.also_kernel
@pytest.mark.parametrize("number", [HAND_OVER, signal.SIGKILL], ids=["restart", "crash"])
def test_a_successor_adopts_everything_and_nothing_is_lost(
    scene: Scene, managed: ServiceManager, number: signal.Signals
) -> None:
    mcastd(scene, "join", BY_COMMAND)
    wait_for("both joins", lambda: scene.dc.joined() == {GROUP, BY_COMMAND})
    before = (sas(scene), index(scene))
    neighbor = scene.dc.frr_json("show ip pim neighbor")[TUNNEL][LEAF]
    with Tap(scene, DC, PIM) as pim:
        status = managed.restart(number)
        scene.wait_for_status("everything is up", lambda status: status.healthy)
        wait_for("the refresh", lambda: refreshed(scene, pim) >= {GROUP, BY_COMMAND})
        wait_for_more(scene)
        ours = [packet for packet in pim.packets() if packet.source == LEAF]
    assert status == (0 if number is HAND_OVER else -signal.SIGKILL)
    found = scene.feed.received()[GROUP]
    assert (found.lost, found.duplicates) == (0, 0)
    assert (sas(scene), index(scene)) == before
    assert scene.dc.joined() == {GROUP, BY_COMMAND}
    successors = [packet.pim_type for packet in ours if packet.when > scene.exec_time]
    assert successors[0] == HELLO
    assert JOIN_PRUNE in successors[:3]
    hellos = [packet for packet in ours if packet.pim_type == HELLO]
    assert {generation_id_of(hello) for hello in hellos} == {_generation_id(scene)}
    assert not [hello for hello in hellos if hello.data[24:30] == GOODBYE]
    assert not [
        record for packet in ours if packet.pim_type == JOIN_PRUNE for record in packet.records() if record.pruned
    ]
    assert scene.dc.frr_json("show ip pim neighbor")[TUNNEL][LEAF]["upTime"] >= neighbor["upTime"]
    assert scene.leaked() == 0


GOODBYE = b"\0\1\0\2\0\0"  # the first option: Holdtime, of 0 seconds


def refreshed(scene: Scene, pim: Tap) -> set[str]:
    """What was joined since the daemon was last started."""
    joins = [packet for packet in pim.joins() if packet.when > scene.exec_time and packet.source == LEAF]
    return {record.group for packet in joins for record in packet.records() if record.joined}


def _generation_id(scene: Scene) -> bytes:
    pim = scene.status().tunnels[0].pim
    assert pim is not None
    assert pim.generation_id is not None
    return pim.generation_id.to_bytes(4, "big")


@pytest.mark.parametrize("number", [HAND_OVER, signal.SIGKILL], ids=["restart", "crash"])
def test_without_the_descriptor_store_packets_are_lost(scene: Scene, number: signal.Signals) -> None:
    """What the tests above hold is the store's doing, where mcastd carries GRE itself."""
    with service(scene, store=False) as manager:
        datapath = scene.status().tunnels[0].datapath
        manager.restart(number)
        wait_for_more(scene)
        assert bool(scene.feed.received()[GROUP].lost) == (datapath == "userspace")


@pytest.mark.also_kernel
def test_a_stop_after_a_restart_leaves_no_state(scene: Scene, managed: ServiceManager) -> None:
    first = _generation_id(scene)
    managed.restart(HAND_OVER)
    assert _generation_id(scene) == first
    assert managed.stop() == 0
    assert managed.stored == {}
    assert {path.name for path in (scene.folder / "cloud" / "run").iterdir()} == {"lock"}
    wait_for("FRR has forgotten the neighbour", lambda: scene.dc.neighbors() == [])
    managed.start()
    scene.wait_for_status("everything is up", lambda status: status.healthy, 40.0)
    assert _generation_id(scene) != first


@pytest.mark.also_kernel
def test_after_a_crash_cleanup_takes_everything_down(scene: Scene, managed: ServiceManager) -> None:
    managed.stop(signal.SIGKILL)
    assert scene.dc.joined() == {GROUP}
    managed.close()
    mcastd(scene, "cleanup")
    wait_for("FRR has pruned the group", lambda: scene.dc.joined() == set())
    wait_for("FRR has forgotten the neighbour", lambda: scene.dc.neighbors() == [])
    assert scene.dc.security_associations() == ""
    assert scene.command(CLOUD, ["swanctl", "--list-conns"]) == ""
    assert TUNNEL not in scene.command(CLOUD, ["ip", "link"])
    mcastd(scene, "cleanup")


@pytest.mark.alone
def test_cleanup_refuses_where_a_daemon_runs(scene: Scene, managed: ServiceManager) -> None:
    refused = scene.exec(CLOUD, ["mcastd", "cleanup"])
    assert refused.returncode == 1
    assert "another mcastd is running with this directory" in refused.stderr
    wait_for_more(scene)
    assert scene.feed.received()[GROUP].lost == 0


def test_the_watchdog_is_petted(managed: ServiceManager) -> None:
    managed.said.clear()
    managed.wait_for("WATCHDOG=1")


@pytest.mark.alone
@pytest.mark.also_kernel
def test_a_reload_is_announced_with_its_time_and_loses_nothing(scene: Scene, managed: ServiceManager) -> None:
    managed.said.clear()
    mcastd(scene, "reload")
    wait_for_more(scene)
    reloading = [said for said in managed.listen() if said.startswith("RELOADING=1")]
    assert len(reloading) == 1
    assert reloading[0].splitlines()[1].startswith("MONOTONIC_USEC=")
    assert "READY=1" in managed.said[managed.said.index(reloading[0]) :]
    assert scene.feed.received()[GROUP].lost == 0
