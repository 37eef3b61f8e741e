"""Keepalives on a real kernel, both ways, over a cable, with the pump where the kernel has no GRE."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import GRE

from mcastd.config.model import Keepalive, Tunnel
from mcastd.keepalive.agent import KeepaliveAgent
from mcastd.keepalive.packet import KeepaliveTunnel, endpoints
from mcastd.net import bpf
from mcastd.net.gre import GreOptions
from mcastd.status import KeepaliveStatus
from mcastd.system import log, sockets
from tests.loops import looping
from tests.namespaces import DEADLINE, Namespace, join, until
from tests.tunnel.agents import Running, running, tunnel

pytestmark = pytest.mark.root

LOCAL, REMOTE, PUBLIC = (IPv4Address(text) for text in ("10.44.6.1", "10.44.7.1", "222.45.67.1"))
CMD = bytes.fromhex("0800010100010000")


def request(
    source: IPv4Address = LOCAL, destination: IPv4Address = REMOTE, *, cmd: bool = False, **flags: Any
) -> bytes:
    """What a Cisco puts behind its outer IP header."""
    answer = IP(src=str(source), dst=str(destination), proto=47, ttl=255, tos=0xC0) / GRE(proto=0, **flags)
    return bytes(GRE(proto=0x8909 if cmd else 0x0800, **flags) / (CMD * cmd + bytes(answer)))


class Keepalives:
    """The keepalives of a running tunnel, and what they call for."""

    def __init__(self, tunnels: Running) -> None:
        self._tunnels = tunnels
        self.changes = 0
        self.agent = KeepaliveAgent(log=log.get_logger(), on_change=self._changed)

    def _changed(self) -> None:
        self.changes += 1

    async def want(self, wanted: Tunnel, *, up: bool = True) -> None:
        present = wanted.name in self._tunnels.agent.links()
        self.agent.configure((KeepaliveTunnel(wanted, endpoints(wanted), present, up),))
        async with asyncio.timeout(DEADLINE):
            await self.agent.settled()

    def status(self) -> KeepaliveStatus:
        return self.agent.status(0.0)["gre1"]


@asynccontextmanager
async def keepalives(folder: Path, wanted: Tunnel, *, up: bool = True) -> AsyncIterator[Keepalives]:
    folder.mkdir(exist_ok=True)
    async with running(folder) as tunnels:
        await tunnels.want(wanted)
        made = Keepalives(tunnels)
        async with looping(made.agent.run()):
            await made.want(wanted, up=up)
            try:
                yield made
            finally:
                await made.agent.close()


class Exchange:
    """A cloud with a reflector, and the data centre's raw socket."""

    def __init__(self, namespace: Callable[[], Namespace]) -> None:
        self.cloud, self.centre = namespace(), namespace()
        join(self.cloud, "192.0.2.1/24", self.centre, "192.0.2.2/24")
        self.cloud.ip("route", "add", f"{REMOTE}", "via", "192.0.2.2")
        self.centre.ip("route", "add", f"{LOCAL}", "via", "192.0.2.1")
        self.centre.ip("addr", "add", f"{REMOTE}/32", "dev", "lo")
        for side in (self.cloud, self.centre):
            # A kernel with GRE, but without a tunnel for a packet, refuses it; the Cisco's side here has no tunnel.
            side.ip("rule", "add", "ipproto", "icmp", "blackhole")
        self.cisco = self.centre.call(lambda: sockets.raw_gre(REMOTE, LOCAL, 255, bpf.accept_gre_keepalives()))

    def answers(self) -> list[bytes]:
        """What has come back so far."""
        found = []
        while True:
            try:
                found.append(self.cisco.recv(2048))
            except BlockingIOError:
                return found

    def asked(self) -> list[bytes]:
        """The requests that have come, without outer IP header, where the centre listens for them."""
        return [packet[20:] for packet in self.answers()]

    def run(
        self, folder: Path, wanted: Tunnel, up: bool, packets: list[bytes], done: Callable[[KeepaliveStatus], bool]
    ) -> KeepaliveStatus:
        """Send packets to the keepalives of a tunnel and return their counters once they say that it is done."""

        async def main() -> KeepaliveStatus:
            async with keepalives(folder, wanted, up=up) as ours:
                for packet in packets:
                    self.cisco.send(packet)
                await until(lambda: done(ours.status()), "the packets are counted")
                return ours.status()

        return self.cloud.run(main)


