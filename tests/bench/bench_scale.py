"""10,000 groups: what a steady refresh, and a start, cost the machine; and the size of the daemon that joins them.

The machine runs in simulated time, so that minutes of it cost only its own CPU.
"""

import gc
import re
import time
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from random import Random

from mcastd.config.model import Group, Pim, RpRange
from mcastd.lab.commands import wait_for
from mcastd.lab.topology import GROUP
from mcastd.pim.effects import Effect, Send
from mcastd.pim.packet import ALL_PIM_ROUTERS, Hello, MessageType, encode_hello
from mcastd.pim.router import Router
from mcastd.pim.settings import PimInterface
from tests.bench.figures import say
from tests.lab.pim_scene import configure, frr_joined, standing
from tests.simulator.world import WantedRouter

GROUPS = 10_000
MINUTES = 10
NEIGHBOR, RP = IPv4Address("10.44.4.5"), IPv4Address("100.15.30.253")
CONFIG = Pim(neighbor=NEIGHBOR, rp=(RpRange(address=RP, groups=(IPv4Network("239.0.0.0/8"),)),))
INTERFACE = PimInterface("gre1", 5, 1398, IPv4Address("10.44.4.6"), (), CONFIG)
WANTED = tuple(Group(group=IPv4Address("239.7.0.0") + number, tunnel="gre1") for number in range(GROUPS))


def joins(effects: list[Effect]) -> int:
    """How many Join/Prune messages are among the effects."""
    return sum(isinstance(effect, Send) and effect.kind is MessageType.JOIN_PRUNE for effect in effects)


def run(router: Router, now: float, until: float) -> int:
    """Let simulated time pass, with a neighbour that says Hello every 30 seconds; returns the messages sent."""
    hello = encode_hello(Hello(holdtime=105, generation_id=1))
    heard, sent = now, 0
    while now < until:
        deadline = router.next_deadline()
        now = min(deadline, heard, until)
        if now == heard:
            sent += joins(router.received("gre1", NEIGHBOR, ALL_PIM_ROUTERS, hello, now))
            heard += 30.0
        sent += joins(router.advance(now))
    return sent


def measure_machine() -> None:
    """The sans-IO router."""
    cold = []
    for _ in range(5):
        gc.collect()
        router = WantedRouter(Random(1))
        began = time.process_time()
        router.want((INTERFACE,), WANTED, 0.0)
        cold.append((time.process_time() - began) * 1000)
    run(router, 0.0, 90.0)
    began = time.process_time()
    sent = run(router, 90.0, 90.0 + 60.0 * MINUTES)
    say("10,000 groups: messages a minute", sent / MINUTES, "")
    say("10,000 groups: steady refresh, CPU a minute", (time.process_time() - began) * 1000 / MINUTES, "ms", 20.0)
    say("10,000 groups: cold build, least of 5", min(cold), "ms", 150.0)
    say("10,000 groups: cold build, most of 5", max(cold), "ms", 150.0)


def measure_daemon() -> None:
    """The daemon in the lab, when FRR has joined them all."""
    names = tuple(str(group.group) for group in WANTED)
    with standing("mcastd-test-bench") as scene:
        configure(scene, groups=(GROUP, *names))
        began = time.monotonic()
        scene.start_daemon()
        wait_for("FRR's joins", lambda: frr_joined(scene) == {GROUP, *names})
        say("10,000 groups: the daemon's start to the last join in FRR", time.monotonic() - began, "s")
        text = Path(f"/proc/{scene.daemon.pid}/status").read_text()
        for name in ("VmRSS", "VmHWM"):
            size = re.search(rf"{name}:\s+(\d+) kB", text)
            assert size is not None
            say(f"10,000 groups: the daemon's {name}", int(size[1]) / 1024, "MB", 60.0)


def main() -> None:
    """Measure and print."""
    measure_machine()
    measure_daemon()


if __name__ == "__main__":
    main()
