"""Receivers behind the VM: from the join of a socket to its first packet, from its end to the Prune, in the lab.

And forwarding alone, from one veth to another by the kernel: what CPU the agent takes while packets come and while not.
"""

import asyncio
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path

from mcastd.forward.agent import ForwardAgent
from mcastd.forward.desired import ForwardDesired, ForwardTunnel
from mcastd.history import History
from mcastd.lab.commands import python, wait_for
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLIENT, CLOUD, HOST_V2, PORT
from mcastd.membership import DesiredGroup
from mcastd.system import ipmr, log
from mcastd.system.mroute import Mroute
from mcastd.wanted import HOSTS, Wanted
from tests.bench.figures import say, say_all
from tests.fakes.service_manager import FakeServiceManager
from tests.forward.hosts import GROUP, SOURCE, behind
from tests.forward.test_kernel import Scene as Cables
from tests.lab.pim_scene import PIM, Tap, inside
from tests.loops import looping

ROUNDS = 20
JOIN_TARGET, LINGER = 20.0, 5.0
RATE = 50_000
SECONDS = 5.0
FORWARD = '\n[forward.eth1]\nfrom = ["gre1"]\n'


def open_socket(group: str) -> socket.socket:
    """An application's socket, that has joined nothing yet."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(20.0)
    sock.bind((group, PORT))
    return sock


def measure(scene: Scene, group: str) -> tuple[float, float]:
    """Milliseconds from the join to the first packet, and seconds from the socket's end to the Prune."""
    sender = scene.feed.send(group)
    sock, index = inside(scene.namespace(CLIENT), lambda: (open_socket(group), socket.if_nametoindex("eth0")))
    try:
        with Tap(scene, CLOUD, PIM) as pim:
            # FRR has to have met the stream, as it has one that runs.
            wait_for("FRR's source", lambda: group in scene.dc.frr_json("show ip pim upstream"))
            request = struct.pack("@4s4si", IPv4Address(group).packed, bytes(4), index)
            began = time.monotonic()
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
            sock.recv(2048)
            joined = time.monotonic() - began
            pim.clear()
            ended = time.monotonic()
            sock.close()

            def prunes() -> list[float]:
                return [
                    one.when for one in pim.joins() if group in {found.group for found in one.records() if found.pruned}
                ]

            wait_for("the Prune", prunes)
            return joined * 1000, prunes()[0] - ended
    finally:
        sock.close()
        scene.stop(sender)


def measure_lab() -> None:
    """A client behind the VM."""
    with Scene(Options(prefix="mcastd-test-bench", lan=(HOST_V2,))) as scene:
        scene.feed.stop_receiving()
        scene.config.write_text(scene.config.read_text() + FORWARD)
        scene.start_daemon()
        scene.wait_for_status("forwarding", lambda status: status.forward[0].state == "forwarding")
        scene.wait_for_status("the neighbour", lambda status: status.tunnels[0].pim and status.tunnels[0].pim.neighbors)
        rounds = [measure(scene, str(IPv4Address("239.4.0.0") + number)) for number in range(1, ROUNDS + 1)]
    say_all("join of a socket behind the VM to its first packet", [join for join, _ in rounds], "ms", JOIN_TARGET)
    say_all("its end to the Prune", [leave for _, leave in rounds], "s", LINGER)


async def forwarding(cables: Cables) -> tuple[float, float, int]:
    """CPU seconds a second without packets and with them, and the packets that were forwarded."""
    wanted, downstream = (Wanted(time.monotonic) for _ in range(2))
    manager, logger = FakeServiceManager(), log.get_logger()
    agent = ForwardAgent(
        open_socket=Mroute,
        routing=ipmr,
        store=manager.store(),
        wanted=wanted,
        downstream=downstream,
        history=History(logger),
        log=logger,
        on_change=lambda: None,
    )
    async with looping(agent.run()):
        tunnels = {"gre1": ForwardTunnel(socket.if_nametoindex("gre1"))}
        agent.configure(ForwardDesired((behind("eth1"),), tunnels, frozenset({"eth1"})))
        downstream.set_group("eth1", GROUP, HOSTS, DesiredGroup(any_source=True))
        await agent.settled()
        idle = await cpu()
        before = packets()
        with sending(cables):
            await asyncio.sleep(1.0)
            busy = await cpu()
        return idle, busy, packets() - before


async def cpu() -> float:
    began = time.process_time()
    await asyncio.sleep(SECONDS)
    return (time.process_time() - began) / SECONDS


def packets() -> int:
    """What has left for the receivers."""
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    return next(int(line.split()[10]) for line in lines if line.strip().startswith("eth1:"))


@contextmanager
def sending(cables: Cables) -> Iterator[None]:
    options = ["--source", SOURCE, "--port", PORT, "--rate", RATE, "--size", 100]
    argv = ["ip", "netns", "exec", cables.source.name, *python("mcastd.lab.source", GROUP, *options)]
    process = subprocess.Popen(argv)
    try:
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10.0)


def measure_forwarding() -> None:
    """Without the tunnel, which this kernel may not have."""
    cables = Cables()
    try:
        idle, busy, count = cables.router.run(lambda: forwarding(cables))
    finally:
        cables.remove()
    say("forwarding alone: the agent's CPU, no packets", idle * 100, "%")
    say(f"forwarding alone: its CPU, {count / (SECONDS + 1):,.0f} packets a second", busy * 100, "%")


def main() -> None:
    """Measure and print."""
    measure_forwarding()
    measure_lab()


if __name__ == "__main__":
    main()
