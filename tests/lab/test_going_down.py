"""Going down puts back what was found, also when a crash was in between."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from mcastd.lab.commands import wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.topology import GROUP
from tests.lab.datapath import assert_datapath

pytestmark = pytest.mark.root

SYSCTLS = "cd /proc/sys/net/ipv4 && grep -s . conf/*/* ip_forward igmp_*"


def host(scene: Scene) -> dict[str, Any]:
    """Interfaces, addresses, routes, rules, sysctls, packet filter, SAs and connections of the VM."""
    asked = {
        "links": ["ip", "-j", "-d", "link"],
        "addresses": ["ip", "-j", "addr"],
        "routes": ["ip", "-j", "route", "show", "table", "all"],
        "rules": ["ip", "-j", "rule"],
    }
    found: dict[str, Any] = {name: json.loads(scene.command("cloud", argv)) for name, argv in asked.items()}
    found["sysctls"] = scene.command("cloud", ["sh", "-c", SYSCTLS])
    found["filter"] = scene.command("cloud", ["nft", "list", "ruleset"])
    for question in ("--list-sas", "--list-conns", "--list-pols"):
        found[question] = scene.command("cloud", ["swanctl", question])
    # The daemon's lock file stays, since whoever waits for it may hold it open; ledger and socket go.
    files = {path.name for path in (scene.folder / "cloud" / "run").iterdir()}
    found["files"] = sorted(files - {"lock"})
    return found


def feed_arrives(scene: Scene) -> None:
    before = scene.feed.received()[GROUP].received
    wait_for("the feed", lambda: scene.feed.received()[GROUP].received > before + 100)
    scene.wait_for_status("everything is up", lambda status: status.healthy)
    wait_for("the join at FRR", lambda: scene.dc.joined() == {GROUP})
    assert_datapath(scene)


def assert_gone(scene: Scene, before: dict[str, Any]) -> None:
    after = host(scene)
    for name, found in before.items():
        assert after[name] == found, name
    # By themselves, the join would expire after 210 seconds and the neighbour after 105.
    wait_for("FRR has pruned the group", lambda: scene.dc.joined() == set(), 60.0)
    wait_for("FRR has forgotten the neighbour", lambda: scene.dc.neighbors() == [], 60.0)
    assert scene.dc.security_associations() == ""
    assert scene.leaked() == 0


@pytest.mark.also_kernel
def test_sigterm_prunes_says_goodbye_and_puts_everything_back(scene: Scene) -> None:
    before = host(scene)
    scene.start_daemon()
    feed_arrives(scene)
    assert host(scene) != before
    assert scene.stop_daemon(signal.SIGTERM) == 0, scene.tail("mcastd")
    assert_gone(scene, before)


@pytest.mark.also_kernel
def test_after_sigkill_a_start_and_sigterm_put_everything_back(scene: Scene) -> None:
    before = host(scene)
    scene.start_daemon()
    feed_arrives(scene)
    scene.stop_daemon(signal.SIGKILL)
    scene.start_daemon()
    feed_arrives(scene)
    assert scene.stop_daemon(signal.SIGTERM) == 0, scene.tail("mcastd")
    assert_gone(scene, before)


@pytest.mark.alone
def test_a_second_daemon_is_refused_and_the_first_goes_on(running: Scene) -> None:
    second = running.exec("cloud", ["mcastd", "run"])
    assert second.returncode == 1
    assert second.stderr
    feed_arrives(running)
    assert running.feed.received()[GROUP].lost == 0
    assert Path(f"/proc/{running.daemon.pid}").exists()


def test_addresses_that_were_there_before_stay(scene: Scene) -> None:
    scene.command("cloud", ["ip", "address", "add", "10.44.6.1/32", "dev", "lo"])
    try:
        before = host(scene)
        scene.start_daemon()
        feed_arrives(scene)
        assert scene.stop_daemon(signal.SIGTERM) == 0, scene.tail("mcastd")
        assert_gone(scene, before)
    finally:
        scene.command("cloud", ["ip", "address", "del", "10.44.6.1/32", "dev", "lo"])