@pytest.fixture
def exchange(namespace: Callable[[], Namespace]) -> Iterator[Exchange]:
    exchange = Exchange(namespace)
    with exchange.cisco:
        yield exchange


@pytest.mark.also_kernel
def test_a_request_is_answered_with_what_was_inside(exchange: Exchange, tmp_path: Path) -> None:
    status = exchange.run(tmp_path, tunnel(), True, [request()], lambda found: found.answered == 1)
    (answer,) = exchange.answers()
    assert answer[20:] == bytes.fromhex("00000000")
    outer = IP(answer)
    assert (outer.src, outer.dst, outer.proto, outer.len) == (str(LOCAL), str(REMOTE), 47, 24)
    assert (outer.tos, outer.ttl) == (0xC0, 255)
    assert status.dropped == {}
    assert status.last_age is not None


def test_what_is_not_ours_to_answer_is_counted_by_reason(exchange: Exchange, tmp_path: Path) -> None:
    spoofed = request(source=IPv4Address("203.0.113.9"))
    elsewhere = request(destination=IPv4Address("203.0.113.9"))
    status = exchange.run(
        tmp_path, tunnel(), True, [spoofed, elsewhere], lambda found: sum(found.dropped.values()) == 2
    )
    assert status.dropped == {"inner_source": 1, "inner_destination": 1}
    assert (status.answered, exchange.answers()) == (0, [])


@pytest.mark.parametrize(
    ("wanted", "up", "reason"),
    [(tunnel(keepalive=Keepalive(reply=False)), True, "reply_off"), (tunnel(), False, "child_down")],
    ids=["reply is off", "the child is down"],
)
def test_silence_is_counted(exchange: Exchange, tmp_path: Path, wanted: Tunnel, up: bool, reason: str) -> None:
    status = exchange.run(tmp_path, wanted, up, [request()] * 3, lambda found: sum(found.dropped.values()) == 3)
    assert (status.answered, status.dropped) == (0, {reason: 3})
    assert exchange.answers() == []


def test_a_flood_is_answered_at_the_configured_rate(exchange: Exchange, tmp_path: Path) -> None:
    wanted = tunnel(keepalive=Keepalive(max_per_second=2.0))
    status = exchange.run(
        tmp_path, wanted, True, [request()] * 50, lambda found: found.answered + sum(found.dropped.values()) == 50
    )
    assert status.dropped["rate"] == 50 - status.answered
    assert len(exchange.answers()) == status.answered < 25


@pytest.mark.also_kernel
def test_the_feed_never_reaches_the_reflector(exchange: Exchange, tmp_path: Path) -> None:
    datagram = IP(src="100.15.30.10", dst="239.1.1.1", proto=socket.IPPROTO_UDP) / bytes(500)
    feed = [bytes(GRE(proto=0x0800) / datagram), bytes(GRE(proto=0x8909) / (CMD + bytes(datagram)))]
    status = exchange.run(tmp_path, tunnel(), True, feed * 20 + [request()], lambda found: found.answered == 1)
    assert status.dropped == {}


FLAGS: list[dict[str, Any]] = [
    {},
    {"chksum_present": 1},
    {"seqnum_present": 1, "sequence_number": 9},
    {"chksum_present": 1, "seqnum_present": 1, "sequence_number": 9},
]


@pytest.mark.also_kernel
@pytest.mark.parametrize("key", [None, 0x28])
def test_every_kind_of_request_is_answered(exchange: Exchange, tmp_path: Path, key: int | None) -> None:
    keyed: dict[str, Any] = {} if key is None else {"key_present": 1, "key": key}
    packets = [request(cmd=cmd, **flags, **keyed) for cmd in (False, True) for flags in FLAGS]
    wanted = tunnel(gre=GreOptions(key))
    status = exchange.run(tmp_path, wanted, True, packets, lambda found: found.answered == len(packets))
    assert status.dropped == {}
    assert [answer[20:] for answer in exchange.answers()] == [
        bytes(GRE(proto=0, **flags, **keyed)) for flags in FLAGS
    ] * 2


def test_what_a_keyed_tunnel_does_not_answer(exchange: Exchange, tmp_path: Path) -> None:
    other = [request(), request(cmd=True), request(key_present=1, key=0x29)]
    broken = bytearray(request(chksum_present=1, key_present=1, key=0x28))
    broken[5] ^= 1
    packets = [*other, bytes(broken), request(key_present=1, key=0x28)]
    status = exchange.run(tmp_path, tunnel(gre=GreOptions(0x28)), True, packets, lambda found: found.answered == 1)
    assert status.dropped == {"gre_key": 3, "gre_checksum": 1}
    assert len(exchange.answers()) == 1


