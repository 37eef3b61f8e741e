"""Pages of metrics, one each second, with 1,000 streams and 2,000 joins that all have series, and then 10,000 streams.

In the lab: what a page takes of the daemon's CPU, the longest callback of its loop, and its memory.
"""

import os
import re
import signal
import sys
import time
import urllib.request
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

from mcastd.lab.commands import python, wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD, GROUP, SOURCE, SOURCE_ADDRESS
from tests.alerts.prometheus import METRICS
from tests.bench.figures import cpu, say
from tests.lab.pim_scene import configure, inside, standing

JOINS, SECONDS = 2000, 30
_LONGEST = 20.0  # ms
GROUPS = (GROUP, *(str(IPv4Address("239.7.0.0") + number) for number in range(1, JOINS)))
MORE = f"""
[metrics]
listen = "{METRICS}"
streams = "all"

[[feeds]]
name = "many"
groups = ["{GROUP}"]
sequence = {{ offset = 0, size = 8, order = "big" }}
"""
SEND = f"""
import itertools, socket, struct, sys, time
first, count, rate = map(int, sys.argv[1:])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(0, socket.IP_MULTICAST_TTL, 32)
sock.setsockopt(0, socket.IP_MULTICAST_IF, socket.inet_aton("{SOURCE_ADDRESS}"))
began = time.monotonic()
for number in itertools.count():
    time.sleep(max(0.0, began + number / rate - time.monotonic()))
    sock.sendto(struct.pack("!Q", number // count) + bytes(100), ("{GROUP}", first + number % count))
"""


def say_longest(scene: Scene, what: str) -> None:
    """Print the longest callback since this was asked last, and which one it was if it was too long."""
    before = scene.log("mcastd").read_text().count("longest callback")
    os.kill(scene.daemon.pid, signal.SIGRTMIN)

    def lines() -> list[tuple[str, str]]:
        return re.findall(r"longest callback ([\d.]+) ms: (.*)", scene.log("mcastd").read_text())

    wait_for("the longest callback", lambda: len(lines()) > before)
    took, callback = lines()[-1]
    say(f"{what}: longest callback", float(took), "ms", _LONGEST)
    if float(took) > _LONGEST:
        sys.stdout.write(f"  {callback}\n")


def resident(scene: Scene) -> float:
    """The daemon's memory, in MB."""
    size = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{scene.daemon.pid}/status").read_text())
    assert size is not None
    return int(size[1]) / 1024


def each_second(scene: Scene, seconds: int, action: Callable[[], object]) -> float:
    """What the daemon used meanwhile, in seconds of CPU."""
    used, began = cpu(scene.daemon.pid), time.monotonic()
    for second in range(seconds):
        action()
        time.sleep(max(0.0, began + second + 1 - time.monotonic()))
    return cpu(scene.daemon.pid) - used


def measure(scene: Scene, streams: int, seconds: int, page: float | None) -> None:
    """With so many streams; ``page`` is what a page may take, in seconds of CPU."""

    def scrape() -> bytes:
        with urllib.request.urlopen(f"http://{METRICS}/metrics", timeout=20.0) as answer:
            found: bytes = answer.read()
            return found

    def ask() -> bytes:
        return inside(scene.namespace(CLOUD), scrape)

    wait_for("all streams", lambda: ask().count(b"\nmcastd_stream_packets_total{") >= streams, poll=1.0)
    what = f"{streams:,} streams, {JOINS:,} joins"
    say(f"{what}: a page", len(ask()) / 1e6, "MB")
    say_longest(scene, f"{what}, to begin with")
    idle = each_second(scene, seconds, lambda: None)
    say_longest(scene, f"{what}, without scrapes")
    ask()
    memory = resident(scene)
    used = each_second(scene, seconds, ask)
    say_longest(scene, what)
    say(f"{what}: CPU of the daemon without scrapes", 100 * idle / seconds, "%")
    say(f"{what}: CPU of a page", 1000 * (used - idle) / seconds, "ms", page)
    say(f"{what}: the daemon's memory", resident(scene), "MB")
    say(f"{what}: what that grew within {seconds} pages", resident(scene) - memory, "MB", 1.0)


def main() -> None:
    """Measure and print."""
    with standing("mcastd-test-bench") as scene:
        configure(scene, groups=GROUPS)
        scene.config.write_text(scene.config.read_text() + MORE)
        scene.start_daemon(python("tests.bench.timed_daemon", "run"))
        scene.wait_for_status("everything is up", lambda status: status.healthy)
        scene.kill("source", signal.SIGTERM)
        scene.start(SOURCE, "many", ["python3", "-c", SEND, "10000", "1000", "1000"])
        measure(scene, 1000, SECONDS, 150.0)
        scene.start(SOURCE, "more", ["python3", "-c", SEND, "20000", "9000", "1000"])
        measure(scene, 10_000, SECONDS // 3, None)


if __name__ == "__main__":
    main()
