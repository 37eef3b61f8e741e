"""mcastd and FRR's pimd as the leaf, in the same scene one after the other: what each takes for the same.

The stream has 1,000 packets a second, and is received by the same application on the VM. For FRR the tunnel is that of
a daemon without PIM, so what is compared is PIM alone; FRR's processes are zebra and pimd. Where the ratio is below 1,
mcastd needs less.
"""

import signal
import statistics
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from mcastd import control
from mcastd.lab.commands import wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD, GROUP, TUNNEL
from tests.bench.figures import cpu
from tests.bench.frr_leaf import FrrLeaf
from tests.lab.pim_scene import PIM, UDP, Tap, back_after_hello, configure, frr_joined, received, standing
from tests.lab.service_manager import ServiceManager

ROUNDS = 5
COUNTS = (1000, 5000)
PAUSE = 1.5  # seconds that the neighbour is away; in the same second of the clock FRR has the same Generation ID
PATIENCE = 120.0
OURS, THEIRS = IPv4Address("239.16.0.0"), IPv4Address("239.32.0.0")  # no group is used twice: FRR remembers


@dataclass(frozen=True)
class Cost:
    """What joins cost: seconds until the neighbour has the last one, CPU seconds until then, and MB of memory."""

    seconds: float
    cpu: float
    memory: float


class Leaf(ABC):
    """One of the two."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    @abstractmethod
    def start(self, groups: Sequence[str]) -> float:
        """Start it, with these groups; returns when (monotonic)."""

    @abstractmethod
    def stop(self) -> None:
        """End it as its own service would be stopped."""

    @abstractmethod
    def restart(self) -> None:
        """Restart it as its own service would be."""

    @abstractmethod
    def join(self, group: str) -> None:
        """Join one more group."""

    @abstractmethod
    def pids(self) -> list[int]:
        """Its processes."""


class Mcastd(Leaf):
    """The daemon, which hands over to its next process, so that the tunnel stands."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._manager = ServiceManager(scene)

    def start(self, groups: Sequence[str]) -> float:
        configure(self.scene, groups=tuple(groups))
        began = time.monotonic()
        self._manager.start()
        return began

    def stop(self) -> None:
        self._manager.stop(signal.SIGUSR2)

    def restart(self) -> None:
        self.stop()
        self._manager.start()

    def join(self, group: str) -> None:
        request = {"group": group, "source": None, "tunnel": None}
        control.ask(self.scene.folder / CLOUD / "run" / "control.sock", "join", request)

    def pids(self) -> list[int]:
        return [self.scene.daemon.pid]

    def close(self) -> None:
        """Take everything down, with Prunes for all that is joined."""
        self._manager.start()
        self._manager.stop(signal.SIGTERM)
        self._manager.close()


