"""GRE in the clear from the far endpoint's address, sent by the internet."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from mcastd.lab import topology
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD, GRE_CLOUD, INTERNET
from tests.lab.pim_scene import inside

_RP_FILTERS = [f"/proc/sys/net/ipv4/conf/{name}/rp_filter" for name in ("all", "eth0")]


@contextmanager
def way_in(scene: Scene) -> Iterator[socket.socket]:
    """The internet knows where the VM's GRE endpoint is, and the VM's reverse path filter does not help.

    Yields a socket there that takes whole IPv4 packets, to be sent to GRE_CLOUD.
    """
    before = {name: scene.command(CLOUD, ["cat", name]).strip() for name in _RP_FILTERS}
    scene.command(INTERNET, ["ip", "route", "add", f"{GRE_CLOUD}/32", "via", topology.VM])
    scene.command(CLOUD, ["sh", "-c", "; ".join(f"echo 0 > {name}" for name in _RP_FILTERS)])
    try:
        with inside(
            scene.namespace(INTERNET), lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        ) as spoofer:
            yield spoofer
    finally:
        scene.command(CLOUD, ["sh", "-c", "; ".join(f"echo {value} > {name}" for name, value in before.items())])
        scene.command(INTERNET, ["ip", "route", "del", f"{GRE_CLOUD}/32"])
