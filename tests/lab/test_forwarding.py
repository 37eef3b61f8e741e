"""Machines behind the VM receive what they ask for by IGMP: hosts of all versions, other queriers, a second VM."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mcastd.daemon import HAND_OVER
from mcastd.lab.commands import wait_for
from mcastd.lab.feed import StreamStats
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLIENT, CLOUD, GROUP, HOST_V1, HOST_V2, ROUTER, SECOND, SOURCE_ADDRESS
from mcastd.status import ForwardStatus, Status
from tests.lab.datapath import RATE
from tests.lab.pim_scene import IGMP, PIM, UDP, Tap, as_new, mcastd
from tests.lab.service_manager import ServiceManager

pytestmark = pytest.mark.root

OTHER, CHANNEL = "239.1.2.2", f"232.1.2.3@{SOURCE_ADDRESS}"
FORWARD = """
[forward.eth1]
from = ["{tunnel}"]
query_interval = "1s"
query_response_interval = "500ms"
last_member_query_interval = "200ms"
robustness = 2
"""
QUERIER_GONE = 3.0  # seconds after the last query of another one until we are the querier, with these settings


@pytest.fixture(scope="module")
def standing_scene() -> Iterator[Scene]:
    lan = (HOST_V2, HOST_V1, ROUTER, SECOND)
    with Scene(Options(prefix="mcastd-test-lan", groups=(GROUP,), keepalive_period=120.0, rate=RATE, lan=lan)) as scene:
        scene.feed.send(OTHER, CHANNEL)
        scene.lan.prepare_second()
        scene.lan.config.write_text(scene.lan.config.read_text() + FORWARD.format(tunnel="gre2"))
        yield scene


@pytest.fixture
def scene(standing_scene: Scene) -> Iterator[Scene]:
    with as_new(standing_scene) as scene:
        # The VM itself joins nothing: what comes is for the machines behind it.
        scene.feed.stop_receiving()
        text = scene.config.read_text()
        scene.config.write_text(text[: text.index("[[groups]]")] + FORWARD.format(tunnel="gre1"))
        try:
            yield scene
        finally:
            scene.feed.stop_receiving()
            scene.lan.stop_second()
            scene.lan.stop_router()


@contextmanager
def service(scene: Scene) -> Iterator[ServiceManager]:
    manager = ServiceManager(scene)
    try:
        manager.start()
        wait_for_state(scene, "forwarding")
        yield manager
    finally:
        scene.stop_daemon()
        manager.close()


def start(scene: Scene) -> None:
    """Start the daemon; returns when it would forward what is asked for."""
    scene.start_daemon()
    scene.wait_for_status("ready", lambda status: status.healthy and forward(status).state == "forwarding")


def forward(status: Status) -> ForwardStatus:
    (found,) = status.forward
    return found


def wait_for_state(scene: Scene, state: str) -> Status:
    return scene.wait_for_status(state, lambda status: forward(status).state == state)


def receive(scene: Scene, node: str, *groups: str) -> None:
    """A machine asks for groups; returns when it has some of each."""
    scene.feed.receive(*groups, node=node, interface="eth0")
    for group in groups:
        wait_for_more(scene, node, group)


def wait_for_more(scene: Scene, node: str, group: str, seconds: float = 0.3) -> None:
    before = at(scene, node, group).received
    wait_for(f"more of {group} at {node}", lambda: at(scene, node, group).received >= before + seconds * RATE)


def at(scene: Scene, node: str, group: str = GROUP) -> StreamStats:
    return scene.feed.received(node)[group]


def say(text: str) -> None:
    """What pytest -s shows, and where a test fails."""
    sys.stdout.write(f"{text}\n")


@pytest.mark.alone
@pytest.mark.also_kernel
@pytest.mark.parametrize("number", [HAND_OVER, signal.SIGKILL], ids=["restart", "crash"])
def test_a_restart_a_crash_and_a_reload_lose_nothing_at_a_machine_behind_the_vm(
    scene: Scene, number: signal.Signals
) -> None:
    with service(scene) as manager, Tap(scene, CLOUD, PIM) as pim:
        receive(scene, CLIENT, GROUP, CHANNEL)
        receive(scene, HOST_V2, GROUP)
        pim.clear()
        manager.restart(number)
        wait_for_state(scene, "forwarding")
        mcastd(scene, "reload")
        for node in (CLIENT, HOST_V2):
            wait_for_more(scene, node, GROUP, 3.0)
        found = (at(scene, CLIENT), at(scene, CLIENT, CHANNEL), at(scene, HOST_V2))
        assert {(one.lost, one.duplicates) for one in found} == {(0, 0)}
        assert not [record for record in pim.records() if record.pruned]
        assert scene.dc.joined() == {GROUP, CHANNEL}


@pytest.mark.also_kernel
def test_another_querier_forwards_and_when_its_queries_stop_the_vm_does(scene: Scene) -> None:
    start(scene)
    receive(scene, CLIENT, GROUP)
    scene.lan.start_router(pim=True)
    status = wait_for_state(scene, "standby")
    querier = forward(status).igmp
    assert querier is not None
    assert (querier.querier, querier.is_ours) == ("192.168.30.1", False)
    named = scene.wait_for_status("the PIM router", lambda status: forward(status).igmp.pim_router)  # type: ignore[union-attr]
    assert forward(named).igmp.pim_router == "192.168.30.1"  # type: ignore[union-attr]
    wait_for("the Prune", lambda: scene.dc.joined() == set())
    with Tap(scene, CLIENT, IGMP, "eth0") as igmp, Tap(scene, CLIENT, UDP, "eth0") as feed:
        wait_for("its queries", lambda: [one for one in igmp.packets() if one.source == "192.168.30.1"])
        scene.lan.stop_router()
        wait_for_more(scene, CLIENT, GROUP)
        last = max(one.when for one in igmp.packets() if one.source == "192.168.30.1")
        gap = feed.packets()[0].when - last
    say(f"the other querier's last query to our first packet: {gap:.2f} s")
    assert gap > QUERIER_GONE / 2  # it was waited for
    assert at(scene, CLIENT).duplicates == 0
    assert forward(scene.status()).state == "forwarding"


@pytest.mark.also_kernel
def test_of_two_vms_one_forwards_and_the_other_takes_over(scene: Scene) -> None:
    start(scene)
    receive(scene, CLIENT, GROUP)
    scene.lan.start_second()
    # Its address is lower: it is elected, and only its queries make the first one stop.
    wait_for_state(scene, "standby")
    wait_for_more(scene, CLIENT, GROUP, 1.0)
    overlap = at(scene, CLIENT).duplicates
    say(f"the second VM takes over: {overlap} duplicates, {at(scene, CLIENT).lost} lost")
    wait_for_more(scene, CLIENT, GROUP, 2.0)
    assert at(scene, CLIENT).duplicates == overlap
    lost = at(scene, CLIENT).lost
    scene.lan.stop_second(signal.SIGKILL)
    wait_for_state(scene, "forwarding")
    wait_for_more(scene, CLIENT, GROUP, 1.0)
    found = at(scene, CLIENT)
    say(f"after the second VM's crash: {found.lost - lost} lost, {found.duplicates - overlap} duplicates")
    assert found.duplicates == overlap
