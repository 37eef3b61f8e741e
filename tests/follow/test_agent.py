"""The follow agent in a network namespace: the kernel's own notifications, files and reports."""

import asyncio
import contextlib
import os
import platform
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv4Interface
from statistics import median
from types import SimpleNamespace
from typing import cast

import pytest

from mcastd.config.model import Config, Pim, Tunnel
from mcastd.errors import HostError
from mcastd.firewall import rules
from mcastd.follow.agent import FollowAgent
from mcastd.follow.kernel import Kernel
from mcastd.follow.settings import FollowDesired, FollowedTunnel
from mcastd.membership import DesiredGroup
from mcastd.net import ipv4
from mcastd.net.igmp import ALL_SYSTEMS, MessageType
from mcastd.system import multicast_addresses, sysctl
from mcastd.wanted import Rps, Wanted
from tests.fakes.memory import MemoryLedger, MemoryLog
from tests.loops import looping
from tests.namespaces import Namespace, until

pytestmark = pytest.mark.root

NAME = "gre-tunnel9"
OWN = "10.44.4.6"
GROUP = IPv4Address("239.1.1.1")
ANY = DesiredGroup(True)
IP_ADD_SOURCE_MEMBERSHIP, IP_DROP_SOURCE_MEMBERSHIP = 39, 40
VERSION = f"net/ipv4/conf/{NAME}/force_igmp_version"


def no_netlink(_on_arrival: Callable[[], None]) -> None:
    raise HostError("no notifications of joined groups: Invalid argument")


NAMES = ("reports", "logged_reports", "settle", "users", "sources", "query")
REPORTS_ALONE = cast(
    "Kernel", SimpleNamespace(changes=no_netlink, **{name: getattr(multicast_addresses, name) for name in NAMES})
)
REAL = cast("Kernel", multicast_addresses)


class Unheard:
    """The reports of an interface, none of which is heard."""

    def receive(self) -> list[bytes]:
        return []

    def close(self) -> None:
        pass


NETLINK_ALONE = cast(
    "Kernel",
    SimpleNamespace(
        reports=lambda *_: Unheard(),
        **{name: getattr(multicast_addresses, name) for name in ("changes", *NAMES) if name != "reports"},
    ),
)
NETLINK_SINCE = (6, 14)


@pytest.fixture(params=["kernel's", "reports"])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """Whatever this kernel has, netlink's notifications from Linux 6.14 on; and reports alone."""
    return REPORTS_ALONE if request.param == "reports" else REAL


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace()
    try:
        made.batch(
            f"link add {NAME} type veth peer name far",
            f"addr add {OWN}/30 dev {NAME}",
            f"link set {NAME} up",
            "link set far up",
        )
        yield made
    finally:
        made.remove()


