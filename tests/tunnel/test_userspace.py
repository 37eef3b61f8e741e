"""The pump between a TUN and a raw GRE socket, in two namespaces with a cable between them."""

import asyncio
import contextlib
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import IPv4Address

import pytest

from mcastd.errors import HostError
from mcastd.links import Gre
from mcastd.net import ipv4
from mcastd.net.gre import GreHeader, GreOptions
from mcastd.tunnel.userspace import Pump
from tests.namespaces import Namespace, join, until

pytestmark = pytest.mark.root

NEAR, FAR = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
NEAR_INSIDE, FAR_INSIDE = "10.44.4.6", "10.44.4.5"
# An IPv4 packet without a payload, from the far end of the tunnel to ours.
INNER = bytes.fromhex("45000014000000004011") + bytes(2) + bytes([10, 44, 4, 5, 10, 44, 4, 6])


@pytest.fixture
def near(namespace: Callable[[], Namespace]) -> Namespace:
    return namespace()


@pytest.fixture
def far(near: Namespace, namespace: Callable[[], Namespace]) -> Namespace:
    made = namespace()
    join(near, f"{NEAR}/24", made, f"{FAR}/24")
    return made


@contextlib.contextmanager
def pump(
    side: Namespace, local: IPv4Address, remote: IPv4Address, inside: str, key: int | None = None, **options: bool
) -> Iterator[Pump]:
    """A pump that runs on the loop of the calling thread, with its TUN up."""
    loop = asyncio.get_running_loop()
    made = side.call(lambda: Pump("gre1", Gre(local, remote, GreOptions(key, **options))))
    try:
        side.call(lambda: made.start(loop))
        side.ip("link", "set", "gre1", "addrgenmode", "none")
        side.ip("addr", "add", f"{inside}/30", "dev", "gre1")
        side.ip("link", "set", "gre1", "up", "multicast", "on")
        yield made
    finally:
        made.close()


def udp(side: Namespace, address: str) -> socket.socket:
    sock = side.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind((address, 5000))
    sock.setblocking(False)
    return sock


def raw_gre(side: Namespace, local: IPv4Address, remote: IPv4Address) -> socket.socket:
    sock = side.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_GRE))
    sock.bind((str(local), 0))
    sock.connect((str(remote), 0))
    sock.setblocking(False)
    return sock


