"""The reflector on a real kernel: a Cisco's request over a cable, and byte for byte the answer that comes back."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import GRE

from mcastd.config.model import Keepalive, Tunnel
from mcastd.keepalive.agent import KeepaliveAgent
from mcastd.status import KeepaliveStatus
from mcastd.system import log, sockets
from tests.namespaces import Namespace, join, until
from tests.tunnel.agents import running, tunnel

pytestmark = pytest.mark.root

LOCAL, REMOTE = IPv4Address("10.44.6.1"), IPv4Address("10.44.7.1")


def request(source: IPv4Address = LOCAL, destination: IPv4Address = REMOTE) -> bytes:
    """What a Cisco puts behind its outer IP header."""
    return bytes(GRE(proto=0x0800) / IP(src=str(source), dst=str(destination), proto=47, ttl=255) / GRE(proto=0))


class Exchange:
    """A cloud with a reflector, and the data centre's raw socket."""

    def __init__(self, namespace: Callable[[], Namespace]) -> None:
        self.cloud, self.centre = namespace(), namespace()
        join(self.cloud, "192.0.2.1/24", self.centre, "192.0.2.2/24")
        self.cloud.ip("route", "add", f"{REMOTE}", "via", "192.0.2.2")
        self.centre.ip("route", "add", f"{LOCAL}", "via", "192.0.2.1")
        self.centre.ip("addr", "add", f"{REMOTE}/32", "dev", "lo")
        self.cisco = self.centre.call(lambda: sockets.raw_gre(REMOTE, LOCAL, 255, sockets.accept_gre_protocol(0)))

    def answers(self) -> list[bytes]:
        """What has come back so far."""
        found = []
        while True:
            try:
                found.append(self.cisco.recv(2048))
            except BlockingIOError:
                return found

    def run(
        self, folder: Path, wanted: Tunnel, up: bool, packets: list[bytes], done: Callable[[KeepaliveStatus], bool]
    ) -> KeepaliveStatus:
        """Send packets to a reflector and return its counters once they say that it is done."""

        async def main() -> KeepaliveStatus:
            keepalive = KeepaliveAgent(log=log.get_logger(), on_change=lambda: None)
            async with running(folder) as tunnels:
                await tunnels.want(wanted)
                link = tunnels.agent.link("gre1")
                assert link is not None
                keepalive.configure(((wanted, link.index, up),))
                for packet in packets:
                    self.cisco.send(packet)

                def status() -> KeepaliveStatus:
                    found = keepalive.status("gre1", 0.0)
                    assert found is not None
                    return found

                await until(lambda: done(status()), "the packets are counted")
                await asyncio.sleep(0)
                keepalive.close()
                tunnels.let_go()
                return status()

        return self.cloud.run(main)


@pytest.fixture
def exchange(namespace: Callable[[], Namespace]) -> Iterator[Exchange]:
    exchange = Exchange(namespace)
    with exchange.cisco:
        yield exchange


def test_a_request_is_answered_with_what_was_inside(exchange: Exchange, tmp_path: Path) -> None:
    status = exchange.run(tmp_path, tunnel(), True, [request()], lambda found: found.answered == 1)
    (answer,) = exchange.answers()
    assert answer[20:] == bytes.fromhex("00000000")
    outer = IP(answer)
    assert (outer.src, outer.dst, outer.proto, outer.ttl, outer.len) == (str(LOCAL), str(REMOTE), 47, 255, 24)
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


def test_the_feed_never_reaches_the_reflector(exchange: Exchange, tmp_path: Path) -> None:
    feed = bytes(GRE(proto=0x0800) / IP(src="100.15.30.10", dst="239.1.1.1", proto=socket.IPPROTO_UDP)) + bytes(500)
    status = exchange.run(tmp_path, tunnel(), True, [feed] * 20 + [request()], lambda found: found.answered == 1)
    assert status.dropped == {}
