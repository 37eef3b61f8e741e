"""Machines receive by an overlay what they ask for, each copy leaves the head end once, and no outsider takes part."""

import signal
import socket
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from mcastd.daemon import HAND_OVER
from mcastd.lab.commands import wait_for
from mcastd.lab.feed import StreamStats
from mcastd.lab.nodes import Options
from mcastd.lab.receivers import MEMBERS, OUTSIDER, OVERLAY, VM_ON_VPC, address
from mcastd.lab.scene import Scene
from mcastd.lab.source import HEADER
from mcastd.lab.topology import CLOUD, GROUP, PORT
from mcastd.overlay_status import OverlayStatus
from mcastd.system import membership_socket
from tests.lab.datapath import RATE
from tests.lab.pim_scene import UDP, Tap, as_new, inside, mcastd
from tests.lab.service_manager import ServiceManager
from tests.tools.receive.test_commands import frame

pytestmark = pytest.mark.root

GROUPS = (GROUP, "239.1.2.2", "239.1.2.3")
IGMP_TIMES = """query_interval = "1s"
query_response_interval = "500ms"
last_member_query_interval = "200ms"
"""
MEMBERSHIP = 2.5  # seconds: 2 * 1 s + 0.5 s
_VXLAN = 20 + 8 + 8 + 14  # bytes before the inner packet
_DEADLINE = 20.0


@pytest.fixture(scope="module")
def standing_scene() -> Iterator[Scene]:
    options = Options(prefix="mcastd-test-overlay", keepalive_period=120.0, rate=RATE, receivers=8)
    with Scene(options) as scene:
        scene.feed.send(*GROUPS[1:])
        yield scene


@pytest.fixture
def scene(standing_scene: Scene) -> Iterator[Scene]:
    with as_new(standing_scene) as scene:
        # The VM itself joins nothing: what comes is for the receivers.
        scene.feed.stop_receiving()
        text = scene.config.read_text()
        before, _, overlay = text[: text.index("[[groups]]")], *text.partition("[overlay.")[1:]
        scene.config.write_text(f"{before}[overlay.{overlay}{IGMP_TIMES}")
        try:
            yield scene
        finally:
            scene.feed.stop_receiving()


@pytest.fixture
def service(scene: Scene) -> Iterator[ServiceManager]:
    manager = ServiceManager(scene)
    try:
        manager.start()
        wait_until_ready(scene)
        yield manager
    finally:
        scene.stop_daemon()
        manager.close()


def wait_until_ready(scene: Scene) -> None:
    """Return when the daemon would forward what is asked for."""
    scene.wait_for_status("ready", lambda status: status.healthy and status.forward[0].state == "forwarding")


def shown(scene: Scene) -> OverlayStatus:
    (found,) = scene.status().overlay
    return found


def receive(scene: Scene, *nodes: str) -> None:
    for node in nodes:
        scene.feed.receive(GROUP, node=node, interface=OVERLAY)
    wait_for_more(scene, *nodes)


def at(scene: Scene, node: str) -> StreamStats:
    return scene.feed.received(node)[GROUP]


def wait_for_more(scene: Scene, *nodes: str, seconds: float = 0.3) -> None:
    wanted = {node: at(scene, node).received + seconds * RATE for node in nodes}
    wait_for(f"more at {', '.join(nodes)}", lambda: all(at(scene, node).received >= wanted[node] for node in nodes))


def say(text: str) -> None:
    """What pytest -s shows, and where a test fails."""
    sys.stdout.write(f"{text}\n")


def assert_nothing_lost_behind_the_vm(scene: Scene, *nodes: str) -> None:
    """What the VM itself has not received, on a machine that is too busy, no receiver can have."""
    arrived = scene.feed.received(CLOUD)[GROUP]
    for node in nodes:
        found = at(scene, node)
        say(f"{node}: {found.received} received, {found.lost} lost; at the VM {arrived.received} and {arrived.lost}")
        assert (found.lost <= arrived.lost, found.duplicates) == (True, 0)


def copies(tap: Tap, group: str = GROUP) -> dict[int, Counter[str]]:
    """How often each packet of a group left for each endpoint, by its number; without the first and the last."""
    found: dict[int, Counter[str]] = {}
    for packet in tap.packets():
        inner = packet.data[_VXLAN:]
        if packet.outgoing and inner[16:20] == IPv4Address(group).packed and inner[9] == UDP:
            number = HEADER.unpack_from(inner, 28)[0]
            found.setdefault(number, Counter())[socket.inet_ntoa(packet.data[16:20])] += 1
    return {number: found[number] for number in sorted(found)[1:-1]}


