"""Multicast routing by a real kernel: a source, a router with the agent, and two receivers behind it."""

import asyncio
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from ipaddress import IPv4Address

import pytest

from mcastd.forward import plan
from mcastd.forward.agent import ForwardAgent
from mcastd.forward.desired import ForwardDesired, ForwardTunnel
from mcastd.forward.plan import Receiver
from mcastd.history import History
from mcastd.membership import DesiredGroup
from mcastd.net.mroute import ANY, Counts, Entry, Key, decode_upcall, drops_the_rest
from mcastd.streams import table as streams
from mcastd.system import counters, ipmr, log, nft
from mcastd.system.mroute import Mroute, RoutingTaken
from mcastd.tools.doctor import collect
from mcastd.tools.doctor.listen import LeavingTap
from mcastd.wanted import HOSTS, Wanted
from tests.fakes.mroute import FakeMulticast
from tests.fakes.service_manager import FakeServiceManager
from tests.firewall.test_rules import child, config, tunnel
from tests.forward.hosts import ANY_SOURCE, GROUP, OTHER, behind, only
from tests.loops import looping
from tests.namespaces import Namespace, sysctl, until

pytestmark = pytest.mark.root

SOURCE, SECOND = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.9")
PORT = 5000
NAMES = ("gre1", "eth1", "eth2")


def cable(one: Namespace, name: str, address: str, other: Namespace, other_name: str, other_address: str) -> None:
    one.ip("link", "add", name, "type", "veth", "peer", "name", other_name, "netns", other.name)
    for side, link, own in ((one, name, address), (other, other_name, other_address)):
        side.batch(f"link set {link} addrgenmode none", f"addr add {own} dev {link}", f"link set {link} up")


class Scene:
    """The namespaces; ``gre1`` of the router leads to the source, ``eth1`` and ``eth2`` to the receivers."""

    def __init__(self) -> None:
        self.source, self.router, *self.receivers = (Namespace() for _ in range(4))
        cable(self.source, "up0", f"{SOURCE}/24", self.router, "gre1", "10.0.0.2/24")
        self.source.ip("addr", "add", f"{SECOND}/24", "dev", "up0")
        for number, receiver in enumerate(self.receivers, start=1):
            cable(self.router, f"eth{number}", f"10.1.{number}.1/24", receiver, "veth0", f"10.1.{number}.2/24")
        self._sockets: list[socket.socket] = []
        self._listening = {
            (f"eth{number}", group): self._open(receiver, partial(self._listen, group, "veth0"))
            for number, receiver in enumerate(self.receivers, start=1)
            for group in (GROUP, OTHER)
        }
        self._senders = {source: self._open(self.source, partial(self._sender, source)) for source in (SOURCE, SECOND)}

    def remove(self) -> None:
        for sock in self._sockets:
            sock.close()
        for namespace in (self.source, self.router, *self.receivers):
            namespace.remove()

    def index(self, name: str) -> int:
        return self.router.call(lambda: socket.if_nametoindex(name))

    def send(self, source: IPv4Address = SOURCE, group: IPv4Address = GROUP, *, count: int = 1, ttl: int = 8) -> None:
        sock = self._senders[source]
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
        for _ in range(count):
            sock.sendto(bytes(100), (str(group), PORT))

    def received(self, group: IPv4Address = GROUP) -> dict[str, int]:
        """How many packets each receiver got since the last time; those that got none are left out."""
        time.sleep(0.02)
        found = {name: _drained(sock) for (name, of), sock in self._listening.items() if of == group}
        return {name: count for name, count in found.items() if count}

    def gets(self, source: IPv4Address = SOURCE, group: IPv4Address = GROUP, *, ttl: int = 8) -> list[str]:
        """Who gets a packet."""
        self.send(source, group, ttl=ttl)
        return sorted(self.received(group))

    def application(self, group: IPv4Address) -> socket.socket:
        """An application on the router that has joined a group on the tunnel."""
        return self._open(self.router, partial(self._listen, group, "gre1"))

    def receiver(self, number: int, group: IPv4Address) -> socket.socket:
        """Another socket of a receiver."""
        return self._open(self.receivers[number], partial(self._listen, group, "veth0"))

    def _open(self, namespace: Namespace, make: Callable[[], socket.socket]) -> socket.socket:
        sock = namespace.call(make)
        self._sockets.append(sock)
        return sock

    @staticmethod
    def _listen(group: IPv4Address, name: str) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((str(group), PORT))
        on = socket.if_nametoindex(name).to_bytes(4, "little")
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group.packed + bytes(4) + on)
        return sock

    @staticmethod
    def _sender(source: IPv4Address) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, source.packed)
        sock.bind((str(source), 0))
        return sock