def joined(group: IPv4Address | str, *sources: str) -> socket.socket:
    """An application's socket."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    request = IPv4Address(group).packed + socket.inet_aton(OWN)
    for source in sources:
        made.setsockopt(socket.IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, request + socket.inet_aton(source))
    if not sources:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    return made


def drop_source(sock: socket.socket, group: IPv4Address, source: str) -> None:
    request = group.packed + socket.inet_aton(OWN) + socket.inet_aton(source)
    sock.setsockopt(socket.IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, request)


class Following:
    def __init__(self, kernel: Kernel, linger: float, *, reports_logged: bool = False) -> None:
        self.reports_logged = reports_logged
        self.wanted = Wanted(lambda: time.monotonic())
        self.changed: dict[IPv4Address, list[DesiredGroup]] = {}
        self.wanted.listen(self._changed)
        self.ledger = MemoryLedger()
        self.linger = linger
        self.agent = FollowAgent(
            kernel=kernel,
            wanted=self.wanted,
            sysctls=sysctl,
            ledger=self.ledger,
            log=MemoryLog().logger,
            on_change=lambda: None,
        )

    def of(self, group: IPv4Address) -> DesiredGroup:
        return self.wanted.of(NAME).desired(group)

    def _changed(self, _name: str, groups: Sequence[IPv4Address]) -> None:
        for one in groups:
            self.changed.setdefault(one, []).append(self.of(one))

    async def configure(self) -> None:
        index = socket.if_nametoindex(NAME)
        tunnel = FollowedTunnel(
            NAME,
            index,
            IPv4Address(OWN),
            linger=self.linger,
            rps=Rps(needed=True, has=lambda _: True),
            limit=5000,
            reports_logged=self.reports_logged,
        )
        self.agent.configure(FollowDesired((tunnel,), (NAME,)))
        await self.agent.settled()

    async def until(self, group: IPv4Address, desired: DesiredGroup) -> None:
        await until(lambda: self.wanted.of(NAME).desired(group) == desired, f"{group}: {desired}")


@contextlib.asynccontextmanager
async def following(kernel: Kernel, linger: float = 0.2, *, reports_logged: bool = False) -> AsyncIterator[Following]:
    found = Following(kernel, linger, reports_logged=reports_logged)
    async with looping(found.agent.run()):
        await found.configure()
        yield found


@pytest.mark.also_kernel
def test_sockets_come_and_go(namespace: Namespace, kernel: Kernel) -> None:
    async def main() -> None:
        async with following(kernel) as found:
            one = joined(GROUP)
            await found.until(GROUP, ANY)
            other = joined(GROUP)
            one.close()
            await asyncio.sleep(0.5)
            assert found.wanted.of(NAME).desired(GROUP) == ANY
            other.close()
            await found.until(GROUP, DesiredGroup())

    namespace.run(main)


@pytest.mark.also_kernel
def test_sources_are_never_joined_from_any(namespace: Namespace, kernel: Kernel) -> None:
    async def main() -> None:
        async with following(kernel) as found:
            sockets = []
            for number in range(100):
                sockets.append(joined(GROUP + number, "10.0.0.1"))
                await asyncio.sleep(0.001)
            last = GROUP + 99
            await found.until(last, DesiredGroup(sources=frozenset({IPv4Address("10.0.0.1")})))
            one = joined(last, "10.0.0.1", "10.0.0.2")
            await found.until(last, DesiredGroup(sources=frozenset(map(IPv4Address, ("10.0.0.1", "10.0.0.2")))))
            drop_source(one, last, "10.0.0.2")
            await found.until(last, DesiredGroup(sources=frozenset({IPv4Address("10.0.0.1")})))
            assert not any(change.any_source for changes in found.changed.values() for change in changes)
            for each in (*sockets, one):
                each.close()
            await until(lambda: len(found.wanted.of(NAME)) == 0, "all left")

    namespace.run(main)


@pytest.mark.also_kernel
def test_an_any_source_joiner_that_the_files_hide_is_found_by_the_looped_query(namespace: Namespace) -> None:
    async def main() -> None:
        s1, s2 = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
        sockets = [
            joined(GROUP, str(s1), str(s2)),
            joined(GROUP),
            joined(GROUP + 1, str(s1)),
            joined(GROUP + 1, str(s2)),
        ]
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as far:
            far.bind(("far", 0x0800))
            async with following(REAL) as found:
                await found.until(GROUP, DesiredGroup(True, frozenset({s1, s2})))
                await asyncio.sleep(0.2)
                assert found.of(GROUP + 1) == DesiredGroup(sources=frozenset({s1, s2}))
            packets = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    packets.append(far.recv(2000))
        assert packets, "the reports are on the wire"
        assert not [packet for packet in packets if packet[9] == ipv4.IGMP and packet[24] == MessageType.QUERY]
        for one in sockets:
            one.close()

    namespace.run(main)


def test_reports_that_the_firewall_drops_are_seen_in_its_log(namespace: Namespace) -> None:
    """As on a tunnel without GRE: nothing of IGMP reaches the interface, and the looped query is answered."""

    async def main() -> None:
        s1, s2 = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as far:
            far.bind(("far", 0x0800))
            async with following(REPORTS_ALONE, reports_logged=True) as found:
                with joined(GROUP, str(s1)) as one:
                    await found.until(GROUP, DesiredGroup(sources=frozenset({s1})))
                    with joined(GROUP, str(s1), str(s2)), joined(GROUP):
                        await found.until(GROUP, DesiredGroup(True, frozenset({s1, s2})))
                    one.close()
                await found.until(GROUP, DesiredGroup())
            with pytest.raises(BlockingIOError):
                far.recv(2000)

    tunnel = Tunnel(
        name=NAME,
        local=IPv4Address("192.0.2.1"),
        remote=IPv4Address("192.0.2.2"),
        address=IPv4Interface(f"{OWN}/30"),
        encapsulation="none",
        pim=Pim(),
    )
    namespace.call(lambda: subprocess.run(["nft", rules.table(Config(tunnels=(tunnel,)))], check=True))
    namespace.run(main)


def test_what_a_version_2_query_would_take_away_stays(namespace: Namespace) -> None:
    """The interface is held to IGMPv3, so that a querier of version 2 at the far end does not count."""

    async def main() -> None:
        async with following(REPORTS_ALONE) as found:
            assert sysctl.read(VERSION) == "3"
            query = struct.pack("!BBH4s", 0x11, 100, 0xFFFF - 0x1164, bytes(4))
            packet = ipv4.encode(query, IPv4Address("10.44.4.5"), ALL_SYSTEMS, protocol=ipv4.IGMP, tos=0xC0, ttl=1)
            with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as far:
                far.sendto(packet, ("far", 0x0800, 0, 0, bytes.fromhex("01005e000001")))
            await asyncio.sleep(0.1)
            with joined(GROUP, "10.0.0.1"):
                await found.until(GROUP, DesiredGroup(sources=frozenset({IPv4Address("10.0.0.1")})))
                assert not any(change.any_source for change in found.changed[GROUP])
            await found.agent.close()
            assert (sysctl.read(VERSION), found.ledger.copy()) == ("0", {})

    namespace.run(main)


APPLICATION = f"""
import socket, sys, time
made = []
for number in range(int(sys.argv[1])):
    if number % 20 == 0:
        made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    group = (int.from_bytes(socket.inet_aton("{GROUP}"), "big") + number).to_bytes(4, "big")
    made[-1].setsockopt(0, 35, group + socket.inet_aton("{OWN}"))
