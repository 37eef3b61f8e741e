"""Our own keepalives, end to end: the data centre answers them; when it does not, the path is dead and made anew."""

import pytest

from mcastd.lab.commands import wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CHILD_GRE, GROUP
from mcastd.status import ChildStatus, KeepaliveStatus, Status

pytestmark = [pytest.mark.root, pytest.mark.also_kernel]


def keepalive(status: Status) -> KeepaliveStatus:
    found = status.tunnels[0].keepalive
    assert found is not None
    return found


def child(status: Status) -> ChildStatus:
    return next(child for peer in status.peers for child in peer.children if child.name == CHILD_GRE)


@pytest.fixture
def asking(running: Scene) -> Scene:
    """The scene with keepalives of the daemon's own."""
    text = running.config.read_text()
    more = "keepalive.reply = true\nkeepalive.period = '200ms'\nkeepalive.retries = 3"
    running.config.write_text(text.replace("keepalive.reply = true", more))
    assert running.exec("cloud", ["mcastd", "reload"]).returncode == 0
    return running


def test_the_data_centre_answers_and_the_path_is_alive(asking: Scene) -> None:
    before, dropped = asking.dc.keepalives().requests_received, keepalive(asking.status()).dropped
    status = asking.wait_for_status("answers", lambda status: keepalive(status).received >= 3 and keepalive(status).rtt)
    assert keepalive(status).path == "alive"
    assert keepalive(status).dropped == dropped
    assert status.healthy
    wait_for("the data centre was asked", lambda: asking.dc.keepalives().requests_received >= before + 3)
    assert "ours: path alive" in asking.exec("cloud", ["mcastd", "status"]).stdout


def test_no_answers_make_the_path_dead_and_the_child_anew_and_an_answer_brings_it_back(asking: Scene) -> None:
    before = asking.wait_for_status("the path is alive", lambda status: keepalive(status).path == "alive")
    asking.dc.toggle_replies()
    try:
        status = asking.wait_for_status("the path is dead", lambda status: keepalive(status).path == "dead")
        assert not status.healthy
        assert "the path of tunnel gre1 is dead" in status.summary
        anew = asking.wait_for_status(
            "the child is made anew", lambda status: child(status).spi_in not in (None, child(before).spi_in)
        )
        asking.wait_for_status("it is asked on", lambda status: keepalive(status).sent >= keepalive(anew).sent + 6)
        assert keepalive(asking.status()).path == "dead"
        assert child(asking.status()).spi_in == child(anew).spi_in
    finally:
        asking.dc.toggle_replies()
    after = asking.wait_for_status("the path is alive again", lambda status: keepalive(status).path == "alive")
    assert after.healthy or "path" not in after.summary
    arrived = asking.feed.received()[GROUP].received
    wait_for("the feed", lambda: asking.feed.received()[GROUP].received > arrived + 500)
    log = asking.log("mcastd").read_text()
    for text in ("the path is alive", "the path is dead", "CHILD_SA is established again"):
        assert text in log