@pytest.fixture
def scene() -> Iterator[Scene]:
    found = Scene()
    yield found
    found.remove()


class Running:
    """The agent in the router."""

    def __init__(self, scene: Scene, manager: FakeServiceManager) -> None:
        self.scene = scene
        self.wanted, self.downstream = (Wanted(time.monotonic) for _ in range(2))
        logger = log.get_logger()
        self.agent = ForwardAgent(
            open_socket=Mroute,
            routing=ipmr,
            store=manager.store(),
            wanted=self.wanted,
            downstream=self.downstream,
            history=History(logger),
            log=logger,
            on_change=lambda: None,
        )

    async def configure(self, *names: str) -> None:
        tunnels = {"gre1": ForwardTunnel(socket.if_nametoindex("gre1"))}
        interfaces = tuple(behind(name) for name in names)
        self.agent.configure(ForwardDesired(interfaces, tunnels, frozenset(names)))
        await self.agent.settled()

    def state(self, name: str) -> str:
        return next(one.state for one in self.agent.status(0.0) if one.name == name)

    async def want(self, name: str, desired: DesiredGroup, group: IPv4Address = GROUP) -> None:
        self.downstream.set_group(name, group, HOSTS, desired)
        await self.agent.settled()


def _drained(sock: socket.socket) -> int:
    count = 0
    while True:
        try:
            sock.recv(200)
        except BlockingIOError:
            return count
        count += 1


def test_the_first_packet_is_forwarded_to_who_wants_it_without_a_question_and_without_ip_forward(scene: Scene) -> None:
    async def main() -> None:
        running = Running(scene, FakeServiceManager())
        async with looping(running.agent.run()):
            await running.configure("eth1", "eth2")
            application = scene.application(OTHER)
            await running.want("eth1", ANY_SOURCE)
            await running.want("eth2", only(SECOND))
            scene.send(count=100)
            assert scene.received() == {"eth1": 100}
            scene.send(SECOND, count=100)
            assert scene.received() == {"eth1": 100, "eth2": 100}
            await running.want("eth1", DesiredGroup(any_source=True, excluded=frozenset({SECOND})))
            assert (scene.gets(), scene.gets(SECOND)) == (["eth1"], ["eth2"])
            assert scene.gets(ttl=1) == []
            # What is not forwarded reaches the applications of this host all the same, and nothing is asked.
            scene.send(group=OTHER, count=10)
            await until(lambda: _drained(application) == 10, "delivered")
            assert scene.received(OTHER) == {}
            await running.agent.refresh()
            forwarded = running.agent.forwarded((GROUP, OTHER)).values()
            assert sum(one.packets for one in forwarded) == 203
            assert all(one.counts.bytes > one.packets and one.counts.age < 60.0 for one in forwarded if one.packets)
            assert running.agent.status(0.0)[0].packets == 201
            assert not running.agent.upcalls
            await running.agent.close()

    scene.router.execute("sysctl -qw net.ipv4.ip_forward=0")
    scene.router.run(main)
    assert sysctl(scene.router, "net/ipv4/conf/all/mc_forwarding") == "0"


def test_the_doctor_sees_what_leaves_and_the_policy_that_drops_what_is_forwarded(scene: Scene) -> None:
    async def main() -> None:
        running = Running(scene, FakeServiceManager())
        async with looping(running.agent.run()):
            await running.configure("eth1")
            await running.want("eth1", ANY_SOURCE)
            with closing(LeavingTap("eth1")) as tap:
                scene.send(count=10)
                await until(lambda: sum(tap.arrived().streams.values()) == 10, "seen")
                policy = "{ type filter hook forward priority 0 ; policy drop ; }"
                for command in ("nft add table ip closed", f"nft add chain ip closed forward {policy}"):
                    await asyncio.to_thread(scene.router.execute, command)
                scene.send(count=10)
                await asyncio.sleep(0.1)
                seen = tap.arrived()
            assert [(one.group, one.source, one.port) for one in seen.streams] == [(GROUP, SOURCE, PORT)]
            assert list(seen.streams.values()) == [10]
            assert list(seen.ttls.values()) == [7]
            closed = [one.place for one in collect._rules() if not one.text and "forward" in one.hooks]
            assert closed == ["ip closed forward"]
            await running.agent.close()

    scene.router.run(main)


