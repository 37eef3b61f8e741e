"""What a packet of the feed costs where ESP and GRE are done in user space: CPU time of charon and of mcastd.

The lab's feed at two rates; the difference of the CPU times is that of the packets in between, whatever else both do.
Where the kernel has GRE and ESP, both figures are near 0, and say nothing: the packets are the kernel's.
"""

import time

from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD, GROUP
from tests.bench.figures import cpu, say
from tests.lab.pim_scene import start

RATES = (500.0, 4500.0)  # packets a second
SETTLED, MEASURED = 3.0, 15.0  # seconds


def main() -> None:
    """Measure and print."""
    low, high = (_used(rate) for rate in RATES)
    more = high["packets"] - low["packets"]
    costs = {name: (high[name] - low[name]) / more * 1e6 for name in ("charon", "mcastd")}
    for name, what in (("charon", "ESP by charon"), ("mcastd", "GRE by mcastd")):
        say(f"{what}: a packet", costs[name], "us CPU")
        say(f"{what}: packets a second that fill one CPU", 1e6 / costs[name], "")
    say("Lost, at the higher rate", high["lost"], "packets")


def _used(rate: float) -> dict[str, float]:
    """The seconds of CPU of both within the time measured, how many packets came, and how many did not."""
    with Scene(Options(prefix="bench", rate=rate)) as scene:
        start(scene)
        pids = {one.name: one.pid for one in scene.state.record.processes}
        both = {"charon": pids[f"charon-{CLOUD}"], "mcastd": scene.status().pid}
        time.sleep(SETTLED)
        before, came = {name: cpu(pid) for name, pid in both.items()}, scene.feed.received()[GROUP]
        time.sleep(MEASURED)
        used = {name: cpu(pid) - before[name] for name, pid in both.items()}
        now = scene.feed.received()[GROUP]
        return used | {"packets": float(now.received - came.received), "lost": float(now.lost - came.lost)}


if __name__ == "__main__":
    main()
