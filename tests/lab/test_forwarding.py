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
OTHER_QUERIER_PRESENT = 2.25  # seconds: 2 * 1 s + 0.5 s / 2 (RFC 9776, section 8.5)


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


@pytest.mark.also_kernel
def test_hosts_of_all_versions_get_what_they_ask_for_and_nothing_else(scene: Scene) -> None:
    start(scene)
    with (
        Tap(scene, CLOUD, IGMP, "eth1") as igmp,
        Tap(scene, CLOUD, PIM) as pim,
        Tap(scene, HOST_V1, UDP, "eth0") as arrived,
    ):
        receive(scene, CLIENT, GROUP, CHANNEL)
        asked = next(one.when for one in igmp.packets() if not one.outgoing and GROUP in groups_of(one.data))
        joined = next(one.when for one in pim.joins() if {record.group for record in one.records()} & {GROUP})
        first = at(scene, CLIENT).first or 0.0
        say(f"from the report to the Join {joined - asked:.4f} s, to the first packet {first - asked:.4f} s")
        receive(scene, HOST_V1, GROUP)
        receive(scene, HOST_V2, OTHER, GROUP)
        wait_for("the joins", lambda: scene.dc.joined() == {GROUP, OTHER, CHANNEL})

        def hosts(status: Status) -> bool:
            querier = forward(status).igmp
            return querier is not None and (querier.is_ours, querier.groups, querier.hosts) == (True, 3, 3)

        # What comes is not limited by the bridge at first: it may be there before a host has reported.
        scene.wait_for_status("three hosts of three groups", hosts)

        def is_alone() -> bool:
            arrived.clear()
            wait_for_more(scene, HOST_V1, GROUP, 0.2)
            return {destination(one.data) for one in arrived.packets()} == {GROUP}

        # The bridge snoops, some time after our first query: what another host has asked for does not get to this one.
        wait_for("what HOST_V1 asked for alone", is_alone)
        # Two of three leave, by a version that has a leave and by one that has none: the third goes on.
        scene.feed.stop_receiving(HOST_V2)
        scene.feed.stop_receiving(HOST_V1)
        wait_for("the end of what only one had", lambda: scene.dc.joined() == {GROUP, CHANNEL})
        wait_for_more(scene, CLIENT, GROUP, 1.0)
        found = {group: at(scene, CLIENT, group) for group in (GROUP, CHANNEL)}
        assert {(one.lost, one.duplicates) for one in found.values()} == {(0, 0)}
        pim.clear()
        scene.feed.stop_receiving(CLIENT)
        wait_for("the Prunes", lambda: scene.dc.joined() == set())
        assert {record.group for record in pim.records() if record.pruned} == {GROUP, CHANNEL.partition("@")[0]}
    assert scene.stop_daemon() == 0


def groups_of(packet: bytes) -> set[str]:
    """The groups of an IGMPv3 report."""
    message, found = packet[(packet[0] & 15) * 4 :], set()
    rest = message[8:] if message[0] == 0x22 else b""
    while len(rest) >= 8:
        found.add(".".join(map(str, rest[4:8])))
        rest = rest[8 + 4 * int.from_bytes(rest[2:4]) :]
    return found


def destination(packet: bytes) -> str:
    return ".".join(map(str, packet[16:20]))


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
        wait_for_more(scene, CLIENT, GROUP, 3.0)
        wait_for_more(scene, HOST_V2, GROUP)
        found = (at(scene, CLIENT), at(scene, CLIENT, CHANNEL), at(scene, HOST_V2))
        assert {(one.lost, one.duplicates) for one in found} == {(0, 0)}
        assert not [record for record in pim.records() if record.pruned]
        assert scene.dc.joined() == {GROUP, CHANNEL}


def queries(tap: Tap) -> list[float]:
    """When queries of the other querier came."""
    found = (one for one in tap.packets() if one.source == "192.168.30.1")
    return [one.when for one in found if one.data[(one.data[0] & 15) * 4] == 0x11]


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
        wait_for("its queries", lambda: queries(igmp))
        scene.lan.stop_router()
        wait_for_more(scene, CLIENT, GROUP)
        last = queries(igmp)[-1]
        gap = feed.packets()[0].when - last
    say(f"the other querier's last query to our first packet: {gap:.2f} s")
    assert gap > OTHER_QUERIER_PRESENT - 0.1
    assert at(scene, CLIENT).duplicates == 0
    assert forward(scene.status()).state == "forwarding"


def test_of_two_vms_one_forwards_and_the_other_takes_over(scene: Scene) -> None:
    start(scene)
    receive(scene, CLIENT, GROUP)
    scene.lan.start_second()
    # Its address is lower: it is elected, and only its queries make the first one stop.
    wait_for_state(scene, "standby")
    wait_for_more(scene, CLIENT, GROUP, 1.0)
    overlap = at(scene, CLIENT).duplicates
    say(f"the second VM takes over: {overlap} duplicates, {at(scene, CLIENT).lost} lost")
    assert overlap < RATE  # of one query interval, as docs/igmp.md has it
    wait_for_more(scene, CLIENT, GROUP, 2.0)
    assert at(scene, CLIENT).duplicates == overlap
    lost = at(scene, CLIENT).lost
    scene.lan.stop_second(signal.SIGKILL)
    wait_for_state(scene, "forwarding")
    wait_for_more(scene, CLIENT, GROUP, 1.0)
    found = at(scene, CLIENT)
    say(f"after the second VM's crash: {found.lost - lost} lost, {found.duplicates - overlap} duplicates")
    assert found.duplicates == overlap
