"""The IGMP agent on real links: the kernel's own hosts of all versions, also behind a bridge with snooping."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Address

import pytest
from msgspec.structs import replace

from mcastd.config.downstream import Forward
from mcastd.igmp.agent import IgmpAgent
from mcastd.igmp.settings import IgmpDesired
from mcastd.joined_hosts import JoinedHosts
from mcastd.membership import DesiredGroup
from mcastd.net import bpf, ipv4
from mcastd.net.igmp import ALL_SYSTEMS, Leave, Message, Query, Report, decode, encode_query
from mcastd.status import QuerierStatus
from mcastd.system import sockets
from mcastd.system.log import get_logger
from mcastd.system.netlink import Netlink
from mcastd.wanted import Wanted
from tests.frr import Frr
from tests.loops import looping
from tests.namespaces import Namespace, join, until

pytestmark = pytest.mark.root

VM, HOST, OTHER = IPv4Address("10.1.1.5"), IPv4Address("10.1.1.20"), IPv4Address("10.1.1.21")
GROUP, SSM_GROUP, SOURCE = IPv4Address("239.1.2.3"), IPv4Address("232.1.2.3"), IPv4Address("100.15.30.10")
FORWARD = Forward(
    name="veth0", from_=("gre1",), query_interval=1.0, query_response_interval=0.5, last_member_query_interval=0.2
)
ANY, NOTHING = DesiredGroup(any_source=True), DesiredGroup()
LEAVE_TIME = 2.0
Maker = Callable[[], Namespace]


class Running:
    """An agent on the interface ``veth0``."""

    def __init__(self) -> None:
        self.downstream = Wanted(lambda: time.monotonic())
        self.agent = IgmpAgent(
            links=Netlink(),
            downstream=self.downstream,
            joined=JoinedHosts(lambda: 0.0),
            log=get_logger(),
            on_change=lambda: None,
        )

    def desired(self, group: IPv4Address = GROUP) -> DesiredGroup:
        return self.downstream.of("veth0").desired(group)

    def status(self) -> QuerierStatus:
        return self.agent.status(time.monotonic())["veth0"]


@contextlib.asynccontextmanager
async def running(forward: Forward = FORWARD) -> AsyncIterator[Running]:
    made = Running()
    async with looping(made.agent.run()):
        made.agent.configure(IgmpDesired((forward,)))
        await made.agent.settled()
        try:
            yield made
        finally:
            await made.agent.close()


def joined(
    host: Namespace, group: IPv4Address, source: IPv4Address | None = None, *, on: IPv4Address = HOST
) -> socket.socket:
    """A socket on a host that has joined."""

    def opened() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        index = on.packed
        if source is None:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group.packed + index)
        else:  # IP_ADD_SOURCE_MEMBERSHIP of Linux, struct ip_mreq_source
            sock.setsockopt(socket.IPPROTO_IP, 39, group.packed + index + source.packed)
        return sock

    return host.call(opened)


@pytest.fixture
def pair(namespace: Maker) -> tuple[Namespace, Namespace]:
    vm, host = namespace(), namespace()
    join(vm, f"{VM}/24", host, f"{HOST}/24")
    return vm, host


@pytest.mark.parametrize("version", [2, 3])
def test_a_host_joins_answers_and_leaves(pair: tuple[Namespace, Namespace], version: int) -> None:
    vm, host = pair
    host.execute(f"sysctl -qw net.ipv4.conf.veth0.force_igmp_version={version}")

    async def main() -> None:
        async with running() as igmp:
            sock = joined(host, GROUP)
            await until(lambda: igmp.desired() == ANY, "joined")
            assert list(igmp.agent.hosts(GROUP, time.monotonic())["veth0"]) == [HOST]
            end = time.monotonic() + 3.5  # longer than a report is valid: 2 * 1 s + 2 * 0.5 s
            while time.monotonic() < end:
                assert igmp.desired() == ANY
                await asyncio.sleep(0.05)
            sock.close()
            left = time.monotonic()
            await until(lambda: igmp.desired() == NOTHING, "left")
            assert time.monotonic() - left < LEAVE_TIME
            assert igmp.status().received.keys() >= {f"v{version}_report"}

    vm.run(main)


def test_a_host_of_version_1_is_heard_and_times_out(pair: tuple[Namespace, Namespace]) -> None:
    vm, host = pair
    host.execute("sysctl -qw net.ipv4.conf.veth0.force_igmp_version=1")

    async def main() -> None:
        async with running() as igmp:
            sock = joined(host, GROUP)
            await until(lambda: igmp.desired() == ANY, "joined")
            sock.close()
            await until(lambda: igmp.desired() == NOTHING, "timed out")
            assert "v1_report" in igmp.status().received

    vm.run(main)


def test_sources_of_a_host(pair: tuple[Namespace, Namespace]) -> None:
    vm, host = pair

    async def main() -> None:
        async with running() as igmp:
            one, other = joined(host, SSM_GROUP, SOURCE), joined(host, SSM_GROUP, SOURCE + 1)
            both = DesiredGroup(sources=frozenset({SOURCE, SOURCE + 1}))
            await until(lambda: igmp.desired(SSM_GROUP) == both, "joined")
            one.close()
            await until(lambda: igmp.desired(SSM_GROUP) == DesiredGroup(sources=frozenset({SOURCE + 1})), "one left")
            other.close()
            await until(lambda: igmp.desired(SSM_GROUP) == NOTHING, "left")

    vm.run(main)


def test_what_is_there_is_found_by_the_first_query(pair: tuple[Namespace, Namespace]) -> None:
    vm, host = pair
    with joined(host, GROUP):
        time.sleep(1.5)  # the unsolicited reports are over

        async def main() -> None:
            async with running() as igmp:
                await until(lambda: igmp.desired() == ANY, "found")

        vm.run(main)


def test_queries_leave_as_the_rfc_says(pair: tuple[Namespace, Namespace]) -> None:
    vm, host = pair
    wire = host.call(lambda: sockets.packets_on("veth0", bpf.accept_igmp()))
    found: list[tuple[ipv4.Ipv4Packet, Query]] = []

    def read() -> int:
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = ipv4.parse(wire.recv(2000))
                if packet.source == VM and isinstance(query := decode(bytes(packet.payload)), Query):
                    found.append((packet, query))
        return len({query.group for _, query in found})

    async def main() -> None:
        async with running() as igmp:
            sock = joined(host, GROUP)
            await until(lambda: igmp.desired() == ANY, "joined")
            sock.close()
            await until(lambda: read() == 2, "both kinds of queries")

    vm.run(main)
    wire.close()
    for packet, query in found:
        assert (packet.ttl, packet.tos, bytes(packet.header[20:])) == (1, 0xC0, bytes((0x94, 4, 0, 0)))
        assert packet.destination == (query.group or ALL_SYSTEMS)
        assert (query.version, query.robustness, query.interval) == (3, 2, 1.0)
        assert query.max_response == (0.5 if query.group is None else 0.2)


def test_an_interface_that_is_deleted_and_made_again(pair: tuple[Namespace, Namespace]) -> None:
    vm, host = pair

    async def main() -> None:
        async with running() as igmp:
            sock = joined(host, GROUP)
            await until(lambda: igmp.desired() == ANY, "joined")
            await asyncio.to_thread(vm.ip, "link", "del", "veth0")
            await until(lambda: igmp.desired() == NOTHING, "gone")
            sock.close()
            await asyncio.to_thread(join, vm, f"{VM}/24", host, f"{HOST}/24")
            with joined(host, GROUP):
                await until(lambda: igmp.desired() == ANY, "joined again")

    vm.run(main)


def test_a_pim_router_on_the_segment(pair: tuple[Namespace, Namespace]) -> None:
    vm, host = pair

    def hello() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, ipv4.PIM) as sock:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, HOST.packed)
            sock.sendto(bytes.fromhex("2000dfff"), ("224.0.0.13", 0))

    async def main() -> None:
        async with running() as igmp:
            host.call(hello)
            await until(lambda: igmp.status().pim_router == str(HOST), "heard")

    vm.run(main)


@pytest.fixture
def bridged(namespace: Maker) -> tuple[Namespace, Namespace, Namespace]:
    """A VM and a host at a switch with IGMP snooping."""
    vm, host, switch = namespace(), namespace(), namespace()
    switch.batch("link add br0 type bridge mcast_snooping 1", "link set br0 up")
    for number, (end, address) in enumerate(((vm, VM), (host, HOST))):
        switch.ip("link", "add", f"port{number}", "type", "veth", "peer", "name", "veth0", "netns", end.name)
        switch.batch(f"link set port{number} master br0", f"link set port{number} up")
        end.batch("link set veth0 addrgenmode none", f"addr add {address}/24 dev veth0", "link set veth0 up")
    return vm, host, switch


@pytest.mark.parametrize("version", [2, 3])
def test_a_switch_with_snooping(bridged: tuple[Namespace, Namespace, Namespace], version: int) -> None:
    vm, host, _ = bridged
    host.execute(f"sysctl -qw net.ipv4.conf.veth0.force_igmp_version={version}")

    async def main() -> None:
        async with running() as igmp:
            sock = joined(host, GROUP)
            await until(lambda: igmp.desired() == ANY, "joined")
            await asyncio.sleep(3.5)
            assert igmp.desired() == ANY
            sock.close()
            await until(lambda: igmp.desired() == NOTHING, "left")

    vm.run(main)


def query_without_address() -> None:
    message = encode_query(Query(3, 1.0, None, (), False, 2, 10.0))
    packet = ipv4.encode(message, IPv4Address(0), ALL_SYSTEMS, protocol=ipv4.IGMP, tos=0xC0, ttl=1)
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as sock:
        sock.sendto(packet, ("veth0", 0x0800, 0, 0, bytes.fromhex("01005e000001")))


class Gateway:
    """A cloud's gateway on ``veth0``: it queries by IGMPv2 from 0.0.0.0, and knows what hosts have reported."""

    def __init__(self) -> None:
        self.socket = sockets.packets_on("veth0", bpf.accept_igmp())
        self.socket.setsockopt(263, 1, struct.pack("iHH8s", socket.if_nametoindex("veth0"), 2, 0, bytes(8)))

    def query(self) -> None:
        message = encode_query(Query(2, 0.5))
        packet = ipv4.encode(message, IPv4Address(0), ALL_SYSTEMS, protocol=ipv4.IGMP, tos=0xC0, ttl=1)
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as sock:
            sock.sendto(packet, ("veth0", 0x0800, 0, 0, bytes.fromhex("01005e000001")))

    def heard(self) -> list[tuple[IPv4Address, Message]]:
        """What hosts have sent since the last call, and who."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = ipv4.parse(self.socket.recv(2000))
                found.append((packet.source, decode(bytes(packet.payload))))
        return found


def test_in_the_segment_of_a_gateway_we_say_nothing_and_forward(namespace: Maker) -> None:
    """As at AWS and Google: IGMPv2, and the reports of others reach us only where the gateway passes them on."""
    vm, gateway = namespace(), namespace()
    join(vm, f"{VM}/24", gateway, f"{HOST}/24")
    there = gateway.call(Gateway)

    async def main() -> None:
        async with running(replace(FORWARD, igmp_version=2, querier=False)) as igmp:
            for _ in range(3):
                gateway.call(there.query)
                await asyncio.sleep(1)  # longer than a host may wait with its answer, and than our query interval
            assert there.heard() == []
            assert igmp.agent.elections()["veth0"].is_querier
            status = igmp.status()
            assert (status.state, status.querier, status.sent, status.dropped) == ("listener", "0.0.0.0", {}, {})
            with joined(vm, GROUP, on=VM):  # an application of this host is a member like any other
                await until(lambda: (VM, Report(2, GROUP)) in there.heard(), "a report of IGMPv2")
            await until(lambda: (VM, Leave(GROUP)) in there.heard(), "a leave")
            with joined(gateway, GROUP):
                await until(lambda: igmp.desired() == ANY, "what it passes on")

    try:
        vm.run(main)
    finally:
        there.socket.close()


def test_a_switch_that_queries_without_an_address_is_not_elected(
    bridged: tuple[Namespace, Namespace, Namespace],
) -> None:
    vm, host, switch = bridged
    switch.ip("link", "set", "br0", "type", "bridge", "mcast_querier", "1", "mcast_igmp_version", "3")

    async def main() -> None:
        async with running() as igmp:
            with joined(host, GROUP):
                await until(lambda: igmp.desired() == ANY, "joined")
                # The bridge keeps quiet when it has heard us: a query as of another such switch.
                host.call(query_without_address)
                await until(lambda: igmp.status().dropped.get("query_without_source", 0) > 0, "a query of 0.0.0.0")
                assert igmp.status().is_ours

    vm.run(main)


@pytest.mark.parametrize(("address", "is_lower"), [(VM - 3, True), (VM + 3, False)])
def test_frr_and_we_elect_the_lower_address(namespace: Maker, address: IPv4Address, is_lower: bool) -> None:
    vm, router = namespace(), namespace()
    join(vm, f"{VM}/24", router, f"{address}/24")
    frr = Frr(router, "interface veth0\n ip igmp\n")
    # Given in the file, the interval would count only after a minute of startup queries.
    times = ("ip igmp query-max-response-time 5", "ip igmp query-interval 1")
    frr.configure("interface veth0", *times)

    async def main() -> None:
        async with running() as igmp:
            elected = str(address if is_lower else VM)
            await until(lambda: igmp.status().querier == elected and frr.igmp_querier() == elected, "the election")
            if is_lower:
                frr.close()
                await until(lambda: igmp.status().is_ours, "the other one is gone")

    try:
        vm.run(main)
    finally:
        if not is_lower:
            frr.close()


@pytest.mark.parametrize("version", [2, 3])
def test_a_bridge_of_this_host_with_snooping(namespace: Maker, version: int) -> None:
    """As containers and virtual machines are attached."""
    vm, host = namespace(), namespace()
    vm.batch("link add br0 type bridge mcast_snooping 1", f"addr add {VM}/24 dev br0", "link set br0 up")
    vm.ip("link", "add", "port0", "type", "veth", "peer", "name", "veth0", "netns", host.name)
    vm.batch("link set port0 master br0", "link set port0 up")
    host.batch("link set veth0 addrgenmode none", f"addr add {HOST}/24 dev veth0", "link set veth0 up")
    host.execute(f"sysctl -qw net.ipv4.conf.veth0.force_igmp_version={version}")

    async def main() -> None:
        async with running(replace(FORWARD, name="br0")) as igmp:
            with joined(host, GROUP):
                await until(lambda: igmp.downstream.of("br0").desired(GROUP) == ANY, "joined")
                await asyncio.sleep(3.5)
                assert igmp.downstream.of("br0").desired(GROUP) == ANY
            await until(lambda: igmp.downstream.of("br0").desired(GROUP) == NOTHING, "left")

    vm.run(main)
