"""What the tests and the benchmark of fail-over share: a daemon with two data centres, and what ends a path."""

import fcntl
import signal
import socket
import struct
import time

from mcastd.lab.commands import wait_for
from mcastd.lab.datacentre import DataCentre
from mcastd.lab.feed import StreamStats
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD, GROUP, TUNNEL
from tests.lab.datapath import RATE
from tests.lab.pim_scene import inside

PERIOD, RETRIES = 0.2, 3  # of our keepalives
PATHS = """
[paths]
hold = {hold}
overlap = {overlap}
"""
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_IFREQ = struct.Struct("16sh14x")


def options(prefix: str) -> Options:
    """Two data centres whose keepalives come twice a second."""
    return Options(prefix=prefix, data_centres=2, keepalive_period=0.5, rate=RATE)


def configuration(text: str, *, hold: float, overlap: float) -> str:
    """The scene's configuration with keepalives of our own, and peers that are tried each second."""
    for peer in ("dc", "dc2"):
        text = text.replace(f"[peers.{peer}]\n", f'[peers.{peer}]\nretry_max = "1s"\n')
    ours = f"keepalive.reply = true\nkeepalive.period = {PERIOD}\nkeepalive.retries = {RETRIES}"
    text = text.replace("keepalive.reply = true", ours) + 'use = "first"\n'
    return text + PATHS.format(hold=hold, overlap=overlap)


def start(scene: Scene) -> None:
    """Start the daemon; returns when both paths are up, and the feed comes by the first."""
    scene.start_daemon()
    wait_for("the feed", lambda: stream(scene).received > 100)
    scene.wait_for_status("everything is up", lambda status: status.healthy)


def stream(scene: Scene) -> StreamStats:
    """What the application has received."""
    return scene.feed.received()[GROUP]


def wait_for_more(scene: Scene, seconds: float = 0.5) -> None:
    """Return when the application has received more."""
    before = stream(scene).received
    wait_for("more of the feed", lambda: stream(scene).received >= before + seconds * RATE)


def joined(scene: Scene) -> set[str]:
    """The tunnels on which the group is joined."""
    return {group.tunnel for group in scene.status().groups if group.state == "joined"}


def wait_for_tunnels(scene: Scene, *tunnels: str, patience: float = 30.0) -> None:
    """Return when the group is joined on these tunnels, and on no other one."""
    wait_for(f"the group on {', '.join(tunnels)}", lambda: joined(scene) == set(tunnels), patience)


# What ends a path, and begins it again


def delete_sas(dc: DataCentre, scene: Scene) -> None:
    """The peer deletes its SAs, and lets none be established."""
    dc.load(psk="another")
    scene.command(dc.site.node, ["swanctl", "--terminate", "--ike", dc.site.peer])


def stop_pim(dc: DataCentre, scene: Scene) -> None:
    """The data centre's router says goodbye, and ends."""
    scene.end(f"pimd{dc.site.suffix}", signal.SIGTERM)


def start_pim(dc: DataCentre) -> None:
    """Start the router in another second than it ended: FRR 8.4.4 takes its Generation ID from the clock."""
    ended = int(time.time())
    wait_for("the next second", lambda: int(time.time()) != ended)
    dc.start_pimd()


def set_down(scene: Scene, tunnel: str = TUNNEL) -> tuple[float, float]:
    """Somebody sets the link down in the VM; returns from when to when that took."""

    def flags() -> tuple[float, float]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            request = _IFREQ.pack(tunnel.encode(), 0)
            _, found = _IFREQ.unpack(fcntl.ioctl(sock, _SIOCGIFFLAGS, request))
            when = time.monotonic()
            fcntl.ioctl(sock, _SIOCSIFFLAGS, _IFREQ.pack(tunnel.encode(), found & ~_IFF_UP))
            return when, time.monotonic()

    return inside(scene.namespace(CLOUD), flags)
