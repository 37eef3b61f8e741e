"""What the sockets of a trace let pass, in a namespace."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP, IPOption_NOP
from scapy.layers.l2 import GRE
from scapy.packet import Packet, Raw

from mcastd.errors import HostError
from mcastd.tools.trace.capture import Capture, Captured
from tests.namespaces import Namespace, join

pytestmark = pytest.mark.root

NEAR, FAR = "192.0.2.1", "192.0.2.2"
CMD = bytes.fromhex("0800010100010000")
PATIENCE = 20.0


class Cable:
    """Two namespaces; a trace in the near one, and packets that the far one sends."""

    def __init__(self, namespace: Callable[[], Namespace], stack: ExitStack) -> None:
        self.near, self.far = namespace(), namespace()
        join(self.near, f"{NEAR}/24", self.far, f"{FAR}/24")
        self.capture = self.near.call(lambda: stack.enter_context(closing(Capture())))

    def send(self, *packets: Packet, side: Namespace | None = None) -> None:
        """Send whole IP packets."""

        def now() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
                for packet in packets:
                    raw.sendto(bytes(packet), (packet.dst, 0))

        (side or self.far).call(now)

    def until(self, last: bytes) -> list[Captured]:
        """What is captured, up to a packet that ends so; that one is left out."""
        found: list[Captured] = []
        for captured in self.capture.packets(PATIENCE):
            if captured.data.endswith(last):
                return found
            found.append(captured)
        raise AssertionError(f"nothing ends with {last!r} in {PATIENCE:.0f} s")


@pytest.fixture
def cable(namespace: Callable[[], Namespace]) -> Iterator[Cable]:
    with ExitStack() as stack:
        yield Cable(namespace, stack)


def ip(payload: Packet | bytes, **fields: Any) -> Packet:
    return IP(src=FAR, dst=NEAR, id=1, **fields) / payload


def udp(port: int, payload: bytes, **ports: int) -> Packet:
    return ip(UDP(sport=ports.get("sport", port), dport=ports.get("dport", port)) / payload)


INNER = IP(src=NEAR, dst=FAR)
CONTROL = [
    ip(b"pim", proto=103),
    ip(b"igmp", proto=2),
    ip(GRE(proto=0)),
    ip(GRE(proto=0x0800) / INNER / GRE(proto=0)),
    ip(GRE(proto=0x0800) / IP(src=NEAR, dst=FAR, options=[IPOption_NOP()] * 4) / GRE(proto=0)),
    ip(GRE(proto=0x8909, key_present=1, key=7) / (CMD + bytes(INNER / GRE(proto=0)))),
    ip(GRE(proto=0x0800, key_present=1, key=7) / IP(src=FAR, dst="224.0.0.13", proto=103) / b"hello"),
    ip(GRE(proto=0x0800) / IP(src=FAR, dst="224.0.0.22", proto=2) / b"report"),
    udp(500, b"ike"),
    udp(500, b"ike", sport=1024),
    udp(500, b"ike", dport=1024),
    udp(4500, bytes(4) + b"ike"),
    udp(4500, bytes(4) + b"ike", sport=1024),
    ip(b"later fragment of IKE", proto=17, frag=100),
]
ESP = [ip(b"\1\2\3\4" + bytes(60), proto=50), udp(4500, b"\1\2\3\4" + bytes(60)), udp(4500, b"\1" * 64, sport=1024)]
FEED = [
    ip(GRE(proto=0x0800) / IP(src=FAR, dst="239.1.1.1") / UDP(sport=1, dport=5001) / bytes(500)),
    ip(GRE(proto=0x8909) / (CMD + bytes(IP(src=FAR, dst="239.1.1.1") / UDP(dport=500) / b"x"))),
    ip(GRE(proto=0x2000) / Raw(b"cdp")),
    udp(5001, bytes(500)),
    udp(4500, b"\xff"),  # a NAT keepalive
    ip(b"tcp" * 10, proto=6),
    ip(ICMP()),
    ip(b"later fragment" * 2, proto=103, frag=100),
    ip(GRE(proto=0x0800) / INNER / GRE(proto=0x0800) / IP(src=FAR, dst="239.1.1.1") / UDP(dport=500) / b"x"),
    ip(GRE(proto=0x0800) / IP(src=FAR, dst=NEAR, options=[IPOption_NOP()] * 4) / GRE(proto=0x0800) / bytes(60)),
]
LAST = ip(b"last", proto=103)


def test_what_makes_a_path_is_heard_and_neither_the_feed_nor_esp(cable: Cable) -> None:
    mixed = [packet for pair in zip(CONTROL, (FEED + ESP) * 2, strict=False) for packet in pair]
    cable.send(*mixed, LAST)
    found = [packet for packet in cable.until(b"last") if not packet.outgoing]
    assert [packet.data[20:] for packet in found] == [bytes(packet)[20:] for packet in CONTROL]
    assert {packet.interface for packet in found} == {"veth0"}
    assert all(abs(packet.time_ns / 1e9 - time.time()) < PATIENCE for packet in found)
    assert cable.capture.lost() == 0


def test_esp_is_counted_by_direction_and_not_what_is_none(cable: Cable) -> None:
    cable.send(*ESP, *CONTROL, *FEED, LAST)
    cable.send(*[IP(src=NEAR, dst=FAR, proto=50) / bytes(64)] * 500, side=cable.near)
    cable.until(b"last")
    assert cable.capture.esp() == (3, 500)
    assert cable.capture.esp() == (0, 0)


def test_what_leaves_is_heard_too_and_an_interface_that_comes_later(cable: Cable) -> None:
    cable.near.ip("link", "add", "late0", "type", "veth", "peer", "name", "late1")
    cable.near.ip("addr", "add", "198.51.100.1/24", "dev", "late0")
    for name in ("late0", "late1"):
        cable.near.ip("link", "set", name, "up")
    cable.near.ip("neigh", "add", "198.51.100.2", "lladdr", "02:00:00:00:00:01", "dev", "late0")
    cable.send(IP(src="198.51.100.1", dst="198.51.100.2", proto=103) / b"hello", side=cable.near)
    cable.send(LAST)
    hello = [packet for packet in cable.until(b"last") if packet.data.endswith(b"hello")]
    assert ("late0", True) in {(packet.interface, packet.outgoing) for packet in hello}


def test_a_packet_of_an_interface_that_is_gone_is_told_all_the_same(cable: Cable) -> None:
    cable.send(CONTROL[0], LAST)
    cable.near.ip("link", "del", "veth0")
    (found,) = (packet for packet in cable.until(b"last") if packet.data[20:] == b"pim")
    assert found.interface == "gone"


def test_it_ends_when_its_time_is_over(cable: Cable) -> None:
    assert [packet for packet in cable.capture.packets(0.01) if packet.data[9] == 103] == []


def test_without_the_privilege_it_says_what_it_takes(namespace: Callable[[], Namespace]) -> None:
    code = "from mcastd.tools.trace.capture import Capture\nCapture()"
    argv = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{HostError.__name__}: cannot capture packets: Operation not permitted; it needs root" in done.stderr
