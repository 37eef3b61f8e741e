"""The MTU to the byte, and what only the kernel's own ESP shows: its counters of the SAs."""

import re

import pytest

from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD, INTERNET, TUNNEL, TUNNEL_DC
from tests.lab.datapath import assert_datapath, child, kernel_does
from tests.lab.pim_scene import UDP, Tap

pytestmark = pytest.mark.root

FAR = TUNNEL_DC.partition("/")[0]
# The MTU, and the size of such a packet in GRE, in ESP with AES-CBC and HMAC-SHA256-128, in UDP. With the kernel's, one
# byte more would need another block of 16; in user space it would not fit into the TUN of ESP.
MTU, LARGEST = (1398, 1492) if kernel_does("esp") else (1376, 1476)


def passes(scene: Scene, size: int) -> bool:
    """Whether an IPv4 packet of this size passes the tunnel and comes back, with DF set."""
    ping = ["ping", "-c", "3", "-i", "0.2", "-W", "2", "-M", "do", "-s", str(size - 28), FAR]
    return scene.exec(CLOUD, ping).returncode == 0


@pytest.mark.also_kernel
def test_the_mtu_is_what_passes_whole_and_not_a_byte_less(running: Scene) -> None:
    with Tap(running, INTERNET, UDP, "cloud0") as tap:
        assert passes(running, MTU)
        sizes = {len(packet.data) for packet in tap.packets()}
        fragments = [packet for packet in tap.packets() if packet.data[6] & 0x3F or packet.data[7]]
    assert max(sizes) == LARGEST
    assert fragments == []
    assert not passes(running, MTU + 1)

    if kernel_does("esp"):
        the_path_takes_no_more(running)
    assert_datapath(running)


def the_path_takes_no_more(running: Scene) -> None:
    """It is not only the interface that says so. In user space it is: what is larger passes in fragments."""
    running.command(CLOUD, ["ip", "route", "add", FAR, "dev", TUNNEL, "mtu", str(MTU + 1)])
    try:
        assert passes(running, MTU)
        assert not passes(running, MTU + 1)
    finally:
        running.command(CLOUD, ["ip", "route", "del", FAR])


def kernel_packets(scene: Scene, spi: str) -> int:
    """How many packets the kernel has counted for an SA."""
    shown = scene.command(CLOUD, ["ip", "-s", "xfrm", "state", "list", "spi", f"0x{spi}"])
    found = re.search(r"lifetime current:\s+\d+\(bytes\), (\d+)\(packets\)", shown)
    assert found is not None, shown
    return int(found[1])


@pytest.mark.kernel("gre", "esp")
def test_the_status_counts_what_the_kernel_counts(running: Scene) -> None:
    spi = child(running).spi_in
    assert spi is not None
    before = kernel_packets(running, spi)
    told = child(running).packets_in
    assert 0 < before <= told <= kernel_packets(running, spi)
