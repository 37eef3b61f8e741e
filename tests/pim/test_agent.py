"""The agent on a real link: against FRR, and against a kernel that takes its interface away."""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from msgspec.structs import replace

from mcastd.config.model import Group, Pim, RpRange
from mcastd.net import bpf, ipv4
from mcastd.pim.auto_rp_packet import RP_ANNOUNCE, RP_DISCOVERY
from mcastd.pim.settings import PimInterface
from mcastd.system import sockets
from mcastd.wanted import COMMAND
from tests import pcap
from tests.frr import Frr
from tests.namespaces import Namespace, join, until
from tests.pim.agents import Running, running
from tests.pim.test_auto_rp_packet import ANNOUNCEMENT, MAPPING

LEAF, UPSTREAM, RP = IPv4Address("10.44.4.6"), IPv4Address("10.44.4.5"), IPv4Address("100.15.30.253")
PIM = Pim(neighbor=UPSTREAM, rp=(RpRange(address=RP, groups=(IPv4Network("239.0.0.0/8"),)),))
GROUP, SSM_GROUP, SOURCE = IPv4Address("239.1.2.3"), IPv4Address("232.1.2.3"), IPv4Address("100.15.30.10")
ONE = (Group(group=GROUP, tunnel="veth0"),)
Maker = Callable[[], Namespace]


def interface(pim: Pim = PIM, ifindex: int | None = None) -> PimInterface:
    index = socket.if_nametoindex("veth0") if ifindex is None else ifindex
    return PimInterface("veth0", index, 1398, LEAF, (), pim)


@pytest.fixture
def pair(namespace: Maker) -> tuple[Namespace, Namespace]:
    cloud, dc = namespace(), namespace()
    join(cloud, f"{LEAF}/30", dc, f"{UPSTREAM}/30")
    return cloud, dc


@pytest.fixture
def frr(pair: tuple[Namespace, Namespace]) -> Iterator[Frr]:
    dc = pair[1]
    dc.ip("addr", "add", f"{RP}/32", "dev", "lo")
    found = Frr(dc, f"ip pim rp {RP} 239.0.0.0/8\ninterface veth0\n ip pim\ninterface lo\n ip pim\n")
    yield found
    found.close()


@pytest.mark.root
def test_frr_takes_our_joins_and_leaves(pair: tuple[Namespace, Namespace], frr: Frr) -> None:
    async def main() -> None:
        async with running() as pim:
            await pim.want(interface(), ONE)
            pim.wanted.join("veth0", SSM_GROUP, SOURCE, COMMAND)
            await until(lambda: frr.joins() == {("*", str(GROUP)), (str(SOURCE), str(SSM_GROUP))}, "joined")
            await until(lambda: pim.status().neighbors, "FRR's Hello")
            pim.wanted.leave("veth0", SSM_GROUP, SOURCE, COMMAND)
            await until(lambda: frr.joins() == {("*", str(GROUP))}, "pruned")
            assert frr.neighbors() == {str(LEAF)}
            states = [(group.group, group.state, group.upstream) for group in pim.groups()]
            assert states == [(str(GROUP), "joined", str(UPSTREAM))]
        assert frr.joins() == set()
        assert frr.neighbors() == set()

    pair[0].run(main)


@pytest.mark.root
def test_a_restarted_frr_is_told_again_and_300_groups_all_arrive(pair: tuple[Namespace, Namespace], frr: Frr) -> None:
    groups = tuple(Group(group=IPv4Address("239.7.0.0") + n, tunnel="veth0") for n in range(300))

    async def main() -> None:
        async with running() as pim:
            await pim.want(interface(), groups)
            await until(lambda: len(frr.joins()) == 300, "300 joins")
            frr.restart()
            await until(lambda: len(frr.joins()) == 300, "300 joins after the restart")

    pair[0].run(main)


def listen() -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(0x0800))
    sockets.attach_filter(sock, bpf.accept_protocol(ipv4.PIM))  # the kernel's IGMP reports come when they like
    sock.bind(("veth0", 0x0800))
    return sock


