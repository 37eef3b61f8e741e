"""The streams agent with real nftables, in namespaces: what the kernel counts, and what outlives a process."""

import asyncio
import contextlib
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from mcastd.config.model import Config
from mcastd.errors import HostError
from mcastd.history import History
from mcastd.stream_status import StreamCount, StreamsReport
from mcastd.streams.agent import StreamsAgent
from mcastd.streams.desired import StreamsDesired
from mcastd.streams.table import NAME, SET
from mcastd.system import counters, log, memberships
from mcastd.system import nft as nftables
from mcastd.system.ledger import Ledger
from tests.firewall.test_rules import child, config, tunnel
from tests.loops import looping
from tests.namespaces import Namespace, join, until

pytestmark = pytest.mark.root

GROUP, LINK_LOCAL = "239.1.1.1", "224.0.0.13"
CONFIG = config(child(), tunnels=(tunnel(name="veth0"),))
DROP = """
table ip theirs {
    chain early { type filter hook prerouting priority raw; policy drop; }
}
"""

LOSSY = """
table ip theirs {
    chain early {
        type filter hook prerouting priority raw; policy accept;
        ip daddr 239.1.1.1 numgen inc mod 10 == 0 drop
    }
}
"""


@pytest.fixture
def cable(namespace: Callable[[], Namespace]) -> tuple[Namespace, Namespace]:
    """This host, whose cable is the tunnel, and the other end."""
    host, other = namespace(), namespace()
    join(host, "10.44.4.6/30", other, "10.44.4.5/30")
    other.ip("route", "add", "224.0.0.0/4", "dev", "veth0")
    return host, other


def nft(namespace: Namespace, *words: str, text: str = "") -> str:
    argv = ("ip", "netns", "exec", namespace.name, "nft", *words)
    return subprocess.run(argv, input=text, check=True, capture_output=True, text=True).stdout


def send(namespace: Namespace, *groups: str, packets: int = 1, port: int = 5000) -> None:
    def sending() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(packets):
                for group in groups:
                    sock.sendto(b"x" * 20, (group, port))

    namespace.call(sending)


class Running:
    """A running agent."""

    def __init__(self, folder: Path) -> None:
        self.changes = 0
        self.agent = StreamsAgent(
            nftables=nftables,
            counters=counters,
            memberships=memberships.joined,
            ledger=Ledger(folder / "ledger.json"),
            history=History(log.get_logger()),
            log=log.get_logger(),
            on_change=self._changed,
        )

    def _changed(self) -> None:
        self.changes += 1

    async def want(self, desired: Config) -> None:
        self.agent.configure(
            StreamsDesired(desired, {"c": 1}, {"veth0": 1}, lambda *place: place[2] == IPv4Address(GROUP))
        )
        await self.agent.settled()

    async def report(self) -> tuple[StreamsReport, list[list[StreamCount]]]:
        """What arrived, compared with what was passed on."""
        report, parts = await self.agent.report(IPv4Address(GROUP), None)
        return report, list(parts)

    async def row(self) -> str | None:
        await self.agent.refresh()
        return self.agent.status(time.monotonic()).groups.get(("veth0", None, GROUP))


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    """An agent whose loop runs; it is not closed, as in a crash."""
    host = Running(folder)
    async with looping(host.agent.run()):
        yield host


