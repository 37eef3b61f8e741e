"""What the meter costs a packet, beside what all of its path costs in the kernel, in one run.

Packets of a feed are captured as they are sent through GRE in ESP, and are written to a TUN interface of the receiver,
so that the CPU time of the writer is that of the whole path: the write stands for a network card's driver, then ESP,
GRE, the meter, and the application's socket. Where the kernel has neither GRE nor ESP, the path is without them, which
no user's path is. The program is loaded as the service loads it, without CAP_PERFMON, and the kernel measures it by
itself (kernel.bpf_stats_enabled). What the daemon's CPU costs is compared at two rates, where GRE is the kernel's.
"""

import asyncio
import ctypes
import os
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace

from mcastd.config.feed_formats import FORMATS
from mcastd.config.model import Feed
from mcastd.lab import topology
from mcastd.lab.commands import python
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.meter.agent import MeterAgent
from mcastd.meter.desired import MeterDesired
from mcastd.net.checksum import internet_checksum
from mcastd.system import bpf, ingress
from tests.bench.figures import cpu, say
from tests.fakes.memory import MemoryLedger, MemoryLog
from tests.fakes.service_manager import FakeServiceManager
from tests.lab.datapath import kernel_does
from tests.lab.pim_scene import received, start
from tests.meter.feeds import GROUP, PORT, Packet, datagram, moldudp64
from tests.meter.test_agent import open_tun
from tests.namespaces import Namespace, join

PACKETS, SIZE = 3000, 500  # in each of the rounds, and bytes of payload; numbers begin again with each round
ROUNDS = 20
RATES = (20.0, 200.0)  # packets a second, which an emulated machine carries
SETTLED, MEASURED = 10.0, 20.0  # seconds
NEAR, FAR = "10.9.0.1", "10.9.0.2"
KEYS = f"enc cbc(aes) 0x{'5a' * 32} auth-trunc hmac(sha256) 0x{'a5' * 32} 128"
STATISTICS = Path("/proc/sys/kernel/bpf_stats_enabled")
_VNET_HDR = bytes(10)
_CAPABILITIES = 1 << 12 | 1 << 39  # CAP_NET_ADMIN, CAP_BPF
_ETH_P_ALL, _ESP, _SO_RCVBUFFORCE = 3, 50, 33


def as_the_service(name: str, program: bytes) -> int:
    """Load a program with the capabilities of the service; the thread has no others from then on."""
    header, low, high = struct.pack("=Ii", 0x20080522, 0), _CAPABILITIES & 0xFFFFFFFF, _CAPABILITIES >> 32
    if ctypes.CDLL(None, use_errno=True).capset(header, struct.pack("=6I", low, low, 0, high, high, 0)):
        raise OSError(ctypes.get_errno(), "capset")
    return bpf.load(name, program)


async def load_aside(name: str, program: bytes) -> int:
    return await asyncio.to_thread(as_the_service, name, program)


def payloads() -> Iterator[bytes]:
    for number in range(1, PACKETS + 1):
        yield moldudp64(Packet(number)).ljust(SIZE, b"\0")


def checked(packet: bytes) -> bytes:
    """The packet with the checksum of its header."""
    return packet[:10] + struct.pack("!H", internet_checksum(packet[:20])) + packet[12:]


def captured(near: Namespace, far: Namespace) -> list[bytes]:
    """The packets of the feed as they arrive in GRE and ESP."""
    for side, local, remote in ((near, NEAR, FAR), (far, FAR, NEAR)):
        side.batch(
            f"link add gre1 type gre local {local} remote {remote} ttl 64",
            "link set gre1 up",
            f"xfrm state add src {FAR} dst {NEAR} proto esp spi 0x1000 mode tunnel {KEYS}",
        )
    policy = f"src {FAR} dst {NEAR} proto gre tmpl src {FAR} dst {NEAR} proto esp mode tunnel"
    near.batch(f"xfrm policy add dir in {policy}")
    far.batch(f"xfrm policy add dir out {policy}", "route add 239.0.0.0/8 dev gre1")
    tap = near.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL)))
    tap.settimeout(5.0)
    sender = far.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    found = list[bytes]()
    for payload in payloads():
        sender.sendto(payload, (str(GROUP), PORT))
        while True:
            packet, (interface, *_) = tap.recvfrom(2048)
            if interface == "veth0" and packet[9] == _ESP and len(packet) > SIZE:
                found.append(packet)
                break
    tap.close()
    sender.close()
    return found