def first_packet(group: str) -> float:
    """Join as an application does, and leave; returns the seconds from the join to the first packet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((group, PORT))
        sock.settimeout(_DEADLINE)
        began = time.monotonic()
        membership_socket.join(sock, socket.if_nametoindex(OVERLAY), IPv4Address(group))
        sock.recv(2048)
        return time.monotonic() - began


def test_a_copy_leaves_for_each_receiver_and_for_no_other(scene: Scene, service: ServiceManager) -> None:
    with Tap(scene, CLOUD, UDP, "eth2") as wire:
        receive(scene, "receiver1")
        wire.clear()
        wait_for_more(scene, "receiver1")
        one = copies(wire)
        receive(scene, *scene.receivers.names[1:])
        scene.wait_for_status("eight", lambda status: status.overlay[0].copies == 8)
        wire.clear()
        wait_for_more(scene, "receiver8")
        eight = copies(wire)
    assert len(one) > 0.2 * RATE
    assert set(map(frozenset, (each.items() for each in one.values()))) == {frozenset({(address(1), 1)})}
    each = frozenset((address(number), 1) for number in range(1, 9))
    assert set(map(frozenset, (found.items() for found in eight.values()))) == {each}
    found = shown(scene)
    assert (found.mode, found.groups, found.copies) == ("mdb", 1, 8)
    assert {at(scene, node).duplicates for node in scene.receivers.names} == {0}


def test_the_first_packet_comes_soon_after_the_join(scene: Scene, service: ServiceManager) -> None:
    took = [
        inside(scene.namespace(node), lambda group=group: first_packet(group))  # type: ignore[misc]
        for group in GROUPS
        for node in scene.receivers.names
    ]
    say(f"from a join to its first packet: {' '.join(f'{1000 * one:.1f}' for one in took)} ms")
    say(f"median {1000 * statistics.median(took):.1f} ms")
    assert statistics.median(took) <= 0.5  # 25 ms where nothing else runs


@pytest.mark.alone
def test_a_receiver_that_vanishes_is_pruned_and_the_others_lose_nothing(scene: Scene, service: ServiceManager) -> None:
    scene.feed.receive(GROUP)
    receive(scene, "receiver1", "receiver2", "receiver3")
    with Tap(scene, CLOUD, UDP, "eth2") as wire:
        scene.receivers.vanish("receiver3")
        began = time.monotonic()
        try:
            scene.wait_for_status("two", lambda status: status.overlay[0].copies == 2)
            took = time.monotonic() - began
            wire.clear()
            wait_for_more(scene, "receiver1", seconds=1.0)
            assert {frozenset(each) for each in copies(wire).values()} == {frozenset({address(1), address(2)})}
        finally:
            scene.receivers.vanish("receiver3", back=True)
    say(f"pruned after {took:.2f} s")
    wait_for_more(scene, "receiver1", "receiver2")
    assert_nothing_lost_behind_the_vm(scene, "receiver1", "receiver2")
    wait_for_more(scene, "receiver3")  # it answers the next query


@pytest.mark.alone
@pytest.mark.parametrize("number", [HAND_OVER, signal.SIGKILL], ids=["restart", "crash"])
def test_a_restart_a_crash_and_a_reload_lose_nothing(
    scene: Scene, service: ServiceManager, number: signal.Signals
) -> None:
    nodes = scene.receivers.names[:3]
    scene.feed.receive(GROUP)
    receive(scene, *nodes)
    service.restart(number)
    wait_until_ready(scene)
    mcastd(scene, "reload")
    wait_for_more(scene, *nodes, seconds=2 * MEMBERSHIP)
    assert_nothing_lost_behind_the_vm(scene, *nodes)


def test_a_outsider_neither_receives_nor_is_heard(scene: Scene, service: ServiceManager) -> None:
    other = PORT + 1

    def listener() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((GROUP, other))
        sock.settimeout(_DEADLINE)
        membership_socket.join(sock, socket.if_nametoindex(OVERLAY), IPv4Address(GROUP))
        return sock

    def send(text: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for endpoint in (VM_ON_VPC, address(1)):
                sock.sendto(frame(IPv4Address("100.15.30.10"), text, other), (endpoint, 4789))

    receive(scene, "receiver1")
    scene.feed.receive(GROUP, node=OUTSIDER, interface=OVERLAY)
    scene.wait_for_status("its report", lambda status: status.overlay[0].refused)
    with Tap(scene, CLOUD, UDP, "eth2") as wire:
        wait_for_more(scene, "receiver1", seconds=1.0)
        assert {frozenset(each) for each in copies(wire).values()} == {frozenset({address(1)})}
    assert at(scene, OUTSIDER).received == 0
    heard = inside(scene.namespace("receiver1"), listener)
    inside(scene.namespace(OUTSIDER), lambda: send(b"dropped"))
    # With the protection off, at the receiver and at the head end:
    scene.command("receiver1", ["nft", "delete", "table", "ip", OVERLAY])
    inside(scene.namespace(OUTSIDER), lambda: send(b"taken"))
    assert heard.recv(100) == b"taken"
    heard.close()
    scene.config.write_text(scene.config.read_text().replace(MEMBERS, "10.1.2.0/24"))
    mcastd(scene, "reload")
    wait_for_more(scene, OUTSIDER)
