"""What an overlay costs its head end: the CPU of a packet by the number of receivers, and of the entries themselves.

The kernel makes the copies. The time is that of the thread which sends a packet into the device, until each copy has
been dropped at the other end of a cable; a network card's driver is not in it. There are 1,000 groups throughout. Its
peer, in the same run, is a program that sends the copies itself. What it costs to have the packet forwarded into the
device is measured by a packet that arrives on a TUN interface.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from mcastd.links import Vxlan
from mcastd.net.checksum import internet_checksum
from mcastd.net.mroute import Entry
from mcastd.net.vxlan import Forwarding, Replica, mac_of
from mcastd.system import vxlan
from mcastd.system.mroute import Mroute
from mcastd.system.netlink import Netlink
from tests.bench.figures import say
from tests.meter.feeds import SOURCE, datagram
from tests.meter.test_agent import open_tun
from tests.namespaces import Namespace, join

GROUPS = tuple(IPv4Address("239.1.0.1") + number for number in range(1000))
RECEIVERS = (1, 8, 64)
SIZE, ROUNDS = 500, 5  # bytes of payload; rounds over all groups
LOCAL, PORT = IPv4Address("10.0.0.1"), 5001
_MAC = "02:00:00:00:00:01"
_DROP = "add table netdev t; add chain netdev t c { type filter hook ingress device veth0 priority 0; policy drop; }"


@contextmanager
def namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    """A head end, and the network to its receivers."""
    head, far = Namespace(), Namespace()
    try:
        join(head, f"{LOCAL}/24", far, "10.0.0.254/24")
        far.batch(f"link set veth0 address {_MAC}")
        far.call(lambda: far.execute(f"nft {_DROP}"))
        yield head, far
    finally:
        head.remove()
        far.remove()


def a_packet(index: int) -> float:
    """Nanoseconds of CPU that it takes to send one, best of some rounds."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, b"\0" * 8 + index.to_bytes(4, "little"))
        best = float("inf")
        for _ in range(ROUNDS):
            began = time.thread_time_ns()
            for group in GROUPS:
                sock.sendto(bytes(SIZE), (str(group), PORT))
            best = min(best, (time.thread_time_ns() - began) / len(GROUPS))
        return best


def by_program(endpoints: tuple[IPv4Address, ...]) -> float:
    """Nanoseconds of CPU for as many copies, each by a system call of its own."""
    targets, payload = [(str(one), PORT) for one in endpoints], bytes(SIZE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        best = float("inf")
        for _ in range(ROUNDS):
            began = time.thread_time_ns()
            for _ in GROUPS:
                for target in targets:
                    sock.sendto(payload, target)
            best = min(best, (time.thread_time_ns() - began) / len(GROUPS))
        return best


def forwarded(index: int, tun: int) -> float:
    """Nanoseconds of CPU of a packet that arrives, and is forwarded into the device by multicast routing."""
    packet = datagram(bytes(SIZE), group=GROUPS[0])
    packet = packet[:10] + internet_checksum(packet[:20]).to_bytes(2, "big") + packet[12:]
    routing = Mroute()
    routing.add_vif(0, socket.if_nametoindex("t0"))
    routing.add_vif(1, index)
    routing.add(Entry(SOURCE, GROUPS[0], 0, ((1, 1),)))
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.thread_time_ns()
        for _ in GROUPS:
            os.write(tun, bytes(10) + packet)
        best = min(best, (time.thread_time_ns() - began) / len(GROUPS))
    assert routing.packets(SOURCE, GROUPS[0]) == ROUNDS * len(GROUPS)
    routing.close()
    return best


async def kernel(head: Namespace) -> None:
    """What the entries cost, and a packet with them, by the number of receivers."""
    endpoints = tuple(LOCAL + 1 + number for number in range(max(RECEIVERS)))
    head.batch(*(f"neigh replace {one} lladdr {_MAC} dev veth0 nud permanent" for one in endpoints))
    async with Netlink() as netlink:
        await netlink.add_link("vx0", Vxlan(7, LOCAL))
        head.batch("addr add 10.20.0.1/24 dev vx0", "link set vx0 addrgenmode none up")
        link = await netlink.link("vx0")
        assert link is not None
        index = link.index
        say("CPU of a packet that no receiver has joined", a_packet(index), "ns")
        tun = open_tun()
        head.batch("addr add 10.44.4.6/30 dev t0", "link set t0 up", "route add default dev t0")
        say("CPU of one that arrives, is forwarded, and that no receiver has joined", forwarded(index, tun), "ns")
        by_endpoints = dict[int, float]()
        for count in RECEIVERS:
            wanted = [Replica(group, None, one) for group in GROUPS for one in endpoints[:count]]
            began = time.process_time()
            await vxlan.add_replicas(index, wanted)
            added = time.process_time() - began
            by_endpoints[count] = a_packet(index)
            say(f"CPU of a packet for {count} receivers", by_endpoints[count], "ns")
        each = (by_endpoints[max(RECEIVERS)] - by_endpoints[1]) / (max(RECEIVERS) - 1)
        say("each receiver more", each, "ns")
        program = (by_program(endpoints) - by_program(endpoints[:1])) / (max(RECEIVERS) - 1)
        say("each receiver more, where a program sends the copies", program, "ns")
        say("each receiver more: the kernel beside the program", each / program, "x")
        say("packets a second that fill one CPU, for 64 receivers", 1e9 / by_endpoints[64], "")
        say(f"CPU of {len(wanted)} entries", added, "s")
        await vxlan.remove_replicas(index, await vxlan.replicas(index))
        await vxlan.add_forwarding(index, [Forwarding(mac_of(group), one) for group in GROUPS for one in endpoints])
        say("CPU of a packet for 64 receivers, by its Ethernet address", a_packet(index), "ns")


if __name__ == "__main__":
    with namespaces() as (one, _):
        one.run(lambda: kernel(one))
