"""Two data centres and one feed: whatever ends the path of the first, the feed goes on by the second, and comes back.

One daemon for all: each test leaves the group on the first tunnel.
"""

import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from mcastd.lab.datacentre import DataCentre
from mcastd.lab.scene import Scene
from mcastd.lab.sites import TUNNEL2
from mcastd.lab.topology import TUNNEL
from tests.lab.failover_scene import (
    configuration,
    delete_sas,
    options,
    set_down,
    start,
    start_pim,
    stop_pim,
    stream,
    wait_for_more,
    wait_for_tunnels,
)
from tests.lab.pim_scene import mcastd

pytestmark = [pytest.mark.root, pytest.mark.alone]

HOLD, OVERLAP = 0.5, 1.0  # seconds; a path that dies within HOLD of its return would be flapping


class Fault(NamedTuple):
    """What ends the first path, and begins it again; what the log says of it."""

    inject: Callable[[DataCentre, Scene], object]
    undo: Callable[[DataCentre, Scene], object]
    why: str


FAULTS = {
    "sas deleted": Fault(delete_sas, lambda dc, _: dc.load(), "is down"),
    "pim goodbye": Fault(stop_pim, lambda dc, _: start_pim(dc), "no PIM neighbor"),
    "cut off": Fault(
        lambda dc, scene: scene.cut(dc.site), lambda dc, scene: scene.cut(dc.site, off=False), "keepalives"
    ),
    "killed": Fault(lambda dc, _: dc.crash(), lambda dc, _: dc.restart(), "keepalives"),
}


@pytest.fixture(scope="module")
def running() -> Iterator[Scene]:
    with Scene(options("mcastd-test-failover")) as scene:
        scene.config.write_text(configuration(scene.config.read_text(), hold=HOLD, overlap=OVERLAP))
        start(scene)
        yield scene
        assert scene.leaked() == 0
        scene.stop_daemon()
        sys.stdout.write(scene.tail("mcastd", 200))


@pytest.fixture
def scene(running: Scene) -> Scene:
    wait_for_tunnels(running, TUNNEL)
    return running


@pytest.mark.parametrize("name", FAULTS)
def test_the_feed_goes_on_by_the_second_data_centre_and_comes_back_without_a_loss(scene: Scene, name: str) -> None:
    fault, log = FAULTS[name], len(scene.log("mcastd").read_text())
    fault.inject(scene.dc, scene)
    wait_for_tunnels(scene, TUNNEL2)
    wait_for_more(scene)
    away = stream(scene)
    fault.undo(scene.dc, scene)
    wait_for_tunnels(scene, TUNNEL)
    wait_for_more(scene)
    back = stream(scene)
    assert back.lost == away.lost

    moves = [line for line in scene.log("mcastd").read_text()[log:].splitlines() if "groups move" in line]
    assert [fault.why in line for line in moves] == [True, False]
    wait_for_more(scene)
    assert (stream(scene).lost, stream(scene).duplicates) == (back.lost, back.duplicates)


def test_a_link_that_is_set_down_is_set_up_again_and_the_feed_goes_on(scene: Scene) -> None:
    set_down(scene)
    wait_for_more(scene)
    wait_for_tunnels(scene, TUNNEL)


def test_by_hand_nothing_is_lost_either_way(scene: Scene) -> None:
    before = stream(scene)
    mcastd(scene, "use", TUNNEL2)
    wait_for_tunnels(scene, TUNNEL2)
    wait_for_more(scene)
    mcastd(scene, "use", "auto")
    wait_for_tunnels(scene, TUNNEL)
    wait_for_more(scene)
    after = stream(scene)
    assert after.lost == before.lost


def test_with_use_all_each_packet_comes_by_both_and_one_end_costs_nothing(scene: Scene) -> None:
    text = scene.config.read_text()
    scene.config.write_text(text.replace('use = "first"', 'use = "all"'))
    mcastd(scene, "reload")
    try:
        wait_for_tunnels(scene, TUNNEL, TUNNEL2)
        wait_for_more(scene)
        before = stream(scene)
        wait_for_more(scene, 1.0)
        both = stream(scene)
        new, twice = both.received - before.received, both.duplicates - before.duplicates
        assert twice > new / 2
        scene.cut(scene.dc.site)
        wait_for_more(scene, 1.0)
        scene.cut(scene.dc.site, off=False)
        assert stream(scene).lost == both.lost
    finally:
        scene.config.write_text(text)
        mcastd(scene, "reload")