def test_what_leaves_in_fragments_is_counted_also_where_the_host_reassembles(scene: Scene) -> None:
    async def main() -> None:
        running = Running(scene, FakeServiceManager())
        async with looping(running.agent.run()):
            await running.configure("eth1")
            await running.want("eth1", ANY_SOURCE)
            made = config(child(), tunnels=(tunnel(),), forward=(behind("eth1", querier=False),))
            mtus = await counters.mtus(("gre1", "eth1", "none"))
            assert mtus == {"gre1": 1500, "eth1": 1500}
            await nft.transaction(streams.transaction(streams.table(made, mtus), None))
            sender = scene._senders[SOURCE]
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
            for size in (100, 1472, 3000):
                sender.sendto(bytes(size), (str(GROUP), PORT))
            assert scene.received() == {"eth1": 3}
            assert (await counters.counters(streams.NAME))["fragments-eth1"] == 3
            chain = "chain ip conntrack here { type filter hook forward priority 0; ct state invalid counter; }"
            await nft.transaction(f"add table ip conntrack\nadd {chain}\n")  # which reassembles
            sender.sendto(bytes(3000), (str(GROUP), PORT))
            assert scene.received() == {"eth1": 1}
            assert (await counters.counters(streams.NAME))["fragments-eth1"] == 4
            await running.agent.close()

    scene.router.run(main)


def test_a_process_that_is_killed_leaves_forwarding_to_its_successor(scene: Scene) -> None:
    async def main() -> None:
        manager = FakeServiceManager()
        crashed = Running(scene, manager)
        async with looping(crashed.agent.run()):
            await crashed.configure("eth1", "eth2")
            await crashed.want("eth1", ANY_SOURCE)
            await crashed.want("eth2", only(SOURCE))
        crashed.agent._socket.close()  # type: ignore[union-attr]
        assert scene.gets() == ["eth1", "eth2"]
        successor = Running(scene, manager)
        async with looping(successor.agent.run()):
            await successor.configure("eth1", "eth2")
            assert (scene.gets(), scene.gets(SECOND)) == (["eth1", "eth2"], ["eth1"])
            assert successor.wanted.of("gre1").desired(GROUP).any_source
            await successor.want("eth1", ANY_SOURCE)
            await successor.agent.close()
            assert scene.gets() == []
        manager.close()

    scene.router.run(main)


def test_an_interface_that_is_down_is_a_problem_until_it_is_up(scene: Scene) -> None:
    async def main() -> None:
        running = Running(scene, FakeServiceManager())
        async with looping(running.agent.run()):
            await running.configure("eth1", "eth2")
            await running.want("eth2", ANY_SOURCE)
            await asyncio.to_thread(scene.router.ip, "link", "set", "eth2", "down")
            await until(lambda: running.state("eth2") == "waiting", "noticed")
            assert [(one.code, one.subject) for one in running.agent.problems()] == [("downstream_missing", "eth2")]
            await asyncio.to_thread(scene.router.ip, "link", "set", "eth2", "up")
            await until(lambda: running.state("eth2") == "forwarding", "noticed")
            assert list(running.agent.problems()) == []
            await until(lambda: "eth2" in scene.gets(), "forwarded again")
            await running.agent.close()

    scene.router.run(main)


def test_an_interface_that_is_made_again_is_forwarded_to_again(scene: Scene) -> None:
    async def main() -> None:
        running = Running(scene, FakeServiceManager())
        async with looping(running.agent.run()):
            await running.configure("eth1", "eth2")
            await running.want("eth1", ANY_SOURCE)
            await running.want("eth2", ANY_SOURCE)
            await asyncio.to_thread(scene.router.ip, "link", "del", "eth2")
            await until(lambda: running.state("eth2") == "waiting", "noticed")
            assert scene.gets() == ["eth1"]
            await asyncio.to_thread(
                cable, scene.router, "eth2", "10.1.2.1/24", scene.receivers[1], "veth0", "10.1.2.2/24"
            )
            sock = scene.receiver(1, GROUP)
            await until(lambda: running.state("eth2") == "forwarding", "noticed")
            await running.agent.settled()
            scene.send()
            await until(lambda: _drained(sock) == 1, "forwarded")
            await running.agent.close()

    scene.router.run(main)