@pytest.mark.root
def test_hello_and_join_have_left_when_it_has_settled(pair: tuple[Namespace, Namespace]) -> None:
    cloud, dc = pair
    heard = dc.call(listen)

    async def main() -> None:
        async with running() as pim:
            await pim.want(interface(), ONE)
            packets = [heard.recv(2048), heard.recv(2048)]
            assert [packet[20] for packet in packets] == [0x20, 0x23]
            for packet in packets:
                assert (packet[1], packet[8], packet[9]) == (0xC0, 1, 103)  # tos, TTL, protocol
                assert (packet[12:16], packet[16:20]) == (LEAF.packed, b"\xe0\0\0\x0d")
            await pim.path_is_back()
            assert [heard.recv(2048)[20], heard.recv(2048)[20]] == [0x20, 0x23]
        assert [heard.recv(2048)[20], heard.recv(2048)[20]] == [0x23, 0x20]

    try:
        cloud.run(main)
    finally:
        heard.close()


@pytest.mark.root
def test_auto_rp_is_heard_without_a_membership_and_not_used(pair: tuple[Namespace, Namespace]) -> None:
    cloud, dc = pair
    mapping_agent, no_rp = IPv4Address("10.1.1.9"), replace(PIM, rp=())
    cloud.call(lambda: Path("/proc/sys/net/ipv4/conf/veth0/rp_filter").write_text("1"))

    def send(*packets: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, UPSTREAM.packed)
            for packet in packets:
                sock.sendto(packet, (str(IPv4Address(packet[16:20])), 0))

    def said(pim: Running) -> list[tuple[str, str | None, str, str]]:
        found = pim.status().auto_rp
        return [(one.groups, one.rp, one.kind, one.sender) for one in found]

    async def main() -> None:
        async with running() as pim:
            await pim.want(interface(no_rp), ONE)
            assert pim.groups()[0].problem == f"no rendezvous point for {GROUP}"
            feed, bad = udp(b"a feed", GROUP), udp(MAPPING[:-1], RP_DISCOVERY)
            send_them = (feed, bad, udp(ANNOUNCEMENT, RP_ANNOUNCE), udp(MAPPING, RP_DISCOVERY))
            packets = [pcap.ipv4(data, mapping_agent, group, 255, pcap.UDP) for data, group in send_them]
            await asyncio.to_thread(dc.call, lambda: send(*packets))
            await until(lambda: len(said(pim)) == 4, "four ranges")
            assert ("239.0.0.0/8", "10.1.1.1", "mapping", str(mapping_agent)) in said(pim)
            assert ("239.255.0.0/16", None, "mapping", str(mapping_agent)) in said(pim)
            status = pim.status()
            assert status.received == {"auto_rp_announcement": 1, "auto_rp_mapping": 1}
            assert status.dropped == {"truncated": 1}
            (group,) = pim.groups()
            assert group.state == "not joined"
            assert group.problem is not None
            assert "Auto-RP has 10.1.1.1: set auto_rp = true" in group.problem
            joined = Path("/proc/thread-self/net/igmp").read_text()
            assert "0D0000E0" in joined  # ALL-PIM-ROUTERS
            assert "280100E0" not in joined
            assert "270100E0" not in joined

    cloud.run(main)


def udp(message: bytes, group: IPv4Address) -> tuple[bytes, IPv4Address]:
    """A datagram from and to the Auto-RP port, and where it goes."""
    return struct.pack("!HHHH", 496, 496, 8 + len(message), 0) + message, group


@pytest.mark.root
def test_an_interface_that_is_gone_does_no_harm(pair: tuple[Namespace, Namespace]) -> None:
    cloud, _ = pair

    async def main() -> None:
        async with running() as pim:
            await pim.want(interface(), ONE)
            cloud.ip("link", "set", "veth0", "down")
            await pim.path_is_back()
            assert pim.status().dropped
            cloud.ip("link", "del", "veth0")
            await pim.path_is_back()
            await pim.want(None, ONE)
            assert not pim.status().running
            assert [group.problem for group in pim.groups()] == ["tunnel veth0 is down"]
            await pim.want(interface(ifindex=4711), ONE)
            assert not pim.status().running

    cloud.run(main)


@pytest.mark.root
def test_a_flood_of_rubbish_is_counted(pair: tuple[Namespace, Namespace]) -> None:
    cloud, dc = pair

    def flood() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, 103) as sock:
            for n in range(500):
                sock.sendto(bytes([n % 256]) * (n % 40), (str(LEAF), 0))

    async def main() -> None:
        async with running() as pim:
            await pim.want(interface(), ONE)
            await asyncio.to_thread(dc.call, flood)
            await until(lambda: sum(pim.status().dropped.values()) == 500, "500 drops")

    cloud.run(main)
