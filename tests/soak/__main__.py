"""``./dev soak [--minutes N]``: the lab with 5,000 packets a second, while the daemon is kept busy.

It is reloaded every 10 seconds with a file that differs, groups are joined and left each second, and each minute an SA
is rekeyed. Then one table says what was lost, and how the daemon has grown. The exit status is 1 if packets were lost,
or the memory grew by more than 1 MB after the first quarter, or descriptors were left open. Ctrl-C ends it earlier.
"""

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address
from itertools import cycle

from mcastd import control
from mcastd.errors import ControlError, LabError
from mcastd.lab.commands import wait_for
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CHILD_GRE, CLOUD, GROUP, group_toml
from tests.soak import counters
from tests.soak.result import Packets, Result, Sample

RATE = 5000.0
RELOAD, JOIN, REKEY = 10.0, 1.0, 60.0  # seconds
STAY = 20  # joins until a group is left again
FIRST, IN_FILE = IPv4Address("239.8.0.1"), "239.9.9.9"
SETTLED = 1.0  # seconds for what is on its way when the source has stopped, or an answer has been given
PATIENCE = 60.0


class Soak:
    """One soak of a scene whose daemon is up."""

    def __init__(self, scene: Scene, seconds: float) -> None:
        self._scene, self._seconds = scene, seconds
        self._configuration = scene.config.read_text()
        self._done: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._sas = cycle((("--child", CHILD_GRE), ("--ike", "dc")))
        self._began = time.monotonic()
        self._dropped = counters.dropped_before(scene)  # before the soak
        self._start = self._sample()
        self._quarter: Sample | None = None

    def run(self) -> None:
        """Keep the daemon busy until the time is over, or Ctrl-C."""
        actions = ((self._reload, RELOAD), (self._join, JOIN), (self._rekey, REKEY))
        due = [period / 2 for _, period in actions]
        try:
            while (now := time.monotonic() - self._began) < self._seconds and self._scene.daemon.alive:
                if self._quarter is None and now >= self._seconds / 4:
                    self._quarter = self._sample()
                for index, (action, period) in enumerate(actions):
                    if now >= due[index]:
                        due[index] += period
                        self._act(action)
                time.sleep(0.05)
        except KeyboardInterrupt:
            print("ended by Ctrl-C", flush=True)

    def result(self) -> Result:
        """Stop the source, and count."""
        scene, seconds = self._scene, time.monotonic() - self._began
        if not scene.daemon.alive:
            raise LabError(f"the daemon has ended:\n{scene.tail('mcastd')}")
        scene.kill("source", signal.SIGTERM)
        time.sleep(SETTLED)
        feed = scene.feed.received()[GROUP]
        packets = Packets(
            rate=RATE,
            seconds=(feed.last or 0.0) - (feed.first or 0.0),
            sent=feed.received + feed.lost,
            arrived=counters.arrived(scene),
            received=feed.received + feed.duplicates,
            longest_gap=feed.longest_gap,
            dropped_before=counters.dropped_before(scene) - self._dropped,
            dropped_behind=counters.dropped_behind(scene),
        )
        end = counters.sample(scene, seconds)
        return Result(packets, self._start, self._quarter, end, dict(self._done), tuple(self._failures))

    def _sample(self) -> Sample:
        time.sleep(SETTLED)
        return counters.sample(self._scene, time.monotonic() - self._began)

    def _act(self, action: Callable[[], None]) -> None:
        try:
            action()
        except (ControlError, LabError) as error:
            self._failures[str(error)] += 1

    def _ask(self, command: str, arguments: dict[str, str | None] | None = None) -> None:
        control.ask(self._scene.folder / CLOUD / "run" / "control.sock", command, arguments or {}, timeout=30.0)
        self._done[f"{command}s"] += 1

    def _reload(self) -> None:
        """Of a file with one group more, and of the file as it was, in turns."""
        more = group_toml(IN_FILE) if self._done["reloads"] % 2 == 0 else ""
        self._scene.config.write_text(self._configuration + more)
        self._ask("reload")

    def _join(self) -> None:
        """Another group; the one that was joined ``STAY`` times ago is left."""
        number = self._done["joins"]
        self._ask("join", _membership(number))
        if number >= STAY:
            self._ask("leave", _membership(number - STAY))

    def _rekey(self) -> None:
        """The CHILD_SA of the tunnel and the IKE_SA in turns."""
        self._scene.command(CLOUD, ["swanctl", "--rekey", *next(self._sas)])
        self._done["rekeyings"] += 1


def _membership(number: int) -> dict[str, str | None]:
    return {"group": str(FIRST + number), "source": None, "tunnel": None}


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="./dev soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, metavar="N", help="how long (default: 60)")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Scene(Options(prefix="mcastd-soak", rate=RATE)) as scene:
            counters.start_counting(scene)
            scene.start_daemon()
            wait_for("the feed", lambda: scene.feed.received()[GROUP].received > RATE, PATIENCE, 0.1)
            soak = Soak(scene, asked.minutes * 60.0)
            soak.run()
            result = soak.result()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except LabError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    print(result.table(), flush=True)
    return 1 if any(result.verdicts()) else 0


if __name__ == "__main__":
    sys.exit(main())
