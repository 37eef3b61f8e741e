"""What ``lab run`` prints and returns, as the command does it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcastd.lab.feed import StreamStats
from mcastd.lab.show import packets, steps
from mcastd.status import (
    ChildStatus,
    GroupStatus,
    KeepaliveStatus,
    NeighborStatus,
    PeerStatus,
    PimStatus,
    Status,
    TunnelStatus,
)

PREFIX = "mcastd-test-show"
ROOT = Path(__file__).parents[2]
PRELUDE = f"""
import sys
from mcastd.lab import show
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
scene = Scene(Options(prefix={PREFIX!r}))
"""

CHILD = ChildStatus(
    name="dc-tun-gre", state="up", local_ts="10.44.6.1/32", remote_ts="10.44.7.1/32", proposal="AES", uptime=0.7
)
PEER = PeerStatus(
    name="dc", state="up", local="10.1.1.246", remote="177.54.214.20", local_id="222.45.67.1",
    remote_id="177.54.214.20", proposal="AES", nat_local=True, uptime=0.75, children=(CHILD,),
)  # fmt: skip
TUNNEL = TunnelStatus(
    name="gre1", state="up", datapath="kernel", local="10.44.6.1", remote="10.44.7.1", address="10.44.4.6/30", mtu=1398,
    keepalive=KeepaliveStatus(reply=True, answered=1, last_age=0.1),
    pim=PimStatus(running=True, neighbors=(NeighborStatus(address="10.44.4.5", uptime=0.6, expires_in=100.0),)),
)  # fmt: skip
GROUP = GroupStatus(group="239.1.1.1", source=None, tunnel="gre1", state="joined", upstream="10.44.4.5", uptime=0.65)
STATUS = Status(
    version="1",
    pid=1,
    uptime=1.0,
    health="ok",
    healthy=True,
    summary="",
    config_file="",
    peers=(PEER,),
    tunnels=(TUNNEL,),
    groups=(GROUP,),
)


def test_the_steps_have_the_times_at_which_they_happened() -> None:
    found = {step.name: round(step.at, 3) for step in steps(STATUS, 1.0)}
    assert found == {
        "IKE_SA dc": 0.25,
        "CHILD_SA dc-tun-gre": 0.3,
        "tunnel gre1": 1.0,
        "keepalive": 0.9,
        "neighbour 10.44.4.5": 0.4,
        "join (*, 239.1.1.1)": 0.35,
    }


def test_what_has_not_happened_is_no_step() -> None:
    down = Status(version="1", pid=1, uptime=1.0, health="down", healthy=False, summary="", config_file="")
    assert list(steps(down, 1.0)) == []
    silent = StreamStats("239.1.1.1", None, 0, 0, 0, None, None, 0.0)
    assert list(packets({"239.1.1.1": silent}, 1.0)) == []


def run(body: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + body],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.alone
@pytest.mark.root
def test_a_run_ends_with_one_json_object_and_leaves_nothing() -> None:
    done = run("sys.exit(show.run(scene, seconds=1.5, as_json=True))")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["schema"] == 1
    assert result["received"] > 0
    assert (result["lost"], result["duplicates"], result["gre_in_the_clear"]) == (0, 0, 0)
    assert result["first_packet_s"] > 0
    assert result["longest_gap_s"] > 0
    assert result["datapath"] in ("kernel", "userspace")
    for step in ("IKE_SA dc", "join (*, 239.1.1.1)", "packets 239.1.1.1", "keepalive"):
        assert step in done.stderr
    assert not Path(f"/run/{PREFIX}-lab").exists()


@pytest.mark.root
def test_a_run_in_which_nothing_arrives_fails_and_says_why() -> None:
    done = run("""
from unittest import mock
start = scene.start_daemon
scene.start_daemon = lambda: (scene.block(500, 4500), start())
with mock.patch.object(show, "_START_TIMEOUT", 4.0):
    sys.exit(show.run(scene, seconds=1.0, as_json=True))
""")
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["first_packet_s"] is None
    assert "no answer from 177.54.214.20" in done.stderr
    assert "mcastd starts" in done.stderr
    assert not Path(f"/run/{PREFIX}-lab").exists()
