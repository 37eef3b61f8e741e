"""The main job: the feed arrives, by PIM, whole; and goes and comes with what the configuration says."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcastd.lab import topology
from mcastd.lab.commands import wait_for
from mcastd.lab.feed import StreamStats
from mcastd.lab.scene import Scene
from mcastd.lab.topology import GROUP
from tests.lab.datapath import assert_datapath, kernel_does

pytestmark = pytest.mark.root

ANOTHER = "239.1.1.2"
SSM, SSM_SOURCE = "232.1.1.1", "100.15.30.11"


def stream(scene: Scene, group: str = GROUP) -> StreamStats:
    return scene.feed.received()[group]


def wait_for_more(scene: Scene, group: str = GROUP, count: int = 500) -> None:
    before = stream(scene, group).received
    wait_for(f"{count} more of {group}", lambda: stream(scene, group).received >= before + count)


def without_groups(text: str) -> str:
    return text[: text.index("[[groups]]")]


@pytest.mark.alone
@pytest.mark.also_kernel
def test_the_feed_arrives_after_the_exec_and_nothing_is_lost_after_the_first(scene: Scene) -> None:
    assert scene.dc.security_associations() == ""
    assert scene.command("cloud", ["swanctl", "--list-sas"]) == ""
    assert scene.dc.neighbors() == []
    assert stream(scene).received == 0
    scene.start_daemon()
    wait_for_more(scene, count=2000)
    found = stream(scene)
    assert (found.lost, found.duplicates) == (0, 0), found
    assert found.first is not None
    assert found.first > scene.exec_time
    assert scene.leaked() == 0
    assert_datapath(scene)


def test_it_is_pim_that_brings_it(running: Scene) -> None:
    assert running.dc.joined() == {GROUP}
    assert running.dc.neighbors() == ["10.44.4.6"]
    # FRR opens an IGMP socket for multicast traceroute on every PIM interface ("mtrc"); that one is no IGMP.
    assert set(re.findall(r"^gre1 +(\w+)", running.dc.frr("show ip igmp interface"), re.MULTILINE)) == {"mtrc"}
    assert "gre1" not in running.dc.frr("show ip igmp groups")


def test_without_a_group_nothing_arrives_although_everything_else_is_up(scene: Scene) -> None:
    scene.config.write_text(without_groups(scene.config.read_text()))
    scene.start_daemon()
    scene.wait_for_status("the neighbour", lambda status: status.healthy and status.tunnels[0].pim)
    wait_for("FRR's neighbour", scene.dc.neighbors)
    answered = scene.dc.keepalives().answered
    wait_for("keepalives", lambda: scene.dc.keepalives().answered >= answered + 2)
    assert GROUP in scene.command("cloud", ["ip", "maddr", "show", "dev", "gre1"])
    assert scene.dc.joined() == set()
    assert stream(scene).received == 0
    assert_datapath(scene)


@pytest.mark.also_kernel
def test_the_tunnel_has_the_addresses_flags_and_mtu_that_it_should(running: Scene) -> None:
    shown = running.command("cloud", ["ip", "-d", "addr", "show", "gre1"])
    assert "inet 10.44.4.6/30" in shown or "inet 10.44.4.6 peer 10.44.4.5/30" in shown
    assert "MULTICAST" in shown
    assert f"mtu {1398 if kernel_does('esp') else 1376} " in shown
    assert "inet6" not in shown
    assert "10.44.6.1/32" in running.command("cloud", ["ip", "addr"])


def test_the_status_tells_of_every_part(running: Scene) -> None:
    running.wait_for_status(
        "a keepalive", lambda status: status.tunnels[0].keepalive and status.tunnels[0].keepalive.answered
    )
    answer = running.exec("cloud", ["mcastd", "status", "--json"])
    assert answer.returncode == 0, answer.stderr
    status = json.loads(answer.stdout)
    peer, tunnel, group = status["peers"][0], status["tunnels"][0], status["groups"][0]
    assert peer["nat_local"] is True
    assert {child["name"]: child["state"] for child in peer["children"]} == {"dc-tun-gre": "up", "dc-tun-tcp": "up"}
    assert next(child for child in peer["children"] if child["name"] == "dc-tun-gre")["packets_in"] > 0
    assert tunnel["keepalive"]["answered"] > 0
    assert tunnel["pim"]["neighbors"][0]["address"] == "10.44.4.5"
    assert (group["group"], group["state"], group["rp"]) == (GROUP, "joined", "100.15.30.253")
    table = running.exec("cloud", ["mcastd", "status"])
    assert table.returncode == 0
    assert "dc-tun-gre" in table.stdout


def test_the_psk_is_in_no_log_and_no_status(running: Scene) -> None:
    psk = (running.folder / "cloud" / "psk").read_text().strip()
    assert psk not in running.exec("cloud", ["mcastd", "status", "--json"]).stdout
    assert psk not in running.log("mcastd").read_text()


@pytest.mark.also_kernel
def test_keepalives_unanswered_take_the_feed_away_and_answered_bring_it_back(running: Scene) -> None:
    text = running.config.read_text()
    running.config.write_text(text.replace("keepalive.reply = true", "keepalive.reply = false"))
    assert running.exec("cloud", ["mcastd", "reload"]).returncode == 0
    answered = running.dc.keepalives().answered
    wait_for("the line goes down", lambda: running.dc.keepalives().line_protocol == "down")
    gone = running.dc.keepalives()
    assert gone.answered == answered
    running.config.write_text(text)
    assert running.exec("cloud", ["mcastd", "reload"]).returncode == 0
    wait_for("the line comes up", lambda: running.dc.keepalives().line_protocol == "up")
    wait_for_more(running)
    assert running.dc.joined() == {GROUP}


@pytest.fixture
def another_stream(running: Scene) -> Iterator[Scene]:
    sender = running.feed.send(ANOTHER)
    running.feed.receive(ANOTHER)
    yield running
    running.stop(sender)


@pytest.mark.alone
@pytest.mark.also_kernel
def test_a_group_added_by_hangup_arrives_and_the_old_one_loses_nothing(another_stream: Scene) -> None:
    scene = another_stream
    wait_for_more(scene)
    assert stream(scene, ANOTHER).received == 0
    with scene.config.open("a") as config:
        config.write(topology.group_toml(ANOTHER))
    os.kill(scene.daemon.pid, signal.SIGHUP)
    wait_for_more(scene, ANOTHER)
    wait_for_more(scene)
    assert stream(scene).lost == 0
    assert stream(scene, ANOTHER).lost == 0
    assert scene.dc.joined() == {GROUP, ANOTHER}


@pytest.mark.alone
@pytest.mark.also_kernel
def test_a_group_taken_out_is_pruned_and_the_other_one_loses_nothing(another_stream: Scene) -> None:
    scene = another_stream
    text = scene.config.read_text()
    scene.config.write_text(text + topology.group_toml(ANOTHER))
    assert scene.exec("cloud", ["mcastd", "reload"]).returncode == 0
    wait_for_more(scene, ANOTHER)
    scene.config.write_text(text)
    assert scene.exec("cloud", ["mcastd", "reload"]).returncode == 0
    wait_for("the prune", lambda: scene.dc.joined() == {GROUP})
    wait_for_more(scene)
    assert stream(scene).lost == 0


@pytest.mark.alone
def test_a_group_with_a_source_arrives_from_that_one_only(running: Scene) -> None:
    channel = f"{SSM}@{SSM_SOURCE}"
    senders = [running.feed.send(SSM, source=SSM_SOURCE), running.feed.send(SSM)]
    try:
        running.feed.receive(channel, SSM)
        with running.config.open("a") as config:
            config.write(topology.group_toml(channel))
        assert running.exec("cloud", ["mcastd", "reload"]).returncode == 0
        wait_for_more(running, channel)
        assert running.dc.joined() == {GROUP, channel}
        assert stream(running, SSM).lost == 0
        assert stream(running, SSM).duplicates == 0
    finally:
        for sender in senders:
            running.stop(sender)


@pytest.mark.alone
def test_a_broken_file_is_refused_with_the_reason_and_changes_nothing(running: Scene) -> None:
    running.config.write_text(running.config.read_text().replace('group = "239.1.1.1"', 'group = "10.0.0.1"'))
    refused = running.exec("cloud", ["mcastd", "reload"])
    assert refused.returncode == 1
    assert "10.0.0.1" in refused.stdout + refused.stderr
    os.kill(running.daemon.pid, signal.SIGHUP)
    wait_for("the reason in the log", lambda: "10.0.0.1" in running.log("mcastd").read_text())
    wait_for_more(running)
    assert stream(running).lost == 0
    assert running.dc.joined() == {GROUP}
    assert running.status().healthy


def test_at_rest_it_is_small(running: Scene) -> None:
    status = Path(f"/proc/{running.daemon.pid}/status").read_text()
    size = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert size is not None
    assert int(size[1]) < 50 * 1024