def application(interface: str) -> socket.socket:
    """A socket that has joined the group."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 23)
    sock.bind((str(GROUP), PORT))
    index = socket.if_nametoindex(interface)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("@4s4si", GROUP.packed, bytes(4), index))
    return sock


def arrive(tun: int, packets: list[bytes], sock: socket.socket) -> float:
    """Nanoseconds of CPU that a packet took; fails if the application did not get all of them."""
    for _ in range(2):  # the first time warms up
        began = time.thread_time_ns()
        for packet in packets:
            os.write(tun, packet)
        took = time.thread_time_ns() - began
        for _ in packets:
            sock.recv(2048, socket.MSG_DONTWAIT)
    return took / len(packets)


def ran(descriptor: int) -> tuple[int, int]:
    """The nanoseconds that a program ran, and how often."""
    shown = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii")
    time_found, count = (re.search(rf"^{name}:\s+(\d+)", shown, re.MULTILINE) for name in ("run_time_ns", "run_cnt"))
    assert time_found is not None
    assert count is not None
    return int(time_found[1]), int(count[1])


@contextmanager
def statistics() -> Iterator[None]:
    before = STATISTICS.read_text(encoding="ascii")
    STATISTICS.write_text("1", encoding="ascii")
    try:
        yield
    finally:
        STATISTICS.write_text(before, encoding="ascii")


@contextmanager
def namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    near, far = Namespace(), Namespace()
    try:
        join(near, f"{NEAR}/24", far, f"{FAR}/24")
        yield near, far
    finally:
        near.remove()
        far.remove()


async def metered(index: int, measure: Callable[[int], None]) -> None:
    """Call a function while the meter is attached to an interface, with the descriptor of its program."""
    manager, feed = FakeServiceManager(), Feed(label="f", groups=(IPv4Network(GROUP),), sequence=FORMATS["moldudp64"])
    agent = MeterAgent(
        bpf=SimpleNamespace(**{**vars(bpf), "load_aside": load_aside}), ingress=ingress, store=manager.store(),
        ledger=MemoryLedger(), log=MemoryLog().logger, on_change=lambda: None,
    )  # fmt: skip
    agent.configure(MeterDesired(True, {"one": index}, (feed,)))
    task = asyncio.create_task(agent.run())
    await agent.settled()
    assert agent.problem is None, agent.problem
    assert agent._program is not None
    measure(agent._program)
    task.cancel()
    await agent.close()
    manager.close()


def path() -> None:
    """What a packet costs."""
    with namespaces() as (near, far), statistics():
        whole = kernel_does("gre") and kernel_does("esp")
        packets = captured(near, far) if whole else [checked(datagram(one)) for one in payloads()]
        tun = near.call(open_tun)
        near.batch("link set t0 up", "addr add 10.9.1.1/24 dev t0")
        for setting in ("all", "default", "t0", *(("gre1",) if whole else ())):
            near.execute(f"sysctl -qw net.ipv4.conf.{setting}.rp_filter=0")
        interface = "gre1" if whole else "t0"
        sock = near.call(lambda: application(interface))
        index = near.call(lambda: socket.if_nametoindex(interface))
        framed = [_VNET_HDR + packet for packet in packets]
        without = min(arrive(tun, framed, sock) for _ in range(ROUNDS))

        def measure(program: int) -> None:
            arrive(tun, framed, sock)
            best = float("inf"), float("inf")
            for _ in range(ROUNDS):
                before, runs = ran(program)
                path = arrive(tun, framed, sock)
                after, runs_after = ran(program)
                assert runs_after - runs >= 2 * PACKETS
                best = min(best, (path, (after - before) / (runs_after - runs)))
            path, own = best
            name = "GRE in ESP" if whole else "no GRE and no ESP"
            say(f"the path of a packet of {SIZE} bytes in the kernel ({name}), without the meter", without, "ns")
            say("the same with the meter", path, "ns")
            say("the meter's program, of that", own, "ns")
            say("its share of the path", 100 * own / path, "%", 10.0)

        near.run(lambda: metered(index, measure))


def daemon() -> None:
    """What the daemon's CPU costs at two rates of the same stream."""
    with Scene(Options(prefix="mcastd-test-bench", rate=RATES[0])) as scene:
        start(scene)
        (pid,) = (one.pid for one in scene.state.record.processes if one.name == "mcastd")
        for rate in RATES:
            if rate != RATES[0]:
                faster = ["--source", topology.SOURCE_ADDRESS, "--port", topology.PORT, "--rate", rate - RATES[0]]
                scene.start(topology.SOURCE, "faster", python("mcastd.lab.source", topology.GROUP, *faster))
            time.sleep(SETTLED)
            before, arrived, began = cpu(pid), received(scene), time.monotonic()
            time.sleep(MEASURED)
            took = time.monotonic() - began
            used, packets = (cpu(pid) - before) / took, (received(scene) - arrived) / took
            say(f"CPU of the daemon at {packets:.0f} packets/s", 100 * used, "%")


def main() -> None:
    """Measure and print."""
    path()
    if kernel_does("gre"):
        daemon()


if __name__ == "__main__":
    main()
