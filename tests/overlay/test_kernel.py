"""An overlay on a real kernel: machines in namespaces join, and what leaves the head end is counted on the wire."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import pytest
from msgspec.structs import replace

from mcastd.config.downstream import Overlay
from mcastd.config.model import Config
from mcastd.firewall import rules
from mcastd.history import History
from mcastd.igmp.agent import IgmpAgent
from mcastd.igmp.settings import IgmpDesired
from mcastd.joined_hosts import JoinedHosts
from mcastd.links import Link
from mcastd.overlay.agent import OverlayAgent
from mcastd.overlay.desired import OverlayDesired, OverlayLink
from mcastd.overlay.kernel import Vxlan
from mcastd.system import gre_devices, nft, sysctl, vxlan
from mcastd.system.ledger import Ledger
from mcastd.system.log import get_logger
from mcastd.system.netlink import Netlink
from mcastd.wanted import Wanted
from tests.fakes.memory import MemoryLedger
from tests.fakes.service_manager import FakeServiceManager
from tests.loops import looping
from tests.namespaces import DEADLINE, Namespace, until

pytestmark = pytest.mark.root

Maker = Callable[[], Namespace]
LOCAL, OWN = IPv4Address("10.0.0.1"), IPv4Address("10.99.0.1")
GROUP, SECOND, EIGHT = (IPv4Address(f"239.1.1.{number}") for number in (1, 2, 8))
RECEIVERS, STRANGER, PORT = 8, 66, 5001
OVERLAY = Overlay(
    name="vx0",
    from_=("gre1",),
    vni=7,
    local=LOCAL,
    address=IPv4Interface(f"{OWN}/24"),
    members=tuple(IPv4Network(f"10.0.0.{10 + number}") for number in range(RECEIVERS)),
    query_interval=1.5,
    query_response_interval=0.5,
    last_member_query_interval=0.2,
)
_OUTGOING = 4  # PACKET_OUTGOING


class Network:
    """A head end and machines on one switch; machine N has the addresses 10.0.0.(10+N) and 10.99.0.(10+N)."""

    def __init__(self, make: Maker) -> None:
        self._make, self._switch = make, make()
        self._switch.batch("link add br0 type bridge", "link set br0 up")
        self.head = self.plug(str(LOCAL))
        self.machines: dict[int, Namespace] = {}

    def plug(self, address: str) -> Namespace:
        """A machine with a cable."""
        made = self._make()
        port = f"p{address.rsplit('.', 1)[1]}"
        self._switch.ip("link", "add", port, "type", "veth", "peer", "name", "veth0", "netns", made.name)
        self._switch.batch(f"link set {port} master br0 addrgenmode none", f"link set {port} up")
        made.batch("link set veth0 addrgenmode none", f"addr add {address}/24 dev veth0", "link set veth0 up")
        return made

    def add(self, number: int) -> Namespace:
        """Three commands make a machine a receiver."""
        last = 10 + number
        machine = self.machines[number] = self.plug(f"10.0.0.{last}")
        machine.batch(
            f"link add vx0 type vxlan id 7 dstport 4789 local 10.0.0.{last} remote {LOCAL}",
            "link set vx0 addrgenmode none",
            f"addr add 10.99.0.{last}/24 dev vx0",
            "link set vx0 up",
        )
        return machine

    def join(self, number: int, *groups: IPv4Address) -> socket.socket:
        """An application on a machine joins."""

        def opened() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("", PORT))
            sock.settimeout(5.0)
            for group in groups:
                sock.setsockopt(
                    socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group.packed + bytes((10, 99, 0, 10 + number))
                )
            return sock

        return self.machines[number].call(opened)


class Wire:
    """Counts the copies that leave the head end; ``send`` lets it send packets into the overlay."""

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self._sock.bind(("veth0", 3))
        self._sock.settimeout(5.0)
        self._feed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def send(self, group: IPv4Address, payload: bytes = b"packet") -> None:
        self._feed.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, OWN.packed)
        self._feed.sendto(payload, (str(group), PORT))

    def copies(self, group: IPv4Address, packets: int = 10) -> dict[str, int]:
        """How many copies of so many packets leave, by endpoint."""
        for _ in range(packets):
            self.send(group)
        self._feed.sendto(b"end", ("10.0.0.10", 9))
        found = Counter[str]()
        while True:
            packet, (*_, kind, _, _) = self._sock.recvfrom(2048)
            if kind != _OUTGOING or packet[9] != socket.IPPROTO_UDP:
                continue
            if packet[28:31] == b"end":
                return dict(found)
            inner = packet[50:]
            is_feed = inner[9:10] == bytes((socket.IPPROTO_UDP,)) and inner[16:20] == group.packed
            if packet[22:24] == (4789).to_bytes(2, "big") and is_feed:
                found[socket.inet_ntoa(packet[16:20])] += 1

    def close(self) -> None:
        self._sock.close()
        self._feed.close()


class Running:
    """The agents of a head end."""

    def __init__(self, ledger: Ledger, kernel: Vxlan = vxlan, overlay: Overlay = OVERLAY) -> None:
        self.overlay = overlay
        self.joined = JoinedHosts(time.monotonic)
        self.igmp = IgmpAgent(
            links=Netlink(),
            downstream=Wanted(lambda: time.monotonic()),
            joined=self.joined,
            log=get_logger(),
            on_change=self._changed,
        )
        self.agent = OverlayAgent(
            netlink=Netlink(),
            vxlan=kernel,
            sysctls=sysctl,
            devices=gre_devices,
            joined=self.joined,
            ledger=ledger,
            store=FakeServiceManager().store(),
            history=History(get_logger()),
            log=get_logger(),
            on_change=lambda: None,
        )

    def configure(self) -> None:
        elections = self.igmp.elections()
        asking = "vx0" not in elections or not elections["vx0"].is_complete
        self.agent.configure(OverlayDesired((OverlayLink(self.overlay, 600, guarded=True, asking=asking),)))

    def _changed(self) -> None:
        self.configure()

    def gets(self) -> dict[str, set[str]]:
        """What each machine gets, when the kernel has been told."""
        if self.agent._stepping.locked() or any(device.is_due for device in self.agent._devices.values()):
            return {"not told yet": set()}
        status = self.agent.status(0.0)["vx0"]
        return {one.endpoint: set(one.names) for one in status.endpoints if one.groups}


@asynccontextmanager
async def running(ledger: Ledger, kernel: Vxlan = vxlan, overlay: Overlay = OVERLAY) -> AsyncIterator[Running]:
    """The agents leave everything standing at the end."""
    made = Running(ledger, kernel, overlay)
    async with looping(made.agent.run()), looping(made.igmp.run()):
        made.configure()
        made.igmp.configure(IgmpDesired((overlay,)))
        await made.agent.settled()
        await until(made.igmp.elections, "the querier")
        yield made
        await made.igmp.close()


async def link() -> Link:
    async with Netlink() as netlink:
        found = await netlink.link("vx0")
        assert found is not None
        return found


@pytest.fixture
def network(namespace: Maker) -> Network:
    return Network(namespace)


def all_of(numbers: Iterable[int], packets: int = 10) -> dict[str, int]:
    return {f"10.0.0.{10 + number}": packets for number in numbers}


def test_a_packet_leaves_once_for_each_machine_that_wants_it(network: Network) -> None:
    for number in range(RECEIVERS):
        network.add(number)
    ledger = MemoryLedger()
    head = network.head

    async def main() -> None:
        with closing(Wire()) as wire:
            async with running(ledger) as one:
                before = await link()
                assert (before.mtu, before.up) == (1450, True)
                assert wire.copies(GROUP) == {}
                sockets = []
                for number in range(RECEIVERS):
                    sockets.append(
                        await asyncio.to_thread(network.join, number, EIGHT, *([GROUP] if not number else []))
                    )
                    await until(lambda: len(one.gets()) == number + 1, "the entry")  # noqa: B023
                assert wire.copies(GROUP) == all_of([0])
                assert wire.copies(EIGHT) == all_of(range(RECEIVERS))
                assert wire.copies(SECOND) == {}
                await asyncio.sleep(4.5)  # longer than a report is valid: 2 * 1.5 s + 2 * 0.5 s
                assert wire.copies(EIGHT) == all_of(range(RECEIVERS))
                sockets.pop().close()
                await until(lambda: len(one.gets()) == RECEIVERS - 1, "one has left")
                assert wire.copies(EIGHT) == all_of(range(RECEIVERS - 1))
            assert wire.copies(EIGHT) == all_of(range(RECEIVERS - 1))  # no process runs
            async with running(ledger) as one:
                assert wire.copies(EIGHT) == all_of(range(RECEIVERS - 1))
                assert (await link()).index == before.index
                await until(lambda: len(one.gets()) == RECEIVERS - 1, "all have said again what they want")
                network.machines[1].ip("link", "set", "veth0", "down")
                await until(lambda: len(one.gets()) == RECEIVERS - 2, "one is gone")
                assert wire.copies(EIGHT, 1).keys() == all_of([0, *range(2, RECEIVERS - 1)]).keys()
            await one.agent.close()
            for sock in sockets:
                sock.close()
        assert not ledger.entries("link")

    head.run(main)


class WithoutMdb:
    """The kernel, as if it were older than Linux 6.4."""

    def __getattr__(self, name: str) -> Any:
        return getattr(vxlan, name)

    async def has_mdb(self, _index: int) -> bool:
        return False


def test_without_mdb_a_group_leaves_by_its_ethernet_address(network: Network) -> None:
    for number in range(2):
        network.add(number)

    async def main() -> None:
        with closing(Wire()) as wire:
            async with running(MemoryLedger(), WithoutMdb()) as one:
                with closing(await asyncio.to_thread(network.join, 1, GROUP)):
                    await until(lambda: one.gets() == {"10.0.0.11": {str(GROUP)}}, "the entry")
                    assert wire.copies(GROUP) == all_of([1])
                    assert wire.copies(SECOND) == {}
                await until(lambda: not one.gets(), "it has left")
                assert wire.copies(GROUP) == {}
                assert not list(one.agent.problems())
            await one.agent.close()

    network.head.run(main)


def test_of_two_head_ends_one_is_the_querier_and_both_know_what_is_wanted(network: Network) -> None:
    """The machine has both as its remote endpoints; the other head end is a member."""
    second, machine = network.plug("10.0.0.17"), network.add(0)
    machine.execute("bridge fdb append 00:00:00:00:00:00 dev vx0 dst 10.0.0.17")
    other = replace(OVERLAY, local=IPv4Address("10.0.0.17"), address=IPv4Interface("10.99.0.17/24"))
    both = (*OVERLAY.members, IPv4Network(LOCAL))
    first = replace(OVERLAY, members=both)
    ready, done = threading.Event(), threading.Event()

    async def standby() -> None:
        async with running(MemoryLedger(), overlay=replace(other, members=both)) as one:
            await until(lambda: not one.igmp.elections()["vx0"].is_querier, "the other one is the querier")
            ready.set()
            await until(lambda: one.gets() == {"10.0.0.10": {str(GROUP)}}, "what the machine wants")
            await asyncio.to_thread(done.wait, 20.0)
            await until(lambda: one.igmp.elections()["vx0"].is_querier, "the other one is gone")
            assert one.gets() == {"10.0.0.10": {str(GROUP)}}

    async def active() -> None:
        async with running(MemoryLedger(), overlay=first) as one:
            await asyncio.to_thread(ready.wait, 20.0)
            with closing(await asyncio.to_thread(network.join, 0, GROUP)):
                await until(lambda: one.gets() == {"10.0.0.10": {str(GROUP)}}, "what the machine wants")
                assert one.igmp.elections()["vx0"].is_querier
                await asyncio.sleep(1.0)
                done.set()
                network.head.ip("link", "set", "veth0", "down")
                await asyncio.to_thread(standing.result, 20.0)

    with ThreadPoolExecutor(1) as thread:
        standing = thread.submit(second.run, standby)
        network.head.run(active)


class Stranger:
    """A machine that nobody has named: it has the VNI, and sends to the head end by VXLAN what others would."""

    def __init__(self, network: Network) -> None:
        self._machine = network.add(STRANGER)

    def inject(self) -> None:
        """Send to an application on the head end, which cannot tell by whom it was brought."""
        with self._machine.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
            sock.sendto(b"forged", (str(OWN), PORT))


def test_a_stranger_can_neither_receive_nor_inject_and_conntrack_sees_nothing(network: Network) -> None:
    network.add(0)
    stranger, head = Stranger(network), network.head
    config = Config(overlay=(OVERLAY,))

    async def main() -> None:
        with closing(Wire()) as wire, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as application:
            application.bind(("", PORT))
            application.setblocking(False)
            loop = asyncio.get_running_loop()
            async with running(MemoryLedger()) as one:
                # Without the rules a report and a packet of the stranger arrive, and still no entry is made for it.
                with closing(await asyncio.to_thread(network.join, STRANGER, GROUP)):
                    await until(lambda: list(one.joined.groups("vx0")) == [GROUP], "the report")
                    stranger.inject()
                    assert await asyncio.wait_for(loop.sock_recv(application, 100), 5.0) == b"forged"
                    await until(lambda: bool(list(one.agent.problems())), "it is named")
                    assert wire.copies(GROUP) == {}
                await until(lambda: not one.joined.groups("vx0"), "it has left")
                await nft.transaction(rules.table(config) + TRACKED)
                with (
                    closing(await asyncio.to_thread(network.join, STRANGER, GROUP)),
                    closing(await asyncio.to_thread(network.join, 0, SECOND)),
                ):
                    stranger.inject()
                    await until(lambda: one.gets() == {"10.0.0.10": {str(SECOND)}}, "the report of a member")
                    assert wire.copies(SECOND) == all_of([0])
                    assert wire.copies(GROUP) == {}
                    async with asyncio.timeout(DEADLINE):  # the report and what was injected; there may be ARP
                        while (await nft.counts("mcastd"))["overlay-vx0"][0] < 2:
                            pass
                    with pytest.raises(BlockingIOError):
                        application.recv(100)
                    assert wire.copies(GROUP) == {}
                tracked = await nft.counts("tracked")
                assert tracked["passed"][0] > 0
                assert tracked["known"] == (0, 0)
            await one.agent.close()

    head.run(main)


TRACKED = """
table ip tracked {
    counter passed { }
    counter known { }
    chain arriving {
        type filter hook prerouting priority filter;
        udp dport 4789 counter name passed
        udp dport 4789 ct state != untracked counter name known
    }
    chain leaving {
        type filter hook output priority filter;
        udp dport 4789 counter name passed
        udp dport 4789 ct state != untracked counter name known
    }
}
"""
"""Counts VXLAN, and that of it which conntrack has seen."""