def received(sock: socket.socket) -> list[bytes]:
    """Everything that waits in a socket."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(sock.recv(65535))
    return found


def dropped(pump: Pump, expected: dict[str, int]) -> bool:
    return pump.dropped == expected


def gre_on_the_cable(capture: socket.socket) -> list[bytes]:
    return [packet for packet in received(capture) if packet[9] == socket.IPPROTO_GRE]


async def first_on_the_cable(capture: socket.socket) -> list[bytes]:
    seen: list[bytes] = []

    def look() -> bool:
        seen.extend(gre_on_the_cable(capture))
        return bool(seen)

    await until(look, "GRE on the cable")
    return seen


def capture_on(side: Namespace) -> socket.socket:
    """Everything that arrives at the end of the cable."""
    sock = side.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)))
    sock.bind(("veth0", 0x0800))
    sock.setblocking(False)
    return sock


@pytest.mark.parametrize(
    ("key", "options"),
    [(None, {}), (0x28, {"checksum": True, "sequence": True})],
)
def test_packets_pass_both_ways(near: Namespace, far: Namespace, key: int | None, options: dict[str, bool]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with (
            pump(near, NEAR, FAR, NEAR_INSIDE, key, **options) as ours,
            pump(far, FAR, NEAR, FAR_INSIDE, key, **options) as theirs,
            udp(near, NEAR_INSIDE) as here,
            udp(far, FAR_INSIDE) as there,
        ):
            ours.forwarding = theirs.forwarding = True
            for size in (0, 1, 500, 1400):
                here.sendto(b"a" * size, (FAR_INSIDE, 5000))
                data, origin = await loop.sock_recvfrom(there, 2000)
                assert (data, origin) == (b"a" * size, (NEAR_INSIDE, 5000))
                there.sendto(b"b" * size, origin)
                assert await loop.sock_recv(here, 2000) == b"b" * size
            assert not ours.dropped
            assert not theirs.dropped

    near.run(main)


def test_nothing_leaves_while_the_gate_is_shut(near: Namespace, far: Namespace) -> None:
    async def main() -> None:
        with (
            pump(near, NEAR, FAR, NEAR_INSIDE) as ours,
            udp(near, NEAR_INSIDE) as here,
            raw_gre(far, FAR, NEAR),
            capture_on(far) as capture,
        ):
            for number in range(3):
                here.sendto(b"in the clear", (FAR_INSIDE, 5000))
                await until(partial(dropped, ours, {"child_down": number + 1}), "dropped at the gate")
            assert gre_on_the_cable(capture) == []
            ours.forwarding = True
            here.sendto(b"let through", (FAR_INSIDE, 5000))
            seen = await first_on_the_cable(capture)
            (packet,) = seen
            assert (packet[8], packet[12:20]) == (255, NEAR.packed + FAR.packed)
            assert bytes(ipv4.parse(packet).payload)[:4] == b"\0\0\x08\0"
            assert packet.endswith(b"let through")
            ours.forwarding = False
            here.sendto(b"in the clear", (FAR_INSIDE, 5000))
            await until(lambda: ours.dropped["child_down"] == 4, "dropped at the gate")
            assert gre_on_the_cable(capture) == []

    near.run(main)


def test_what_a_firewall_of_this_host_refuses_is_counted_as_that(near: Namespace, far: Namespace) -> None:
    chain = "chain out { type filter hook output priority filter; ip protocol 47 drop; }"
    subprocess.run(["ip", "netns", "exec", near.name, "nft", f"table ip refusing {{ {chain}; }}"], check=True)

    async def main() -> None:
        with pump(near, NEAR, FAR, NEAR_INSIDE) as ours, udp(near, NEAR_INSIDE) as application:
            ours.forwarding = True
            application.sendto(b"refused", (FAR_INSIDE, 5000))
            await until(partial(dropped, ours, {"firewall": 1}), "refused by the firewall")

    near.run(main)


# What the far end sends inside GRE and the kernel's TUN refuses.
HOSTILE = [(GreHeader(0x0800, key=0x28).encode(inner), "tun_einval") for inner in (b"", b"\xf5")]


def test_what_the_far_end_may_send_is_dropped_by_a_name_and_harms_nothing(near: Namespace, far: Namespace) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with (
            pump(near, NEAR, FAR, NEAR_INSIDE, 0x28) as ours,
            udp(near, NEAR_INSIDE) as here,
            raw_gre(far, FAR, NEAR) as peer,
        ):
            expected: dict[str, int] = {}
            for packet, reason in HOSTILE:
                peer.send(packet)
                if reason:
                    expected[reason] = expected.get(reason, 0) + 1
                    await until(partial(dropped, ours, expected), f"{packet.hex()} is dropped as {reason}")
            header = GreHeader(0x0800, key=0x28, sequence=1)
            good = struct.pack("!HHHH", 5000, 5000, 12, 0) + b"good"
            inner = struct.pack(
                "!BBHIBBH4s4s", 0x45, 0, 20 + len(good), 0, 64, 17, 0,
                socket.inet_aton(FAR_INSIDE), socket.inet_aton(NEAR_INSIDE),
            )  # fmt: skip
            total = sum(struct.unpack("!10H", inner))
            checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
            peer.send(header.encode(inner[:10] + checksum.to_bytes(2, "big") + inner[12:] + good))
            assert await loop.sock_recv(here, 100) == b"good"
            assert ours.dropped == expected

    near.run(main)


def test_a_far_end_without_gre_is_counted_and_not_fatal(near: Namespace, far: Namespace) -> None:
    async def main() -> None:
        with pump(near, NEAR, FAR, NEAR_INSIDE) as ours, udp(near, NEAR_INSIDE) as here:
            ours.forwarding = True
            here.sendto(b"anybody?", (FAR_INSIDE, 5000))
            await until(lambda: ours.dropped["unreachable"], "ICMP protocol unreachable")
            with raw_gre(far, FAR, NEAR) as peer:
                here.sendto(b"now?", (FAR_INSIDE, 5000))
                await until(lambda: any(packet.endswith(b"now?") for packet in received(peer)), "it still carries")

    near.run(main)


def test_a_tun_that_is_deleted_is_noticed_once(near: Namespace, far: Namespace) -> None:
    async def main() -> None:
        with pump(near, NEAR, FAR, NEAR_INSIDE) as ours, raw_gre(far, FAR, NEAR) as peer:
            near.ip("link", "del", "gre1")
            await until(lambda: ours.dropped["tun_ebadfd"], "the TUN has gone")
            for _ in range(20):
                await asyncio.sleep(0)
            assert ours.dropped == {"tun_ebadfd": 1}
            peer.send(GreHeader(0x0800).encode(b"\x45" + bytes(19)))
            await until(lambda: ours.dropped == {"tun_ebadfd": 2}, "what arrives is dropped")

    near.run(main)


def test_closing_takes_the_interface_away_and_twice_is_as_good(near: Namespace, far: Namespace) -> None:
    async def main() -> None:
        with pump(near, NEAR, FAR, NEAR_INSIDE) as ours:
            assert "gre1" in near.ip("link")
            ours.close()
            assert "gre1" not in near.ip("link")

    near.run(main)


def names(host: Namespace) -> list[str]:
    """The links of a host; what else is shown of them comes as late as their carrier."""
    return [line.split(":")[1] for line in host.ip("-o", "link").splitlines()]


def test_what_the_host_refuses_is_said_and_leaves_nothing(near: Namespace, far: Namespace) -> None:
    async def main() -> None:
        before = names(near)
        with pytest.raises(HostError, match="veth0: no TUN interface of that name can be made: "):
            Pump("veth0", Gre(NEAR, FAR))
        with pytest.raises(HostError, match=r"gre1: no GRE socket from 10\.9\.9\.9 to 192\.0\.2\.2: Cannot assign"):
            Pump("gre1", Gre(IPv4Address("10.9.9.9"), FAR))
        with pytest.raises(
            HostError, match=r"gre1: no GRE socket from 192\.0\.2\.1 to 10\.9\.9\.9: Network is unreach"
        ):
            Pump("gre1", Gre(NEAR, IPv4Address("10.9.9.9")))
        assert names(near) == before

    near.run(main)
