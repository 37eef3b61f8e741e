"""FRR dies, restarts or says goodbye; the tunnel and the SA under it go and come: the feed is back at once."""

import itertools
import signal
import time
from collections.abc import Iterator

import pytest

from mcastd.lab.commands import command, wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CHILD_GRE, CLOUD, DC, GROUP, TUNNEL
from tests.lab.datapath import RATE
from tests.lab.pim_scene import (
    HELLO,
    JOIN_PRUNE,
    LEAF,
    PEER,
    PIM,
    UDP,
    Tap,
    as_new,
    back_after_hello,
    configure,
    frr_joined,
    generation_id_of,
    standing,
    start,
    wait_for_more,
)

pytestmark = pytest.mark.root

# Generous: what it takes is measured by the benchmarks. Without an answer to the new GenID it would be 60 s.
BACK = 5.0


@pytest.fixture(scope="module")
def standing_scene() -> Iterator[Scene]:
    with standing() as scene:
        yield scene


@pytest.fixture
def running(standing_scene: Scene) -> Iterator[Scene]:
    with as_new(standing_scene) as scene:
        yield start(scene)


def generation_id(scene: Scene) -> bytes:
    """The one of the other side, as the daemon knows it."""
    pim = scene.status().tunnels[0].pim
    assert pim is not None
    assert pim.neighbors[0].generation_id is not None
    return pim.neighbors[0].generation_id.to_bytes(4, "big")


def start_frr(scene: Scene) -> None:
    """Start FRR's pimd again, in another second of the clock than the last one ran in.

    FRR 8.4.4 seeds its Generation ID with the time in seconds: started twice in one second it has the same one, and no
    neighbour can tell that it has forgotten everything.
    """
    ended = int(time.time())
    wait_for("the next second", lambda: int(time.time()) != ended)
    scene.dc.start_pimd()


@pytest.mark.parametrize(
    ("number", "pause"),
    [(signal.SIGKILL, 1.0), (signal.SIGKILL, 0.0), (signal.SIGTERM, 0.0)],
    ids=["killed for a second", "killed and restarted at once", "stopped with goodbyes"],
)
def test_a_restarted_frr_has_its_joins_and_we_the_feed(running: Scene, number: signal.Signals, pause: float) -> None:
    before = generation_id(running)
    with Tap(running, CLOUD, PIM) as pim, Tap(running, CLOUD, UDP) as feed:
        wait_for("the feed from before", feed.packets)
        running.kill("pimd", number)
        ended = time.monotonic()
        wait_for("FRR's end", lambda: frr_joined(running) is None)
        wait_for("the pause", lambda: time.monotonic() - ended >= pause)
        start_frr(running)
        wait_for("the feed", lambda: back_after_hello(pim, feed, before) is not None)
        took = back_after_hello(pim, feed, before)
        gaps = [after.when - packet.when for packet, after in itertools.pairwise(feed.packets())]
        goodbyes = [packet for packet in pim.packets() if packet.source == PEER and packet.data[24:30] == GOODBYE]
    assert took is not None
    assert took < BACK
    assert max(gaps) > pause / 2, "the feed had not stopped"
    assert bool(goodbyes) == (number is signal.SIGTERM)
    wait_for("FRR's join", lambda: frr_joined(running) == {GROUP})
    assert running.dc.neighbors() == [LEAF]
    running.wait_for_status("everything is up", lambda status: status.healthy)
    assert generation_id(running) != before


GOODBYE = b"\0\1\0\2\0\0"  # the first option: Holdtime, of 0 seconds


def test_the_new_generation_id_is_answered_with_hello_and_joins_at_once(running: Scene) -> None:
    before = generation_id(running)
    with Tap(running, CLOUD, PIM) as pim:
        running.kill("pimd", signal.SIGKILL)
        wait_for("FRR's end", lambda: frr_joined(running) is None)
        start_frr(running)

        def answers() -> list[int]:
            passed = pim.packets()
            new = [n for n, p in enumerate(passed) if p.source == PEER and generation_id_of(p) not in (None, before)]
            return [packet.pim_type for packet in passed[new[0] :] if packet.source == LEAF] if new else []

        wait_for("our answer", lambda: len(answers()) >= 2)
        assert answers()[:2] == [HELLO, JOIN_PRUNE]
    wait_for_more(running)


def test_a_router_that_forgets_the_joins_alone_is_joined_when_the_feed_is_silent(standing_scene: Scene) -> None:
    with as_new(standing_scene) as scene:
        configure(scene, pim="join_repeats = 0")
        start(scene)
        wait_for_more(scene, count=10 * int(RATE))  # so long that its rate is known
        assert (scene.status().groups[0].next_join_in or 0.0) > 40.0, "a refresh would bring it"
        before = generation_id(scene)
        scene.dc.frr("clear ip mroute")
        cleared = time.monotonic()
        wait_for("silence", lambda: time.monotonic() - (scene.feed.received()[GROUP].last or 0.0) > 1.0, BACK)
        wait_for_more(scene)
        assert time.monotonic() - cleared < 2 * BACK
        assert generation_id(scene) == before


def test_a_tunnel_that_flaps_at_the_data_centre_comes_back_with_its_feed(running: Scene) -> None:
    ip = ["ip", "-n", running.namespace(DC), "link", "set", TUNNEL]
    command([*ip, "down"])
    wait_for("FRR has lost us", lambda: running.dc.neighbors() == [])
    command([*ip, "up"])
    wait_for("FRR's join", lambda: frr_joined(running) == {GROUP}, BACK)
    wait_for_more(running, patience=BACK)


def test_a_child_deleted_at_the_data_centre_comes_back_with_hello_and_joins(standing_scene: Scene) -> None:
    with as_new(standing_scene) as scene, Tap(scene, DC, PIM) as pim:
        # Without repeats the next Join is a minute away, unless the child's return brings it.
        configure(scene, pim="join_repeats = 0")
        start(scene)
        pim.clear()
        scene.command(DC, ["swanctl", "--terminate", "--child", CHILD_GRE])
        wait_for("a Join", pim.joins, BACK)
        assert HELLO in [packet.pim_type for packet in pim.packets() if packet.when <= pim.joins()[0].when]
        wait_for_more(scene, patience=BACK)
        scene.wait_for_status("everything is up", lambda status: status.healthy)
        assert scene.dc.joined() == {GROUP}
        assert scene.leaked() == 0


def test_a_restarted_daemon_is_known_at_once(running: Scene) -> None:
    running.stop_daemon(signal.SIGKILL)
    with Tap(running, DC, PIM) as pim:
        start(running)
        wait_for_more(running, patience=BACK)
        ours = [packet.pim_type for packet in pim.packets() if packet.source == LEAF]
    assert ours[:2] == [HELLO, JOIN_PRUNE]
    assert running.dc.joined() == {GROUP}