print("joined", flush=True)
time.sleep(100)
"""


@contextlib.contextmanager
def application(groups: int) -> Iterator[subprocess.Popen[str]]:
    """Another process, in this namespace, that joins groups."""
    with subprocess.Popen((sys.executable, "-c", APPLICATION, str(groups)), stdout=subprocess.PIPE, text=True) as made:
        try:
            yield made
        finally:
            made.kill()


def test_a_storm_of_1000_and_a_sigkill(namespace: Namespace, kernel: Kernel) -> None:
    async def main() -> None:
        async with following(kernel) as found:
            with application(1000) as process:
                await until(lambda: len(found.wanted.of(NAME)) == 1000, "all are wanted")
                os.kill(process.pid, signal.SIGKILL)
                await until(lambda: len(found.wanted.of(NAME)) == 0, "all have left")

    namespace.run(main)


def test_a_restart_finds_everything(namespace: Namespace, kernel: Kernel) -> None:
    async def main() -> None:
        with application(300) as process:
            assert process.stdout is not None
            process.stdout.readline()
            for _ in range(2):
                async with following(kernel) as found:
                    assert len(found.wanted.of(NAME)) == 300

    namespace.run(main)


def test_an_interface_that_is_made_again_has_lost_what_was_joined(namespace: Namespace, kernel: Kernel) -> None:
    async def main() -> None:
        async with following(kernel) as found:
            with joined(GROUP) as one:
                await found.until(GROUP, ANY)
                namespace.ip("link", "del", NAME)
                namespace.batch(
                    f"link add {NAME} type veth peer name far",
                    f"addr add {OWN}/30 dev {NAME}",
                    f"link set {NAME} up",
                    "link set far up",
                )
                await found.configure()
                assert [problem.code for problem in found.agent.problems()] == ["memberships_lost"]
                await found.until(GROUP, DesiredGroup())
                one.close()
            with joined(GROUP):
                await found.until(GROUP, ANY)
                assert not list(found.agent.problems())

    namespace.run(main)


def set_at(event: asyncio.Event, group: IPv4Address, _name: str, changed: Sequence[IPv4Address]) -> None:
    if group in changed:
        event.set()


def test_netlink_alone_tells_of_a_join_and_of_a_leave(namespace: Namespace) -> None:
    """Long before everything is read again, which is every half minute."""

    async def main() -> None:
        if tuple(map(int, re.findall(r"\d+", platform.release())[:2])) < NETLINK_SINCE:
            with pytest.raises(HostError, match="no notifications of joined groups"):
                multicast_addresses.changes(lambda: None)
            return
        async with following(NETLINK_ALONE) as found:
            with joined(GROUP):
                await found.until(GROUP, DesiredGroup(any_source=True))
            await found.until(GROUP, DesiredGroup())
            source = IPv4Address("10.0.0.1")
            with joined(GROUP + 1, str(source)):
                await found.until(GROUP + 1, DesiredGroup(sources=frozenset({source})))

    namespace.run(main)


def test_a_join_is_wanted_within_milliseconds(namespace: Namespace, kernel: Kernel) -> None:
    async def main() -> float:
        took: list[float] = []
        async with following(kernel) as found:
            for number in range(20):
                await asyncio.sleep(0.05)
                arrived, group = asyncio.Event(), GROUP + number

                found.wanted.listen(partial(set_at, arrived, group))
                began = time.monotonic()
                with joined(group):
                    await arrived.wait()
                    took.append(time.monotonic() - began)
        return median(took)

    assert namespace.run(main) < 0.02