def test_what_arrives_counts_also_where_another_table_drops_it(
    cable: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    host, other = cable
    nft(host, "-f", "-", text=DROP)

    async def scenario() -> None:
        async with running(tmp_path) as one:
            await one.want(CONFIG)
            assert await one.row() is None
            send(other, GROUP, LINK_LOCAL, packets=3)
            await until(lambda: "packets 3" in nft(host, "list", "counter", "ip", NAME, "tunnel-veth0"), "counted")
            assert await one.row() == "arriving"
            assert one.agent.has_arrived("veth0", IPv4Address("10.44.4.5"), IPv4Address(GROUP))
            assert LINK_LOCAL not in nft(host, "list", "set", "ip", NAME, SET)
            await one.agent.close()
            assert NAME not in nft(host, "list", "tables")

    host.run(scenario)


def test_silence_of_all_streams_is_found_in_what_the_kernel_says(
    cable: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    host, other = cable

    async def scenario() -> None:
        async with running(tmp_path) as one:
            await one.want(CONFIG)
            end = time.monotonic() + 9.0
            while time.monotonic() < end:
                send(other, GROUP, packets=10)
                await asyncio.sleep(0.05)
            assert list(one.agent.problems()) == []
            await until(lambda: [problem.code for problem in one.agent.problems()] == ["all_silent"], "all_silent")
            assert time.monotonic() - end > 2.9
            assert one.agent.arrivals()["veth0"].silences == 1
            send(other, GROUP, packets=10)
            await until(lambda: not list(one.agent.problems()), "it arrives again")

    host.run(scenario)


def test_the_counts_survive_another_process_and_another_configuration(
    cable: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    host, other = cable
    both = config(child(), tunnels=(tunnel(name="veth0"), tunnel(name="gre2", remote=IPv4Address("10.44.7.2"))))

    async def scenario() -> None:
        async with running(tmp_path) as one:
            await one.want(CONFIG)
            send(other, GROUP, packets=5)
        async with running(tmp_path) as one:
            for desired in (CONFIG, both, CONFIG):
                await one.want(desired)
                assert (await counters.counters(NAME))["tunnel-veth0"] == 5
                assert ("tunnel-gre2" in await counters.counters(NAME)) is (desired is both)
                assert await one.row() == "arriving"
            nft(host, "flush", "chain", "ip", NAME, "arriving")
            await until(lambda: "tunnel-veth0" in nft(host, "list", "chain", "ip", NAME, "arriving"), "restored")
            assert (await counters.counters(NAME))["tunnel-veth0"] == 5
            nft(host, "delete", "table", "ip", NAME)
            await until(lambda: NAME in nft(host, "list", "tables"), "restored")
            await one.agent.close()
            assert NAME not in nft(host, "list", "tables")

    host.run(scenario)


def test_counting_since_outlives_a_process_and_a_reset_begins_again(
    cable: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    host, other = cable

    async def counted(one: Running) -> tuple[float, list[tuple[int, int, float | None]]]:
        report, parts = await one.agent.report(IPv4Address(GROUP), None)
        assert report.period is not None
        return report.period, [(count.packets, count.bytes, count.age) for part in parts for count in part]

    async def scenario() -> None:
        async with running(tmp_path) as one:
            await one.want(CONFIG)
            send(other, GROUP, packets=5)
            began = time.monotonic()
            period, [(packets, size, age)] = await counted(one)
            assert (packets, size) == (5, 5 * 48)
            assert period < 2.0
            assert age is not None
        await asyncio.sleep(1.0)
        async with running(tmp_path) as one:
            for desired in (CONFIG, config(child(), tunnels=(tunnel(name="veth0"), tunnel(name="gre2")))):
                await one.want(desired)
                period, streams = await counted(one)
                assert period >= time.monotonic() - began
                assert streams == [(5, 5 * 48, None)]
            await one.agent.reset()
            send(other, GROUP, packets=2)
            period, streams = await counted(one)
            assert period < 1.0
            assert [count[:2] for count in streams] == [(2, 2 * 48)]
            await asyncio.sleep(1.5)
            assert one.changes < 5

    host.run(scenario)


def test_what_a_firewall_of_this_host_drops_is_counted_exactly(
    cable: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    host, other = cable
    nft(host, "-f", "-", text=LOSSY)

    async def scenario() -> None:
        async with running(tmp_path) as one:
            await one.want(CONFIG)
            send(other, GROUP, packets=50)
            await one.report()
            with listening():
                for _ in range(6):
                    send(other, GROUP, packets=200)
                    await asyncio.sleep(0.2)
                    await one.report()
                _, parts = await one.report()
                [stream] = [count for part in parts for count in part]
            [local] = stream.destinations
            assert (local.interface, stream.packets, local.packets) == (None, 1250, 1200 - 120)
            assert stream.dropped == local.dropped
            assert 3 * 20 <= local.dropped <= 5 * 20, "not those around the first reading and the last"

    host.run(scenario)


def listening(port: int = 5000, buffer: int = 1 << 18) -> socket.socket:
    """An application that has joined and does not read."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.bind(("", port))
    request = IPv4Address(GROUP).packed + IPv4Address("10.44.4.6").packed
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    return sock


@pytest.mark.parametrize("cause", ["socket", "firewall", "rp_filter", "none"])
def test_what_lost_the_packets_is_told_apart(cable: tuple[Namespace, Namespace], tmp_path: Path, cause: str) -> None:
    host, other = cable
    if cause == "firewall":
        nft(host, "-f", "-", text=LOSSY)
    if cause == "rp_filter":
        host.call(lambda: Path("/proc/sys/net/ipv4/conf/veth0/rp_filter").write_text("1"))
        other.ip("address", "add", "10.9.9.9/32", "dev", "veth0")
        other.ip("route", "replace", "224.0.0.0/4", "dev", "veth0", "src", "10.9.9.9")

    async def scenario() -> None:
        async with running(tmp_path) as one:
            await one.want(CONFIG)
            with listening(buffer=4096 if cause == "socket" else 1 << 18):
                for _ in range(6):
                    await one.report()
                    send(other, GROUP, packets=20)
                    await asyncio.sleep(0.1)
                report, parts = await one.report()
                assert [count.packets for part in parts for count in part] == [120]
            found = [(one.stage, one.packets, one.text) for one in report.losses if one.worst]
            [sock] = report.sockets
            assert (sock.port, sock.uid) == (5000, os.getuid())
            match cause:
                case "socket":
                    assert found[0][:2] == ("socket", sock.dropped)
                    assert sock.dropped > 100
                case "firewall":
                    assert found[0][:2] == ("host", 6)
                case "rp_filter":
                    assert found == [("host", 120, "all: the reverse path filter")]
                case "none":
                    assert found == []

    host.run(scenario)


def test_a_table_of_that_name_that_is_not_ours_stays_and_the_interface_is_read(
    cable: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    host, other = cable
    nft(host, "add", "table", "ip", NAME)

    async def scenario() -> None:
        async with running(tmp_path) as one:
            await one.want(CONFIG)
            problem = one.agent.status(0.0).problem
            assert problem is not None
            assert "mcastd did not make it" in problem
            before = (await counters.received(["veth0", "nope"]))["veth0"]
            send(other, GROUP, packets=5)
            await asyncio.sleep(0.1)
            assert (await counters.received(["veth0"]))["veth0"] >= before + 5
            await one.agent.close()
            assert NAME in nft(host, "list", "tables")

    host.run(scenario)


def test_ten_thousand_streams_are_read_in_parts(cable: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    host, other = cable
    groups = [f"239.2.{n // 250}.{n % 250}" for n in range(10_000)]

    async def scenario() -> None:
        async with running(tmp_path) as one:
            await one.want(CONFIG)
            for start in range(0, len(groups), 500):
                send(other, *groups[start : start + 500])
                await asyncio.sleep(0.01)
            parts = [part async for part in counters.elements(NAME, SET)]
            assert sum(map(len, parts)) > 9000
            assert max(map(len, parts)) <= 400
            await one.agent.refresh()
            await until(lambda: len(one.agent.status(time.monotonic()).groups) > 18000, "read")
            _, counts = await one.agent.report(None, 600.0)
            assert sum(map(len, counts)) > 9000

    host.run(scenario)


def test_what_cannot_be_read_is_a_host_error(namespace: Callable[[], Namespace]) -> None:
    async def scenario() -> None:
        assert await counters.counters(NAME) == {}
        with pytest.raises(HostError, match="nftables: No such file or directory"):
            async for _ in counters.elements(NAME, SET):
                pass

    namespace().run(scenario)