@pytest.mark.also_kernel
def test_an_address_that_a_nat_puts_inside_is_answered_where_it_is_configured(
    exchange: Exchange, tmp_path: Path
) -> None:
    packets = [request(source=PUBLIC), request()]
    status = exchange.run(tmp_path, tunnel(), True, packets, lambda found: found.answered == 1)
    assert status.dropped == {"inner_source": 1}
    wanted = tunnel(keepalive=Keepalive(inner_addresses=(PUBLIC,)))
    status = exchange.run(tmp_path, wanted, True, packets, lambda found: found.answered == 2)
    assert status.dropped == {}


FAR = {"address": IPv4Interface("10.44.4.5/30"), "peer_address": IPv4Address("10.44.4.6")}
OURS = tunnel(keepalive=Keepalive(period=0.05, retries=3))


def test_ours_tell_that_the_path_is_alive_dead_and_alive_again(exchange: Exchange, tmp_path: Path) -> None:
    async def main() -> None:
        answering = True

        def answer() -> None:
            for packet in exchange.asked():
                if answering:
                    exchange.cisco.send(packet[24:])

        asyncio.get_running_loop().add_reader(exchange.cisco, answer)
        async with keepalives(tmp_path, OURS) as ours:
            await until(lambda: ours.status().path == "alive", "the path is alive")
            await until(lambda: ours.status().rtt, "a round trip")
            answering = False
            await until(lambda: ours.status().path == "dead", "the path is dead")
            await until(lambda: ours.status().missed >= 5, "it is asked on")
            dead = ours.status()
            assert ours.agent.dead_paths() == {"gre1": 1}
            answering = True
            await until(lambda: ours.status().path == "alive", "the path is alive again")
            await until(lambda: ours.status().missed == 0, "nothing is missed")
            assert ours.changes == 3
            assert dead.path == "dead"
            assert dead.sent >= dead.received + 5
        asyncio.get_running_loop().remove_reader(exchange.cisco)

    exchange.cloud.run(main)


def test_nothing_is_asked_while_the_child_is_down(exchange: Exchange, tmp_path: Path) -> None:
    async def main() -> None:
        async with keepalives(tmp_path, OURS, up=False) as ours:
            exchange.cisco.send(request())
            await until(lambda: ours.status().dropped == {"child_down": 1}, "their request is seen")
            assert (ours.status().sent, exchange.asked()) == (0, [])
            await ours.want(OURS)
            await until(exchange.asked, "asked once the child is up")
            await ours.want(OURS, up=False)
            exchange.asked()
            sent = ours.status().sent
            exchange.cisco.send(request())
            await until(lambda: ours.status().dropped == {"child_down": 2}, "their request is seen")
            await asyncio.sleep(3 * OURS.keepalive.period)
            assert (ours.status().sent, exchange.asked()) == (sent, [])

    exchange.cloud.run(main)


def test_two_mcastds_answer_each_other(exchange: Exchange, tmp_path: Path) -> None:
    """Both ends over a pump, keyed and checksummed."""
    keepalive = Keepalive(period=0.05)
    here = tunnel(gre=GreOptions(0x28, checksum=True), keepalive=keepalive)
    there = tunnel(gre=GreOptions(0x28, checksum=True), keepalive=keepalive, local=REMOTE, remote=LOCAL, **FAR)

    stop = threading.Event()

    async def far_end() -> KeepaliveStatus:
        async with keepalives(tmp_path / "there", there) as theirs:
            await until(lambda: stop.is_set() and theirs.status().rtt, "the near end is done")
            return theirs.status()

    async def near_end() -> KeepaliveStatus:
        async with keepalives(tmp_path / "here", here) as ours:
            await until(lambda: ours.status().path == "alive", "the path is alive")
            await until(lambda: ours.status().answered >= 3, "theirs are answered")
            return ours.status()

    with ThreadPoolExecutor(1) as other:
        theirs = other.submit(lambda: exchange.centre.run(far_end))
        try:
            near = exchange.cloud.run(near_end)
        finally:
            stop.set()
        far = theirs.result()
    assert near.dropped == {}
    assert far.dropped == {}
    assert far.path == "alive"
