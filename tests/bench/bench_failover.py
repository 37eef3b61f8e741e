"""Two data centres: from the moment at which a path ends to the first packet by the other one.

The signs that are events: the peer deletes its SAs, its router says goodbye. Each is counted from the packet that says
so. Silence: the data centre is cut off without a word, counted from the last packet that came. A link that is set down
in the VM is no sign: it is set up again, and counted until the feed comes by whichever path. The names of some of
these, as arguments, measure them alone.
"""

import re
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from mcastd.lab import topology
from mcastd.lab.commands import wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.sites import TUNNEL2
from mcastd.lab.topology import CLOUD, TUNNEL
from tests.bench.figures import say, say_all
from tests.lab.failover_scene import (
    PERIOD,
    RETRIES,
    configuration,
    delete_sas,
    set_down,
    start_pim,
    stop_pim,
    wait_for_tunnels,
)
from tests.lab.failover_scene import options as scene_options
from tests.lab.pim_scene import HELLO, PIM, UDP, Seen, Tap

ROUNDS = 20
EVENT = 20.0  # ms; and a round trip
LINK = "link down"
PAUSE = 2.0  # seconds; mcastd repairs at once what does not happen all the time
QUIET = 0.3  # seconds without a packet by the other path before a round


class Signal(NamedTuple):
    """What ends a path; ``lost`` finds when in what passed, and ``limit`` is in ms, beside a round trip."""

    inject: Callable[[Scene], object]
    undo: Callable[[Scene], object]
    limit: float
    lost: Callable[["Passed"], float]


class Passed(NamedTuple):
    """What passed since a round began, before the first packet by the other path."""

    ike: list[Seen]
    pim: list[Seen]
    feed: list[Seen]


def is_delete(packet: Seen) -> bool:
    """Whether it is IKE of the first data centre: on port 4500 behind four zeros (RFC 3948, section 2.2)."""
    return not packet.outgoing and packet.source == topology.DC_PUBLIC and packet.data[28:32] == bytes(4)


def is_goodbye(packet: Seen) -> bool:
    """Whether it is a Hello with a holdtime of 0 (RFC 7761, section 4.3.1)."""
    return not packet.outgoing and packet.pim_type == HELLO and packet.data[24:30] == b"\0\1\0\2\0\0"


SIGNALS = {
    "SAs deleted": Signal(
        lambda scene: delete_sas(scene.dc, scene),
        lambda scene: scene.dc.load(),
        EVENT,
        lambda passed: next(packet.when for packet in passed.ike if is_delete(packet)),
    ),
    "PIM goodbye": Signal(
        lambda scene: stop_pim(scene.dc, scene),
        lambda scene: start_pim(scene.dc),
        EVENT,
        lambda passed: next(packet.when for packet in passed.pim if is_goodbye(packet)),
    ),
    # A request is not answered; so are RETRIES in a row, each within PERIOD.
    "cut off": Signal(
        lambda scene: scene.cut(scene.dc.site),
        lambda scene: scene.cut(scene.dc.site, off=False),
        (RETRIES + 1) * PERIOD * 1000 + EVENT,
        lambda passed: passed.feed[-1].when,
    ),
}


def measure(scene: Scene, signal: Signal) -> tuple[float, float]:
    """Milliseconds from the end of the sign to the Join and to the first packet by the other path."""
    wait_for_tunnels(scene, TUNNEL)
    with (
        Tap(scene, CLOUD, UDP, TUNNEL2) as other,
        Tap(scene, CLOUD, UDP, TUNNEL) as feed,
        Tap(scene, CLOUD, UDP, "eth0") as ike,
        Tap(scene, CLOUD, PIM) as pim,
        Tap(scene, CLOUD, PIM, TUNNEL2) as joins,
    ):
        wait_for("the feed by the first path", lambda: len(feed.packets()) > QUIET * scene.options.rate)
        other.clear()
        ike.clear()
        joins.clear()
        signal.inject(scene)
        wait_for("the feed by the other path", other.packets)
        first = other.packets()[0].when
        at = signal.lost(Passed(*([one for one in tap.packets() if one.when < first] for tap in (ike, pim, feed))))
        joined = max(packet.when for packet in joins.joins() if packet.outgoing and packet.when < first)
    signal.undo(scene)
    return (joined - at) * 1000, (first - at) * 1000


def measure_link(scene: Scene) -> float:
    """Milliseconds from a link that is set down to the next packet by whichever path."""
    time.sleep(PAUSE)
    with Tap(scene, CLOUD, UDP, TUNNEL2) as other, Tap(scene, CLOUD, UDP, TUNNEL) as feed:
        wait_for("the feed by the first path", feed.packets)
        began, ended = set_down(scene)

        def arrived() -> list[float]:
            return [packet.when for tap in (feed, other) for packet in tap.packets() if packet.when > ended]

        wait_for("the feed", arrived)
        return (min(arrived()) - began) * 1000


def round_trip(scene: Scene) -> float:
    """Milliseconds to the second data centre and back, through the tunnel."""
    answer = scene.command(CLOUD, ["ping", "-c", "20", "-i", "0.1", "-I", TUNNEL2, "10.44.5.5"])
    return statistics.median(map(float, re.findall(r"time=([\d.]+)", answer)))


def main() -> None:
    """Measure and print."""
    with Scene(scene_options("mcastd-test-bench")) as scene:
        scene.config.write_text(configuration(scene.config.read_text(), hold=0.0, overlap=0.2))
        scene.start_daemon()
        scene.wait_for_status("everything is up", lambda status: status.healthy)
        rtt = round_trip(scene)
        say("round trip by the other path", rtt, "ms")
        for name in sys.argv[1:] or (*SIGNALS, LINK):
            if name == LINK:
                say_all(f"{LINK}: to the next packet", [measure_link(scene) for _ in range(ROUNDS)], "ms", EVENT + rtt)
                continue
            signal = SIGNALS[name]
            took = [measure(scene, signal) for _ in range(ROUNDS)]
            say_all(f"{name}: to the Join on the other path", [joined for joined, _ in took], "ms")
            say_all(f"{name}: to the first packet by it", [first for _, first in took], "ms", signal.limit + rtt)


if __name__ == "__main__":
    main()
