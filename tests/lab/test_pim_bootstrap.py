"""Debian's pimd as the data centre: a candidate BSR and RP (RFC 5059), and slow to act on a new neighbour's Join."""

import signal
import time
from collections.abc import Iterator

import pytest

from mcastd.lab.commands import wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.topology import DC, GROUP, RP
from mcastd.status import GroupStatus, Status
from tests.lab.pim_scene import PIM, Seen, Tap, Troglobit, as_new, configure, mcastd, received, standing, wait_for_more

pytestmark = pytest.mark.root

ANOTHER_RP = "100.15.30.252"
# It announces itself as RP, for 25 seconds, every 30.
CANDIDATE = """\
bsr-candidate lan0 priority 5
rp-candidate lan0 time 10 priority 20
group-prefix 239.0.0.0 masklen 8
"""
STATIC = f"rp-address {RP} 239.0.0.0/8\n"
BOOTSTRAP = "bootstrap = true"
BOOTSTRAP_TYPE = 4
EMPTY_BOOTSTRAP = 34  # bytes with the IP header
# pimd acts every 5 seconds, and begins to announce an RP only after some.
PATIENCE = 30.0


@pytest.fixture(scope="module")
def standing_scene() -> Iterator[Scene]:
    """The scene with FRR's pimd ended: there is room for another one."""
    with standing() as scene:
        scene.kill("pimd", signal.SIGTERM)
        wait_for("FRR's end", lambda: not any(p.alive for p in scene.state.record.processes if p.name == "pimd"))
        yield scene


@pytest.fixture
def scene(standing_scene: Scene) -> Iterator[Scene]:
    with as_new(standing_scene) as scene:
        yield scene


def candidate(scene: Scene) -> Troglobit:
    """pimd as BSR and RP, once it has announced itself to the daemon, which must run.

    Its first Bootstrap message goes out after 5 seconds, and now and then its own candidacy comes a moment too late for
    it; the next one is a minute away, so it is started anew instead.
    """
    for _ in range(10):
        pimd = Troglobit(scene, CANDIDATE)
        with Tap(scene, DC, PIM) as tap:
            wait_for("a Bootstrap message", lambda: announced(tap), PATIENCE)
            if len(announced(tap)[0].data) > EMPTY_BOOTSTRAP:
                return pimd
        pimd.stop(signal.SIGKILL)
    pytest.fail("pimd never announced itself as RP")


def announced(tap: Tap) -> list[Seen]:
    """Bootstrap messages to all PIM routers; to a new neighbour alone pimd sends one without RPs at once."""
    return [p for p in tap.packets() if p.pim_type == BOOTSTRAP_TYPE and p.data[16:20] == b"\xe0\0\0\x0d"]


def only(status: Status) -> GroupStatus:
    return status.groups[0]


def test_the_rp_is_learned_by_bootstrap_joined_and_gone_when_its_time_is_over(scene: Scene) -> None:
    configure(scene, rp=None, pim=BOOTSTRAP)
    scene.start_daemon()
    missing = "no rendezvous point for 239.1.1.1"
    status = scene.wait_for_status(missing, lambda status: only(status).problem == missing)
    assert not status.healthy
    pimd = candidate(scene)
    try:
        status = scene.wait_for_status("the RP", lambda status: only(status).state == "joined")
        assert only(status).rp == RP
        wait_for_more(scene, patience=PATIENCE)

        # A static RP wins over the learned one, or loses, as rp_preference says.
        configure(scene, rp=ANOTHER_RP, pim=BOOTSTRAP)
        mcastd(scene, "reload")
        assert only(scene.status()).rp == ANOTHER_RP
        configure(scene, rp=ANOTHER_RP, pim=f'{BOOTSTRAP}\nrp_preference = "bootstrap"')
        mcastd(scene, "reload")
        assert only(scene.status()).rp == RP
        wait_for_more(scene, patience=PATIENCE)
    finally:
        pimd.stop(signal.SIGKILL)

    # Nobody announces it any more: with a static RP beside it that one takes over, without there is none.
    scene.wait_for_status("the static RP", lambda status: only(status).rp == ANOTHER_RP, PATIENCE)
    configure(scene, rp=None, pim=BOOTSTRAP)
    mcastd(scene, "reload")
    status = scene.status()
    assert (only(status).state, only(status).rp, only(status).problem) == ("not joined", None, missing)
    assert not status.healthy


def test_bootstrap_that_is_off_teaches_nothing(scene: Scene) -> None:
    configure(scene, rp=ANOTHER_RP)
    pimd = Troglobit(scene, CANDIDATE)
    try:
        scene.start_daemon()

        def refused(status: Status) -> bool:
            pim = status.tunnels[0].pim
            return pim is not None and pim.dropped.get("bootstrap_off", 0) > 0

        status = scene.wait_for_status("Bootstrap messages", refused, PATIENCE)
        assert only(status).rp == ANOTHER_RP
    finally:
        pimd.stop()


def test_repeated_joins_get_the_stream_going_where_the_first_is_not_acted_upon(scene: Scene) -> None:
    configure(scene)
    pimd = Troglobit(scene, STATIC)
    try:
        with Tap(scene, DC, PIM) as tap:
            began = time.monotonic()
            scene.start_daemon()
            wait_for("the feed", lambda: received(scene) > 0)
            took = time.monotonic() - began
            joins = tap.joins()
        # Without repeats the second Join would have come after t_periodic, 60 seconds.
        assert took < 55.0
        assert {record.group for message in joins for record in message.records()} == {GROUP}
        assert len(joins) > 1
    finally:
        pimd.stop()
