"""The ways through IPsec, each from the exec to the feed: the same scene with another agreement."""

import json
import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from mcastd.lab.commands import wait_for
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import (
    CHILD_GRE,
    CLOUD,
    DC,
    DC_PUBLIC,
    GRE_CLOUD,
    GRE_DC,
    GROUP,
    MODES,
    TUNNEL,
    VM,
    VM_PUBLIC,
)
from mcastd.status import KeepaliveStatus
from tests.lab.pim_scene import IGMP, Tap

pytestmark = pytest.mark.root

_PATIENCE = 300.0
_PERIOD = 2.0
KINDS = {"transport": ("gre",), "interface": ("gre", "xfrm"), "none": ("xfrm",)}
# The GRE endpoint here, and between whom the two sides have it.
ENDS = {"transport": (VM, VM_PUBLIC, DC_PUBLIC), "interface": (GRE_CLOUD, GRE_CLOUD, GRE_DC)}


class Arrived(NamedTuple):
    """A scene whose feed arrives, and the IGMP at the data centre's end of the tunnel since before the start."""

    scene: Scene
    igmp: Tap


@pytest.fixture
def arrived(request: pytest.FixtureRequest) -> Iterator[Arrived]:
    """Emulation is slow, so it is a slow feed, and none of our keepalives makes the path dead. Both sides have them."""
    with (
        Scene(Options(prefix="mcastd-test-way", rate=50.0, keepalive_period=_PERIOD, mode=request.param)) as scene,
        Tap(scene, DC, IGMP) as igmp,
    ):
        if request.param in ENDS:
            head = f"[tunnels.{TUNNEL}]\n"
            asking = f"keepalive.period = {_PERIOD}\nkeepalive.retries = 100\n"
            scene.config.write_text(scene.config.read_text().replace(head, head + asking))
        scene.start_daemon()
        try:
            wait_for("the feed", lambda: scene.feed.received()[GROUP].received > 100, _PATIENCE)
            scene.wait_for_status("everything is up", lambda status: status.healthy, _PATIENCE)
        except BaseException:
            print(scene.tail("mcastd", 60), scene.tail("charon-cloud", 40), scene.tail("charon-dc", 40))  # noqa: T201
            raise
        yield Arrived(scene, igmp)


def kinds(scene: Scene) -> list[str]:
    """The links of ours, by what the kernel calls them."""
    links = json.loads(scene.command(CLOUD, ["ip", "-j", "-d", "link", "show"]))
    return sorted(link["linkinfo"]["info_kind"] for link in links if link.get("ifalias") == "made by mcastd")


def passes(scene: Scene, size: int) -> bool:
    """Whether a packet of this size reaches the tunnel's other end without fragments."""
    argv = ["ping", "-c", "3", "-i", "0.2", "-W", "2", "-M", "do", "-s", str(size - 28), "10.44.4.5"]
    return scene.exec(CLOUD, argv).returncode == 0


def keepalive(scene: Scene) -> KeepaliveStatus:
    found = scene.status().tunnels[0].keepalive
    assert found is not None
    return found


def ends(tap: Tap) -> set[tuple[str, str]]:
    return {(packet.source, socket.inet_ntoa(packet.data[16:20])) for packet in tap.packets()}


def check_keepalives(scene: Scene, mode: str) -> None:
    """Each side answers the other's, and what is inside them is between addresses that both know."""
    local, here, there = ENDS[mode]
    assert f" remote {DC_PUBLIC if mode == 'transport' else GRE_DC} local {local} " in scene.command(
        CLOUD, ["ip", "-d", "link", "show", TUNNEL]
    )
    before, theirs_before = keepalive(scene), scene.dc.keepalives()
    # What is inside a request shows on the tunnel of who is asked.
    with Tap(scene, CLOUD, socket.IPPROTO_GRE) as asked, Tap(scene, DC, socket.IPPROTO_GRE) as asked_there:
        wait_for("our answers", lambda: scene.dc.keepalives().answered > theirs_before.answered, _PATIENCE)
        wait_for("theirs", lambda: keepalive(scene).received > before.received, _PATIENCE)
        assert ends(asked) == {(here, there)}
        assert ends(asked_there) == {(there, here)}
    assert keepalive(scene).path == "alive"
    assert scene.dc.keepalives().line_protocol == "up"


def check(arrived: Arrived, mode: str) -> None:
    scene = arrived.scene
    status = scene.status()
    tunnel = status.tunnels[0]
    child = next(child for child in status.peers[0].children if child.name == CHILD_GRE)
    assert child.mode == ("transport" if mode == "transport" else "interface")
    assert child.encap
    assert (tunnel.mtu, tunnel.datapath) == (MODES[mode].mtu, "kernel")
    assert tunnel.pim is not None
    assert [neighbor.address for neighbor in tunnel.pim.neighbors] == ["10.44.4.5"]
    if mode == "none":
        assert tunnel.keepalive is None
    else:
        check_keepalives(scene, mode)
    assert kinds(scene) == sorted(KINDS[mode])
    assert scene.dc.neighbors() == ["10.44.4.6"]
    assert scene.dc.joined() == {GROUP}
    assert passes(scene, MODES[mode].mtu)
    assert not passes(scene, MODES[mode].mtu + 1)
    assert scene.leaked() == 0
    # Without nftables there is no guard.
    firewall = status.firewall
    assert firewall is not None
    assert any(not packet.outgoing for packet in arrived.igmp.packets()) == (not firewall.guard)
    assert bool(firewall.igmp_kept) == firewall.guard
    packets = child.packets_in
    assert packets > 100
    assert TUNNEL in scene.command(CLOUD, ["ip", "route", "get", GROUP])
    assert scene.stop_daemon() == 0
    assert kinds(scene) == []
    assert "proto 103" not in scene.command(CLOUD, ["ip", "route", "show", "table", "all"])


@pytest.mark.kernel("gre", "esp")
@pytest.mark.parametrize("arrived", ["transport"], indirect=True)
def test_gre_in_transport_mode_behind_a_nat(arrived: Arrived) -> None:
    check(arrived, "transport")


@pytest.mark.kernel("gre", "esp", "nftables-nat", "xfrm-interface")
@pytest.mark.parametrize("arrived", ["interface"], indirect=True)
def test_gre_on_an_xfrm_interface(arrived: Arrived) -> None:
    check(arrived, "interface")


@pytest.mark.kernel("esp", "nftables-nat", "xfrm-interface")
@pytest.mark.parametrize("arrived", ["none"], indirect=True)
def test_multicast_straight_on_an_xfrm_interface(arrived: Arrived) -> None:
    check(arrived, "none")
