"""Two VMs serve one segment: how long a machine on it has no feed when the one that forwards ends, and when it is back.

The VM with the lower address forwards while it is there. Counted at the machine, from its last packet to the next one,
with the timers that docs/two-machines.md recommends; docs/igmp.md has what follows from others.
"""

import itertools
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from mcastd.errors import ControlError
from mcastd.lab import topology
from mcastd.lab.commands import wait_for
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLIENT, DC, GROUP, SECOND
from tests.bench.figures import say_all
from tests.lab.pim_scene import UDP, Seen, Tap

ROUNDS = 5
# Other Querier Present Interval (RFC 9776, section 8.5): 2 * 1 s + 0.5 s / 2 after the last query.
TARGET = 2250.0
FORWARD = """
[forward.eth1]
from = ["{tunnel}"]
query_interval = "1s"
query_response_interval = "500ms"
robustness = 2
"""


def stop(scene: Scene) -> None:
    """``systemctl stop mcastd``."""
    scene.lan.stop_second(signal.SIGTERM)


def kill(scene: Scene) -> None:
    """SIGKILL, and nothing that starts it again."""
    scene.lan.stop_second(signal.SIGKILL)


def power_off(scene: Scene) -> None:
    """All of the VM is gone at once."""
    for link in ("eth1", "eth0"):
        scene.command(SECOND, ["ip", "link", "set", link, "down"])
    scene.lan.stop_second(signal.SIGKILL)


def lose_path(scene: Scene) -> None:
    """The data centre ends the first VM's SAs, and lets it establish no others."""
    scene.dc.load(psk="another")
    scene.command(DC, ["swanctl", "--terminate", "--ike", "dc"])


def regain_path(scene: Scene) -> None:
    """The data centre lets the first VM in again; returns when that forwards."""
    scene.dc.load()
    wait_for_state(scene, "forwarding")


KINDS: dict[str, Callable[[Scene], None]] = {"planned stop": stop, "SIGKILL": kill, "power off": power_off}


def bring(scene: Scene) -> None:
    """Start the second VM, if need be with its links; returns when it forwards and the first VM does not."""
    for link in ("eth1", "eth0"):
        scene.command(SECOND, ["ip", "link", "set", link, "up"])
    scene.command(SECOND, ["ip", "route", "replace", "default", "via", topology.SECOND_DC])
    scene.lan.start_second()
    wait_for_second(scene)


def wait_for_second(scene: Scene) -> None:
    """Return when the second VM forwards and the first VM does not."""

    def is_second() -> bool:
        with suppress(ControlError, IndexError):
            states = [status.forward[0].state for status in (scene.status(), scene.lan.second_status())]
            return states == ["standby", "forwarding"]
        return False

    wait_for("the second VM to forward", is_second, 60.0)


def wait_for_state(scene: Scene, state: str) -> None:
    """Return when the first VM is in a state."""
    scene.wait_for_status(state, lambda status: status.forward[0].state == state)


def arrived(scene: Scene) -> int:
    """Packets at the machine."""
    return scene.feed.received(CLIENT)[GROUP].received


def more(scene: Scene, packets: int = 1000) -> None:
    """Return when the machine has received more."""
    before = arrived(scene)
    wait_for("the feed", lambda: arrived(scene) >= before + packets)


def longest(packets: list[Seen]) -> float:
    """The longest gap between two packets, in milliseconds."""
    return max(after.when - before.when for before, after in itertools.pairwise(packets)) * 1000


def measure(
    scene: Scene, fault: Callable[[Scene], None], undo: Callable[[Scene], None]
) -> tuple[float, float, int, int]:
    """Milliseconds without a packet after the fault, and at the return; what the return lost, and brought twice."""
    with Tap(scene, CLIENT, UDP, "eth0") as feed:
        wait_for("a packet before the gap", feed.packets)
        fault(scene)
        more(scene)
        away = longest(feed.packets())
        before = scene.feed.received(CLIENT)[GROUP]
        feed.clear()
        undo(scene)
        more(scene, 2000)
        back, after = longest(feed.packets()), scene.feed.received(CLIENT)[GROUP]
    return away, back, after.lost - before.lost, after.duplicates - before.duplicates


def say(name: str, rounds: list[tuple[float, float, int, int]]) -> None:
    """Print what was measured of one kind."""
    say_all(f"{name}: without the feed", [away for away, *_ in rounds], "ms", TARGET)
    say_all(f"{name}, undone: longest gap", [back for _, back, *_ in rounds], "ms")
    sys.stdout.write(f"  away: {[round(one[0]) for one in rounds]}; back: {[round(one[1]) for one in rounds]}\n")
    sys.stdout.write(f"  lost: {[one[2] for one in rounds]}; twice: {[one[3] for one in rounds]}\n")


def main() -> None:
    """Measure and print."""
    with Scene(Options(prefix="mcastd-test-bench", keepalive_period=120.0, lan=(SECOND,))) as scene:
        scene.feed.stop_receiving()
        scene.lan.prepare_second()
        scene.lan.config.write_text(scene.lan.config.read_text() + FORWARD.format(tunnel="gre2"))
        text = scene.config.read_text().replace("[peers.dc]\n", '[peers.dc]\nretry_max = "1s"\n')
        scene.config.write_text(text[: text.index("[[groups]]")] + FORWARD.format(tunnel="gre1"))
        scene.start_daemon()
        wait_for_state(scene, "forwarding")
        scene.feed.receive(GROUP, node=CLIENT, interface="eth0")
        more(scene)
        bring(scene)
        more(scene, 3000)
        for name, fault in KINDS.items():
            say(name, [measure(scene, fault, bring) for _ in range(ROUNDS)])
        # From here on the first VM has the lower address.
        scene.lan.stop_second()
        scene.command(SECOND, ["ip", "address", "flush", "dev", "eth1"])
        scene.command(SECOND, ["ip", "address", "add", "192.168.60.1/16", "dev", "eth1"])
        wait_for_state(scene, "forwarding")
        scene.lan.start_second()
        more(scene, 3000)
        say("tunnel down", [measure(scene, lose_path, regain_path) for _ in range(ROUNDS)])


if __name__ == "__main__":
    main()