def test_a_number_that_a_new_interface_gets_brings_back_what_old_entries_forward(scene: Scene) -> None:
    """The trap for which a number is free only when no entry names it any longer."""
    mroute = scene.router.call(Mroute)
    for number, name in ((0, "gre1"), (2, "eth2")):
        mroute.add_vif(number, scene.index(name))
    mroute.add(Entry(ANY, GROUP, 0, ((0, 1), (2, 1))))
    assert scene.gets() == ["eth2"]
    scene.router.ip("link", "del", "eth2")
    assert scene.gets() == []
    mroute.add_vif(2, scene.index("eth1"))
    assert scene.gets() == ["eth1"]
    mroute.end()


def test_what_was_set_is_read_back_with_counters(scene: Scene) -> None:
    async def read() -> dict[Entry, Counts]:
        found: dict[Entry, Counts] = {}
        vifs = {vif.ifindex: vif.number for vif in await ipmr.vifs()}
        await ipmr.entries(vifs, lambda entry, counts: found.update({entry: counts}))
        return found

    mroute = scene.router.call(Mroute)
    for number, name in enumerate(NAMES, start=5):
        mroute.add_vif(number, scene.index(name))
    entries = [
        drops_the_rest(5),
        Entry(ANY, GROUP, 5, ((5, 1), (6, 1), (7, 9))),
        Entry(SECOND, GROUP, 6, ((7, 1),)),
        Entry(SECOND, OTHER, 5),
    ]
    for entry in entries:
        mroute.add(entry)
    scene.send(count=3)
    scene.send(SECOND, count=4)
    found = scene.router.run(read)
    assert set(found) == set(entries)
    assert found[entries[1]][:3] == (3, 3 * 128, 0)
    assert found[entries[2]][:3] == (4, 4 * 128, 4)
    assert found[entries[1]].age < 5.0
    assert mroute.packets(SECOND, GROUP) == 0
    assert next(vif for vif in scene.router.run(ipmr.vifs) if vif.number == 6).packets_out == 3
    upcalls = [decode_upcall(packet) for packet in mroute.upcalls()]
    assert [(one.kind.name, one.vif, one.source, one.group) for one in upcalls] == [("WRONGVIF", 5, SECOND, GROUP)]
    scene.router.ip("link", "del", "eth2")
    mroute.delete(Entry(SECOND, OTHER, 9))
    assert {entry.out for entry in scene.router.run(read)} == {((5, 1),), ((5, 1), (6, 1)), ()}
    mroute.end()
    assert scene.router.run(ipmr.vifs) == ()
    assert scene.router.run(read) == {}


def test_a_second_daemon_cannot_have_multicast_routing_and_a_handed_over_socket_is_the_same(scene: Scene) -> None:
    mroute = scene.router.call(Mroute)
    mroute.add_vif(0, scene.index("gre1"))
    with pytest.raises(RoutingTaken):
        scene.router.call(Mroute)
    left = os.dup(mroute.fileno())
    mroute.close()
    successor = scene.router.call(lambda: Mroute(left))
    assert len(scene.router.run(ipmr.vifs)) == 1
    left = os.dup(successor.fileno())
    successor.end()
    assert scene.router.run(ipmr.vifs) == ()
    another = scene.router.call(Mroute)
    with pytest.raises(RoutingTaken):
        scene.router.call(lambda: Mroute(left))
    another.close()


def test_the_model_forwards_as_the_kernel_does(scene: Scene) -> None:
    mroute, model = scene.router.call(Mroute), FakeMulticast(*NAMES)
    bare, rng = model.bare(), random.Random(7)
    for number, (name, index) in enumerate(model.links.items()):
        mroute.add_vif(number, scene.index(name))
        bare.add_vif(number, index)
        for side in (mroute, bare):
            side.add(drops_the_rest(number))
    planned: dict[Key, Entry] = {}
    for _ in range(12):
        sources = [frozenset(one for one in (SOURCE, SECOND) if rng.random() < 0.4) for _ in range(4)]
        desired = [DesiredGroup(rng.random() < 0.5, *sources[at : at + 2]) for at in (0, 2)]
        receivers = [Receiver(vif, rng.choice((1, 4)), (0,), one) for vif, one in zip((1, 2), desired, strict=True)]
        before, planned = planned, plan.entries(GROUP, receivers)
        for side in (mroute, bare):
            for entry in planned.values():
                side.add(entry)
            for key in before.keys() - planned.keys():
                side.delete(before[key])
        for source in (SOURCE, SECOND):
            for ttl in (1, 3, 8):
                expected = model.packet(str(source), str(GROUP), "gre1", ttl)
                assert scene.gets(source, ttl=ttl) == expected, (desired, source, ttl)
    assert list(mroute.upcalls()) == []
    mroute.end()
