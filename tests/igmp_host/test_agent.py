"""The agent with the kernel's own IGMP: what a router at the other end of the tunnel's interface sees."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest

from mcastd.igmp_host.agent import IgmpHostAgent
from mcastd.igmp_host.desired import IgmpHostDesired, IgmpHostLink
from mcastd.membership import DesiredGroup
from mcastd.net import bpf
from mcastd.net.checksum import internet_checksum
from mcastd.system import log, sockets, sysctl
from mcastd.system.membership_socket import MembershipSocket
from mcastd.wanted import FILE, Wanted
from tests.fakes.service_manager import FakeServiceManager
from tests.loops import looping
from tests.namespaces import Namespace, join, until

pytestmark = pytest.mark.root

IGMP, IF = 2, "veth0"
GROUP, SSM_GROUP = IPv4Address("239.1.1.1"), IPv4Address("232.1.1.1")
SOURCES = [IPv4Address("10.0.0.0") + number for number in range(1, 30)]
QUERY_V1, QUERY_V2 = b"\x11\0\0\0" + bytes(4), b"\x11\1\0\0" + bytes(4)
QUERY_V3 = b"\x11\1\0\0" + bytes(4) + b"\2\x7d\0\0"
IS_INCLUDE, IS_EXCLUDE, TO_INCLUDE, TO_EXCLUDE, ALLOW, BLOCK = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True)
class Report:
    """One group of a report; ``kind`` is the record's type, or the message's of versions 1 and 2 (0x12, 0x16, 0x17)."""

    kind: int
    group: IPv4Address
    sources: frozenset[IPv4Address] = frozenset()


class Router:
    """The other end: it sends queries, and hears reports."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._tap = namespace.call(lambda: sockets.packets_on(IF, bpf.accept_protocol(IGMP)))
        self.heard: list[Report] = []
        self.queries = 0  # how many have been heard

    def query(self, message: bytes) -> None:
        def send() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP) as sock:
                request = struct.pack("@4s4si", bytes(4), bytes(4), socket.if_nametoindex(IF))
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
                sock.sendto(message[:2] + internet_checksum(message).to_bytes(2) + message[4:], ("224.0.0.1", 0))

        self._namespace.call(send)

    def hears(self, *reports: Report) -> Callable[[], bool]:
        return lambda: set(reports) <= set(self.listen())

    def listen(self) -> list[Report]:
        """All that was heard of the groups of this test."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._take(self._tap.recv(65535))
        return self.heard

    def forget(self) -> None:
        self.listen()
        self.heard = []

    def _take(self, packet: bytes) -> None:
        message = packet[(packet[0] & 15) * 4 :]
        if message[0] == 0x11:
            self.queries += 1
        elif message[0] != 0x22:
            self.heard.append(Report(message[0], IPv4Address(message[4:8])))
        else:
            rest = message[8:]
            for _ in range(int.from_bytes(message[6:8])):
                kind, _aux, count, group = struct.unpack_from("!BBH4s", rest)
                found = [IPv4Address(rest[start : start + 4]) for start in range(8, 8 + 4 * count, 4)]
                self.heard.append(Report(kind, IPv4Address(group), frozenset(found)))
                rest = rest[8 + 4 * count :]

    def close(self) -> None:
        self._tap.close()


@pytest.fixture
def cable(namespace: Callable[[], Namespace]) -> tuple[Namespace, Namespace]:
    """This host, whose cable is the tunnel, and the other end."""
    host, other = namespace(), namespace()
    join(host, "10.44.4.6/30", other, "10.44.4.5/30")
    return host, other


class Process:
    """A running agent in the host."""

    def __init__(self, manager: FakeServiceManager) -> None:
        self.wanted = Wanted(time.monotonic)
        self.held = Wanted(time.monotonic)
        self.manager = manager
        self.opened: list[MembershipSocket] = []
        self.agent = IgmpHostAgent(
            wanted=self.wanted,
            held=self.held,
            sysctls=sysctl,
            store=manager.store(),
            log=log.get_logger(),
            on_change=lambda: None,
            open_socket=self._open,
        )

    def _open(self, ifindex: int) -> MembershipSocket:
        self.opened.append(MembershipSocket(ifindex))
        return self.opened[-1]

    async def want(self, *, up_count: int = 1) -> None:
        link = IgmpHostLink(IF, socket.if_nametoindex(IF), up_count=up_count)
        self.agent.configure(IgmpHostDesired((link,), (IF,)))
        await self.agent.settled()


@contextlib.asynccontextmanager
async def running(manager: FakeServiceManager | None = None) -> AsyncIterator[Process]:
    """In the end it is killed: what is in the store stays open."""
    process = Process(manager or FakeServiceManager())
    try:
        async with looping(process.agent.run()):
            yield process
    finally:
        for sock in process.opened:
            sock.close()
        if manager is None:
            process.manager.close()


def test_joins_changes_and_leaves_are_reported(cable: tuple[Namespace, Namespace]) -> None:
    async def scenario() -> None:
        async with running() as process:
            process.wanted.join(IF, GROUP, None, FILE)
            process.wanted.set_group(IF, SSM_GROUP, FILE, DesiredGroup(sources=frozenset(SOURCES[:25])))
            await process.want()
            await until(router.hears(Report(TO_EXCLUDE, GROUP)), "the join")
            found = [one for one in router.listen() if one.group == SSM_GROUP and one.kind in (ALLOW, TO_INCLUDE)]
            assert frozenset.union(*(one.sources for one in found)) == frozenset(SOURCES[:25])
            process.wanted.set_group(IF, GROUP, FILE, DesiredGroup(True, frozenset(), frozenset(SOURCES[:1])))
            await until(router.hears(Report(TO_EXCLUDE, GROUP, frozenset(SOURCES[:1]))), "the excluded source")
            process.wanted.set_group(IF, GROUP, FILE, DesiredGroup())
            await until(router.hears(Report(TO_INCLUDE, GROUP)), "the leave")
            router.forget()
            await process.agent.close()
            assert [one for one in router.listen() if one.kind in (BLOCK, TO_INCLUDE) and one.group == SSM_GROUP]

    host, other = cable
    router = Router(other)
    host.run(scenario)
    router.close()


def test_queries_of_all_versions_are_answered(cable: tuple[Namespace, Namespace]) -> None:
    """Each in a version that the router knows; a router of version 1 or 2 is not asked for sources."""

    async def scenario() -> None:
        async with running() as process:
            process.wanted.join(IF, GROUP, None, FILE)
            process.wanted.join(IF, SSM_GROUP, SOURCES[0], FILE)
            await process.want()
            await until(router.hears(Report(TO_EXCLUDE, GROUP)), "the join")
            router.query(QUERY_V3)
            answers = (Report(IS_EXCLUDE, GROUP), Report(IS_INCLUDE, SSM_GROUP, frozenset(SOURCES[:1])))
            await until(router.hears(*answers), "the answer of version 3")
            router.query(QUERY_V2)
            await until(router.hears(Report(0x16, GROUP), Report(0x16, SSM_GROUP)), "the answer of version 2")
            process.wanted.leave(IF, GROUP, None, FILE)
            await until(router.hears(Report(0x17, GROUP)), "the leave of version 2")
            router.query(QUERY_V1)
            await until(router.hears(Report(0x12, SSM_GROUP)), "the answer of version 1")

    host, other = cable
    router = Router(other)
    host.run(scenario)
    router.close()


def test_when_the_path_comes_up_everything_is_reported_and_no_query_leaves(cable: tuple[Namespace, Namespace]) -> None:
    async def scenario() -> None:
        async with running() as process:
            process.wanted.join(IF, GROUP, None, FILE)
            await process.want()
            await until(router.hears(Report(TO_EXCLUDE, GROUP)), "the join")
            router.forget()
            began = time.monotonic()
            await process.want(up_count=2)
            await until(router.hears(Report(IS_EXCLUDE, GROUP)), "the report")
            assert time.monotonic() - began < 0.5  # by itself the kernel reports nothing
            assert router.queries == 0

    host, other = cable
    router = Router(other)
    host.run(scenario)
    router.close()


def test_a_successor_takes_over_without_a_leave(cable: tuple[Namespace, Namespace]) -> None:
    async def scenario() -> None:
        manager = FakeServiceManager()
        groups = [GROUP + number for number in range(45)]
        async with running(manager) as process:
            process.wanted.replace(IF, FILE, [(group, None) for group in groups])
            await process.want()
            await until(router.hears(*(Report(TO_EXCLUDE, group) for group in groups)), "the joins")
            sockets_of_the_first = len(manager.kept)
        router.forget()
        async with running(manager) as successor:
            successor.wanted.replace(IF, FILE, [(group, None) for group in groups[:44]])
            await successor.want()
            await asyncio.sleep(0.1)
            assert [one for one in router.listen() if one.kind in (TO_INCLUDE, BLOCK)] == []
            assert len(manager.kept) == 2 * sockets_of_the_first == 6
            successor.agent._drop(successor.agent._inherited(IF))
            await until(router.hears(Report(TO_INCLUDE, groups[44])), "the leave of what is desired no more")
            await asyncio.sleep(0.1)
            assert {one.group for one in router.listen() if one.kind in (TO_INCLUDE, BLOCK)} == {groups[44]}
            router.query(QUERY_V3)
            await until(router.hears(*(Report(IS_EXCLUDE, group) for group in groups[:44])), "the answer")
            await successor.agent.close()
        manager.close()

    host, other = cable
    router = Router(other)
    host.run(scenario)
    router.close()


def test_nothing_is_queued_for_the_sockets(cable: tuple[Namespace, Namespace]) -> None:
    async def scenario() -> None:
        async with running() as process:
            process.wanted.join(IF, GROUP, None, FILE)
            await process.want()
            await until(router.hears(Report(TO_EXCLUDE, GROUP)), "the join")
            # Were it bound one day, it should still get nothing that only others have joined.
            assert process.opened[0]._sock.getsockopt(socket.IPPROTO_IP, 49) == 0
            other.call(send)
            with pytest.raises(BlockingIOError):
                process.opened[0]._sock.recv(100)

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            request = struct.pack("@4s4si", bytes(4), bytes(4), socket.if_nametoindex(IF))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
            for port in (1, 5001, 40000):
                sock.sendto(b"x" * 100, (str(GROUP), port))

    host, other = cable
    router = Router(other)
    host.run(scenario)
    router.close()