class Frr(Leaf):
    """zebra and pimd."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._frr = FrrLeaf(scene)

    def start(self, groups: Sequence[str]) -> float:
        return self._frr.start(groups)

    def stop(self) -> None:
        self._frr.stop()

    def restart(self) -> None:
        self._frr.stop()
        self._frr.start(self._frr.groups)

    def join(self, group: str) -> None:
        self._frr.join(group)

    def pids(self) -> list[int]:
        return [process.pid for process in self._frr.processes]


def join_to_packet(leaf: Leaf, group: str) -> tuple[float, float]:
    """Milliseconds from the request, and from the Join on the wire, to the first packet of a group on the tunnel."""
    scene = leaf.scene
    sender = scene.feed.send(group)
    try:
        wait_for("FRR's source", lambda: group in scene.dc.frr_json("show ip pim upstream"))
        with Tap(scene, CLOUD, PIM) as pim, Tap(scene, CLOUD, UDP) as feed:
            began = time.monotonic()
            leaf.join(group)

            def arrived() -> list[float]:
                wanted = IPv4Address(group).packed
                return [packet.when for packet in feed.packets() if packet.data[16:20] == wanted]

            wait_for("the stream", arrived, PATIENCE)
            joined = next(
                packet.when
                for packet in pim.joins()
                if packet.outgoing and group in {record.group for record in packet.records() if record.joined}
            )
            return (arrived()[0] - began) * 1000, (arrived()[0] - joined) * 1000
    finally:
        scene.stop(sender)


def neighbor_restarted(leaf: Leaf) -> float:
    """Milliseconds from the first Hello of a neighbour that was killed and started again to the first packet."""
    scene = leaf.scene
    scene.kill("pimd", signal.SIGKILL)
    wait_for("the end of the neighbour", lambda: frr_joined(scene) is None)
    time.sleep(PAUSE)
    with Tap(scene, CLOUD, PIM) as hellos, Tap(scene, CLOUD, UDP) as feed:
        scene.dc.start_pimd()
        wait_for("the feed", lambda: back_after_hello(hellos, feed, b"") is not None, PATIENCE)
        took = back_after_hello(hellos, feed, b"")
    assert took is not None
    return took * 1000


def leaf_restarted(leaf: Leaf) -> float:
    """Packets that the application has lost by a restart of the leaf."""
    before = leaf.scene.feed.received()[GROUP].lost
    leaf.restart()
    more(leaf.scene)
    return leaf.scene.feed.received()[GROUP].lost - before


def many_joins(leaf: Leaf, first: IPv4Address, count: int) -> Cost:
    """What it costs to start with so many joins."""
    groups = [str(first + number) for number in range(count)]
    began = leaf.start(groups)
    wait_for(f"{count} joins", lambda: (frr_joined(leaf.scene) or set()) >= set(groups), PATIENCE, 0.2)
    seconds = time.monotonic() - began
    cost = Cost(seconds, sum(map(cpu, leaf.pids())), sum(map(_memory, leaf.pids())))
    leaf.stop()
    return cost


def more(scene: Scene) -> None:
    """Wait until the feed arrives."""
    before = received(scene)
    wait_for("the feed", lambda: received(scene) > before + 500, PATIENCE)


def _memory(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def measure(leaf: Leaf, first: IPv4Address) -> dict[str, float]:
    """All figures of one leaf, by what they are of."""
    leaf.start([GROUP])
    more(leaf.scene)
    rounds = [join_to_packet(leaf, str(first + number)) for number in range(ROUNDS)]
    found = {
        "join: request to first packet, ms": statistics.median(request for request, _ in rounds),
        "join: Join on the wire to first packet, ms": statistics.median(join for _, join in rounds),
    }
    restarts = [neighbor_restarted(leaf) for _ in range(ROUNDS)]
    found["neighbour restarted: Hello to first packet, ms"] = statistics.median(restarts)
    more(leaf.scene)
    found["leaf restarted: packets lost"] = statistics.median(leaf_restarted(leaf) for _ in range(ROUNDS))
    leaf.stop()
    for count in COUNTS:
        cost = many_joins(leaf, first + 10 * count, count)
        found[f"start with {count} joins: s"] = cost.seconds
        found[f"start with {count} joins: CPU, s"] = cost.cpu
        found[f"start with {count} joins: memory, MB"] = cost.memory
    return found


def without_pim(scene: Scene) -> None:
    """Start the daemon with the tunnel alone."""
    text = scene.config.read_text()
    scene.config.write_text(text[: text.index(f"[tunnels.{TUNNEL}.pim")])
    scene.start_daemon()
    scene.wait_for_status("the tunnel is up", lambda status: status.tunnels[0].state == "up")


def main() -> None:
    """Measure and print."""
    with standing("mcastd-test-peers") as scene:
        configuration = scene.config.read_text()
        mcastd = Mcastd(scene)
        try:
            ours = measure(mcastd, OURS)
        finally:
            mcastd.close()
        scene.config.write_text(configuration)
        without_pim(scene)
        theirs = measure(Frr(scene), THEIRS)
    say_table(ours, theirs)


def say_table(ours: dict[str, float], theirs: dict[str, float]) -> None:
    """Print what both have taken."""
    sys.stdout.write(f"{'':<48}{'mcastd':>12}{'FRR':>12}{'ratio':>10}\n")
    for what, value in ours.items():
        ratio = f"{value / theirs[what]:.2f}" if theirs[what] else "-"
        sys.stdout.write(f"{what:<48}{value:>12.2f}{theirs[what]:>12.2f}{ratio:>10}\n")


if __name__ == "__main__":
    main()
