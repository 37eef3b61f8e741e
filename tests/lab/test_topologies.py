"""The ways through IPsec, each from the exec to the feed: the same scene with another agreement."""

import json
from collections.abc import Iterator

import pytest

from mcastd.lab.commands import wait_for
from mcastd.lab.places import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CHILD_GRE, CLOUD, GROUP, MODES, TUNNEL

pytestmark = pytest.mark.root

_PATIENCE = 300.0
KINDS = {"transport": ("gre",), "interface": ("gre", "xfrm"), "none": ("xfrm",)}


@pytest.fixture
def arrived(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A scene whose feed arrives. Emulation is slow, so it is a slow feed; and no keepalive falls into the test."""
    with Scene(Options(prefix="mcastd-test-way", rate=50.0, keepalive_period=3600.0, mode=request.param)) as scene:
        scene.start_daemon()
        try:
            wait_for("the feed", lambda: scene.feed.received()[GROUP].received > 100, _PATIENCE)
            scene.wait_for_status("everything is up", lambda status: status.healthy, _PATIENCE)
        except BaseException:
            print(scene.tail("mcastd", 60), scene.tail("charon-cloud", 40), scene.tail("charon-dc", 40))  # noqa: T201
            raise
        yield scene


def kinds(scene: Scene) -> list[str]:
    """The links of ours, by what the kernel calls them."""
    links = json.loads(scene.command(CLOUD, ["ip", "-j", "-d", "link", "show"]))
    return sorted(link["linkinfo"]["info_kind"] for link in links if link.get("ifalias") == "made by mcastd")


def passes(scene: Scene, size: int) -> bool:
    """Whether a packet of this size reaches the tunnel's other end without fragments."""
    argv = ["ping", "-c", "3", "-i", "0.2", "-W", "2", "-M", "do", "-s", str(size - 28), "10.44.4.5"]
    return scene.exec(CLOUD, argv).returncode == 0


def check(scene: Scene, mode: str) -> None:
    status = scene.status()
    tunnel = status.tunnels[0]
    child = next(child for child in status.peers[0].children if child.name == CHILD_GRE)
    assert child.mode == ("transport" if mode == "transport" else "interface")
    assert child.encap
    assert (tunnel.mtu, tunnel.datapath) == (MODES[mode].mtu, "kernel")
    assert tunnel.pim is not None
    assert [neighbor.address for neighbor in tunnel.pim.neighbors] == ["10.44.4.5"]
    assert (tunnel.keepalive is None) == (mode == "none")
    assert kinds(scene) == sorted(KINDS[mode])
    assert scene.dc.neighbors() == ["10.44.4.6"]
    assert scene.dc.joined() == {GROUP}
    assert passes(scene, MODES[mode].mtu)
    assert not passes(scene, MODES[mode].mtu + 1)
    assert scene.leaked() == 0
    packets = child.packets_in
    assert packets > 100
    assert TUNNEL in scene.command(CLOUD, ["ip", "route", "get", GROUP])
    assert scene.stop_daemon() == 0
    assert kinds(scene) == []
    assert "proto 103" not in scene.command(CLOUD, ["ip", "route", "show", "table", "all"])


@pytest.mark.kernel("gre", "esp")
@pytest.mark.parametrize("arrived", ["transport"], indirect=True)
def test_gre_in_transport_mode_behind_a_nat(arrived: Scene) -> None:
    check(arrived, "transport")


@pytest.mark.kernel("gre", "esp", "nftables-nat", "xfrm-interface")
@pytest.mark.parametrize("arrived", ["interface"], indirect=True)
def test_gre_on_an_xfrm_interface(arrived: Scene) -> None:
    check(arrived, "interface")


@pytest.mark.kernel("esp", "nftables-nat", "xfrm-interface")
@pytest.mark.parametrize("arrived", ["none"], indirect=True)
def test_multicast_straight_on_an_xfrm_interface(arrived: Scene) -> None:
    check(arrived, "none")
