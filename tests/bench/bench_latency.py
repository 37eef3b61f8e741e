"""From a join to the first packet at the application, in the lab, with a stream of 1,000 packets a second running.

Counted twice: from the request on the daemon's control socket, and from the Join on the wire. Every join is of another
group, so that none finds state of an earlier one in FRR.
"""

import time
from ipaddress import IPv4Address

from mcastd import control
from mcastd.lab.commands import wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD
from tests.bench.figures import say_all
from tests.lab.pim_scene import PIM, Tap, standing, start

ROUNDS = 20
TARGET = 15.0


def measure(scene: Scene, group: str) -> tuple[float, float]:
    """Milliseconds from the request, and from the Join, to the first packet of a group."""
    sender = scene.feed.send(group)
    scene.feed.receive(group)
    try:
        with Tap(scene, CLOUD, PIM) as tap:
            # FRR has to have met the stream, as it has one that runs.
            wait_for("FRR's source", lambda: group in scene.dc.frr_json("show ip pim upstream"))
            began = time.monotonic()
            request = {"group": group, "source": None, "tunnel": None}
            answer = control.ask(scene.folder / CLOUD / "run" / "control.sock", "join", request)
            assert answer == b'"joined"', answer
            wait_for("the stream", lambda: scene.feed.received()[group].first is not None)
            joined = next(p.when for p in tap.joins() if group in {record.group for record in p.records()})
        first = scene.feed.received()[group].first
        assert first is not None
        return (first - began) * 1000, (first - joined) * 1000
    finally:
        scene.stop(sender)


def main() -> None:
    """Measure and print."""
    with standing("mcastd-test-bench") as scene:
        start(scene)
        rounds = [measure(scene, str(IPv4Address("239.3.0.0") + number)) for number in range(1, ROUNDS + 1)]
    say_all("request to first packet", [request for request, _ in rounds], "ms", TARGET)
    say_all("Join on the wire to first packet", [join for _, join in rounds], "ms", TARGET)


if __name__ == "__main__":
    main()
