"""Routes through the tunnel, seen by an application."""

import pytest

from mcastd.lab.commands import wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.topology import GROUP

pytestmark = pytest.mark.root


def packets_on_the_tunnel(scene: Scene) -> int:
    return int(scene.command("cloud", ["cat", "/sys/class/net/gre1/statistics/rx_packets"]))


def test_an_application_that_names_no_interface_receives_the_feed(running: Scene) -> None:
    running.feed.stop_receiving()
    running.feed.receive(GROUP, anywhere=True)
    wait_for("the feed", lambda: running.feed.received()[GROUP].received > 100)
    assert GROUP in running.command("cloud", ["ip", "maddr", "show", "dev", "gre1"])
    assert running.status().tunnels[0].routes[0].state == "up"


def test_without_routes_it_joins_elsewhere_and_receives_nothing(running: Scene) -> None:
    text = running.config.read_text()
    running.config.write_text(text.replace("[tunnels.gre1]\n", "[tunnels.gre1]\nroutes = []\n"))
    assert running.exec("cloud", ["mcastd", "reload"]).returncode == 0
    running.feed.stop_receiving()
    running.feed.receive(GROUP, anywhere=True)
    wait_for("the join", lambda: GROUP in running.command("cloud", ["ip", "maddr", "show", "dev", "eth0"]))
    assert GROUP not in running.command("cloud", ["ip", "maddr", "show", "dev", "gre1"])
    before = packets_on_the_tunnel(running)
    wait_for("the feed on the tunnel", lambda: packets_on_the_tunnel(running) > before + 500)
    assert running.feed.received()[GROUP].received == 0
