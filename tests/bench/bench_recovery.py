"""FRR is killed and started again after a second: from its first Hello to the feed's first packet, in the lab."""

import signal
import time

from mcastd.lab.commands import wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD
from tests.bench.figures import say_all
from tests.lab.pim_scene import PIM, UDP, Tap, back_after_hello, frr_joined, standing, start, wait_for_more

ROUNDS = 5
PAUSE = 1.0
TARGET = 1000.0


def measure(scene: Scene) -> float:
    """Milliseconds from FRR's first Hello to the first packet."""
    pim = scene.status().tunnels[0].pim
    assert pim is not None
    assert pim.neighbors[0].generation_id is not None
    before = pim.neighbors[0].generation_id.to_bytes(4, "big")
    with Tap(scene, CLOUD, PIM) as hellos, Tap(scene, CLOUD, UDP) as feed:
        scene.kill("pimd", signal.SIGKILL)
        wait_for("FRR's end", lambda: frr_joined(scene) is None)
        time.sleep(PAUSE)
        stopped = feed.packets()[-1].when
        scene.dc.start_pimd()
        wait_for("the feed", lambda: back_after_hello(hellos, feed, before) is not None)
        took = back_after_hello(hellos, feed, before)
        gap = next(packet.when for packet in feed.packets() if packet.when > stopped) - stopped
    assert took is not None
    assert gap > PAUSE / 2, "the feed had not stopped"
    wait_for_more(scene)
    return took * 1000


def main() -> None:
    """Measure and print."""
    with standing("mcastd-test-bench") as scene:
        start(scene)
        took = [measure(scene) for _ in range(ROUNDS)]
    say_all("FRR's first Hello to first packet", took, "ms", TARGET)


if __name__ == "__main__":
    main()
