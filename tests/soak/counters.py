"""Where packets of the feed were counted, or dropped, on their way through a scene."""

import json
import re
from pathlib import Path

from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD, DC, INTERNET, PORT, SOURCE
from tests.soak.result import Sample

# The feed inside of GRE, whose header has 4 bytes: the protocol and the destination port of the packet in it.
_TABLE = f"""
table ip soak {{
    counter arrived {{ }}
    chain prerouting {{
        type filter hook prerouting priority -500;
        ip protocol 47 @th,104,8 17 @th,208,16 {PORT} counter name arrived
    }}
}}
"""
_CHARON = (500, 4500)


def start_counting(scene: Scene) -> None:
    """Count what arrives at the VM decrypted."""
    scene.command(CLOUD, ["nft", "-f", "-"], text=_TABLE)


def arrived(scene: Scene) -> int:
    """Packets of the feed that have arrived at the VM, decrypted."""
    found = json.loads(scene.command(CLOUD, ["nft", "-j", "list", "counter", "ip", "soak", "arrived"]))
    return int(next(one["counter"]["packets"] for one in found["nftables"] if "counter" in one))


def dropped_before(scene: Scene) -> int:
    """Packets that queues before mcastd had no room for."""
    links = sum(_dropped_by_links(scene, node) for node in (SOURCE, INTERNET, DC))
    charons = sum(_dropped_by_sockets(scene, node, "udp", _CHARON) for node in (DC, CLOUD))
    return links + charons + _dropped_by_sockets(scene, DC, "raw")


def dropped_behind(scene: Scene) -> int:
    """Packets that the application's socket had no room for."""
    return _dropped_by_sockets(scene, CLOUD, "udp", (PORT,))


def _dropped_by_links(scene: Scene, node: str) -> int:
    links = json.loads(scene.command(node, ["ip", "-j", "-s", "link"]))
    return sum(link["stats64"][way]["dropped"] for link in links for way in ("rx", "tx") if "stats64" in link)


def _dropped_by_sockets(scene: Scene, node: str, protocol: str, ports: tuple[int, ...] | None = None) -> int:
    """The last column of /proc/net/udp and /proc/net/raw; the second one has the local address and port."""
    rows = [line.split() for line in scene.command(node, ["cat", f"/proc/net/{protocol}"]).splitlines()[1:]]
    return sum(int(row[-1]) for row in rows if ports is None or int(row[1].partition(":")[2], 16) in ports)


def sample(scene: Scene, seconds: float) -> Sample:
    """The daemon now."""
    process = Path(f"/proc/{scene.daemon.pid}")
    memory = re.search(r"VmRSS:\s+(\d+) kB", (process / "status").read_text())
    assert memory is not None
    descriptors = len(list((process / "fd").iterdir()))
    return Sample(seconds, int(memory[1]), descriptors, scene.log("mcastd").stat().st_size)
