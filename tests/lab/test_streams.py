"""What arrives, in the lab: the sender stops and starts again, and ``mcastd status`` shows it within seconds."""

import time

import pytest

from mcastd.lab.commands import wait_for
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import GROUP

pytestmark = pytest.mark.root


def test_a_sender_that_stops_is_shown_within_five_seconds_and_its_return_as_well() -> None:
    with Scene(Options(prefix="mcastd-test-streams", rate=200)) as scene:
        (sender,) = (one for one in scene.state.record.processes if one.name == "source")
        scene.start_daemon()
        wait_for("the feed", lambda: scene.feed.received()[GROUP].received > 100)
        status = scene.wait_for_status("everything is up", lambda status: status.healthy)
        assert [group.arrival for group in status.groups] == ["arriving"]
        time.sleep(8.0)  # by then its rate is known
        assert scene.status().healthy
        for _ in range(2):
            stopped = time.monotonic()
            scene.stop(sender)
            status = scene.wait_for_status("all_silent", lambda status: not status.healthy)
            assert time.monotonic() - stopped < 5.0
            assert [problem.code for problem in status.problems] == ["all_silent"]
            assert (status.health, status.groups[0].arrival) == ("degraded", "silent")
            answer = scene.exec("cloud", ["mcastd", "status"])
            assert (answer.returncode, "1 silent" in answer.stdout) == (1, True)
            sender = scene.feed.send(GROUP)
            scene.wait_for_status("it arrives again", lambda status: status.healthy, 10.0)
            time.sleep(2.0)
        nft = scene.command("cloud", ["nft", "list", "table", "ip", "mcastd_streams"])
        assert "child-dc-tun-gre" in nft
        scene.stop_daemon()
        assert "mcastd_streams" not in scene.command("cloud", ["nft", "list", "tables"])
