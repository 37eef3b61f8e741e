"""A data centre without PIM for its customers: FRR as an IGMP querier on the tunnel, where mcastd joins by sockets."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mcastd.daemon import HAND_OVER
from mcastd.lab.commands import wait_for
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD, DC, GROUP, SOURCE_ADDRESS, TUNNEL
from tests.lab.datapath import RATE, assert_datapath
from tests.lab.pim_scene import IGMP, PIM, Tap, as_new, mcastd
from tests.lab.service_manager import ServiceManager

pytestmark = pytest.mark.root

CHANNEL = f"232.1.1.1@{SOURCE_ADDRESS}"
BY_COMMAND = "239.1.1.7"


@pytest.fixture(scope="module")
def standing_scene() -> Iterator[Scene]:
    options = Options(
        prefix="mcastd-test-igmp", upstream="igmp", groups=(GROUP, CHANNEL), keepalive_period=120.0, rate=RATE
    )
    with Scene(options) as scene:
        yield scene


@pytest.fixture
def scene(standing_scene: Scene) -> Iterator[Scene]:
    with as_new(standing_scene) as scene:
        yield scene


@contextmanager
def service(scene: Scene) -> Iterator[ServiceManager]:
    """The daemon as a service whose feeds arrive."""
    manager = ServiceManager(scene)
    try:
        manager.start()
        wait_for("the feeds", lambda: min(one.received for one in scene.feed.received().values()) > RATE / 2)
        scene.wait_for_status("everything is up", lambda status: status.healthy)
        assert_datapath(scene)
        yield manager
    finally:
        scene.stop_daemon()
        manager.close()


def wait_for_more(scene: Scene, seconds: float) -> None:
    before = scene.feed.received()[GROUP].received
    wait_for("more of the feed", lambda: scene.feed.received()[GROUP].received >= before + seconds * RATE)


def without_applications(scene: Scene) -> None:
    """Only mcastd's own sockets keep the groups joined."""
    scene.feed.stop_receiving()


@pytest.mark.also_kernel
def test_what_is_desired_is_joined_by_igmp_and_left(scene: Scene) -> None:
    without_applications(scene)
    with Tap(scene, DC, IGMP) as igmp, Tap(scene, DC, PIM) as pim:
        scene.start_daemon()
        wait_for("the groups of the file", lambda: scene.dc.reported() == {GROUP, CHANNEL})
        status = scene.wait_for_status("everything is up", lambda status: status.healthy)
        assert [(group.state, group.origins) for group in status.groups] == [("joined", ("file",))] * 2
        mcastd(scene, "join", BY_COMMAND)
        wait_for("the join by command", lambda: BY_COMMAND in scene.dc.reported())
        mcastd(scene, "leave", BY_COMMAND)
        wait_for("its end", lambda: scene.dc.reported() == {GROUP, CHANNEL})
        igmp.clear()
        assert scene.stop_daemon() == 0
        # The leaves have left before the tunnel is gone.
        wait_for("the leaves", lambda: scene.dc.reported() == set())
        assert [packet for packet in igmp.packets() if not packet.outgoing]
        assert not [packet for packet in pim.packets() if not packet.outgoing]
    assert scene.leaked() == 0


@pytest.mark.parametrize(("version", "answer"), [(3, 0x22), (2, 0x16)])
def test_queries_are_answered_in_the_version_of_the_querier(scene: Scene, version: int, answer: int) -> None:
    without_applications(scene)
    scene.start_daemon()
    scene.wait_for_status("everything is up", lambda status: status.healthy)
    wait_for("the groups of the file", lambda: scene.dc.reported() == {GROUP, CHANNEL})
    configure(scene, f"ip igmp version {version}", "ip igmp query-max-response-time 10", "ip igmp query-interval 2")
    try:
        with Tap(scene, CLOUD, IGMP) as tap:
            wait_for("the answer", lambda: answer in {kind(one.data) for one in tap.packets() if one.outgoing})
    finally:
        configure(scene, "ip igmp version 3", "no ip igmp query-interval", "no ip igmp query-max-response-time")


def configure(scene: Scene, *lines: str) -> None:
    """Configure the tunnel's interface in FRR."""
    words = [word for line in ("configure terminal", f"interface {TUNNEL}", *lines) for word in ("-c", line)]
    scene.command(DC, ["vtysh", *words])


def kind(packet: bytes) -> int:
    """The type of an IGMP message."""
    return packet[(packet[0] & 15) * 4]


@pytest.mark.alone
@pytest.mark.parametrize("number", [HAND_OVER, signal.SIGKILL], ids=["restart", "crash"])
def test_a_restart_and_a_crash_lose_nothing_and_no_group_is_left(scene: Scene, number: signal.Signals) -> None:
    with service(scene) as manager, Tap(scene, DC, IGMP) as igmp:
        mcastd(scene, "join", BY_COMMAND)
        wait_for("the join by command", lambda: BY_COMMAND in scene.dc.reported())
        igmp.clear()
        manager.restart(number)
        scene.wait_for_status("everything is up", lambda status: status.healthy)
        wait_for_more(scene, 1.0)
        mcastd(scene, "reload")
        wait_for_more(scene, 0.5)
        arrived = [packet for packet in igmp.packets() if not packet.outgoing]
        assert not [packet for packet in arrived if kind(packet.data) == 0x22 and leaves(packet.data)]
        assert scene.dc.reported() == {GROUP, CHANNEL, BY_COMMAND}
        found = scene.feed.received()
        assert {(found[group].lost, found[group].duplicates) for group in (GROUP, CHANNEL)} == {(0, 0)}
    assert scene.leaked() == 0


def leaves(packet: bytes) -> bool:
    """Whether a report of version 3 has a record of type TO_IN or BLOCK without sources that stay."""
    rest = packet[(packet[0] & 15) * 4 + 8 :]
    found = []
    while len(rest) >= 8:
        found.append(rest[0])
        rest = rest[8 + 4 * int.from_bytes(rest[2:4]) :]
    return bool({3, 6} & set(found))
