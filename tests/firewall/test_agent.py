"""The firewall agent with real nftables, in a namespace."""

import asyncio
import contextlib
import json
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from mcastd.config.model import Config, Pim
from mcastd.firewall.agent import FirewallAgent
from mcastd.firewall.rules import FirewallDesired
from mcastd.history import History
from mcastd.net import bpf
from mcastd.net.gre import GreOptions
from mcastd.system import conntrack, log, sockets, sysctl
from mcastd.system import nft as nftables
from mcastd.system.ledger import Ledger
from tests.firewall.test_rules import child, config, tunnel
from tests.loops import looping
from tests.namespaces import DEADLINE, Namespace, join, until

pytestmark = pytest.mark.root

LOCAL, REMOTE = "10.44.6.1", "10.44.7.1"
GUARDED = config(child(), tunnels=(tunnel(),))
OPEN = config(child(), tunnels=(tunnel(),), guard=False)
THEIRS = """
table ip theirs {
    chain input {
        type filter hook input priority 0
        counter
    }
}
table inet mcastd {
    counter others { }
}
table ip6 mcastd {
    counter others { }
}
"""


@pytest.fixture
def host(namespace: Callable[[], Namespace]) -> Namespace:
    return namespace()


@pytest.fixture
def cable(namespace: Callable[[], Namespace]) -> tuple[Namespace, Namespace]:
    """A host with the local GRE endpoint, and what is at the other end of its cable, with the remote one."""
    host, other = namespace(), namespace()
    join(host, f"{LOCAL}/32", other, f"{REMOTE}/32")
    host.ip("route", "add", REMOTE, "dev", "veth0")
    other.ip("route", "add", LOCAL, "dev", "veth0")
    return host, other


def nft(namespace: Namespace, *words: str, text: str = "") -> str:
    argv = ("ip", "netns", "exec", namespace.name, "nft", *words)
    return subprocess.run(argv, input=text, check=True, capture_output=True, text=True).stdout


def ours(namespace: Namespace) -> dict[str, Any] | None:
    """Our table by its handle, which a table made anew does not keep, and its rules; None where there is none."""
    found = json.loads(nft(namespace, "-j", "list", "ruleset", "ip"))["nftables"]
    tables = [entry["table"] for entry in found if entry.get("table", {}).get("name") == "mcastd"]
    rules = [entry["rule"]["expr"] for entry in found if entry.get("rule", {}).get("table") == "mcastd"]
    return {"handle": tables[0]["handle"], "rules": rules} if tables else None


class Running:
    """A running agent."""

    def __init__(self, folder: Path) -> None:
        self.changes = 0
        self.agent = FirewallAgent(
            nftables=nftables,
            conntrack=conntrack,
            sysctls=sysctl,
            ledger=Ledger(folder / "ledger.json"),
            history=History(log.get_logger()),
            log=log.get_logger(),
            on_change=self._changed,
        )

    def _changed(self) -> None:
        self.changes += 1

    async def want(self, wanted: Config, leaving: Config | None = None) -> None:
        """Configure, and wait until it is carried out."""
        self.agent.configure(FirewallDesired(wanted, leaving))
        async with asyncio.timeout(DEADLINE):
            await self.agent.settled()


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    """An agent whose loop runs; it is not closed, as in a crash."""
    made = Running(folder)
    async with looping(made.agent.run()):
        yield made


def test_the_table_comes_and_goes_and_others_are_not_touched(host: Namespace, tmp_path: Path) -> None:
    nft(host, "-f", "-", text=THEIRS)
    before = nft(host, "list", "ruleset")

    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(GUARDED)
            assert run.agent.status(0.0).in_place
            await run.want(OPEN)
            assert run.agent.in_place
            await run.want(GUARDED)
            found = ours(host)
            assert found is not None
            assert len(found["rules"]) == 9
            await run.want(config())
            assert ours(host) is None
            assert nft(host, "list", "ruleset") == before
            await run.want(GUARDED)
            assert ours(host) is not None
        await run.agent.close()
        assert nft(host, "list", "ruleset") == before
        assert not (tmp_path / "ledger.json").exists()
        await run.agent.close()

    host.run(main)


@pytest.mark.parametrize(
    "damage",
    [
        "flush ruleset",
        "delete table ip mcastd",
        "flush chain ip mcastd leaving",
        "insert rule ip mcastd leaving accept",
        "add chain ip mcastd more",
        "delete table ip mcastd; add table ip mcastd",
    ],
)
def test_what_others_do_to_it_is_noticed_and_repaired(host: Namespace, tmp_path: Path, damage: str) -> None:
    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(GUARDED)
            before = ours(host)
            assert before is not None
            nft(host, damage)
            await until(lambda: run.agent.status(0.0).repairs, "a repair")
            after = ours(host)
            assert after is not None
            assert after["rules"] == before["rules"]
            assert after["handle"] != before["handle"]
            assert run.agent.status(0.0).in_place
            assert run.agent.status(0.0).problem is None
            # The repair is a change of the table as well: it is none to repair.
            await run.want(GUARDED)
            assert ours(host) == after
            assert run.agent.status(0.0).repairs == 1

    host.run(main)


def test_what_nft_refuses_leaves_the_old_table_and_is_told(host: Namespace, tmp_path: Path) -> None:
    refused = config(child(mode="interface", interface="longer-than-a-name"), tunnels=(tunnel(),))

    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(GUARDED)
            before = ours(host)
            await run.want(refused)
            assert (run.agent.status(0.0).problem or "").startswith("nft: ")
            assert not run.agent.in_place
            assert ours(host) == before

    host.run(main)


@pytest.fixture
def senders(cable: tuple[Namespace, Namespace]) -> Iterator[list[socket.socket]]:
    """Every kind of socket that sends GRE: the kernel writes the IP header, or the program does (IP_HDRINCL)."""

    def make() -> list[socket.socket]:
        made = [socket.socket(socket.AF_INET, socket.SOCK_RAW, one) for one in (socket.IPPROTO_GRE, socket.IPPROTO_RAW)]
        made.append(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_GRE))
        made[2].setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
        return made

    made = cable[0].call(make)
    yield made
    for one in made:
        one.close()


HEADER = bytes.fromhex("4500001c00000000402f0000") + socket.inet_aton(LOCAL) + socket.inet_aton(REMOTE)
GRE = bytes.fromhex("0000080000000000")


def send(senders: list[socket.socket]) -> None:
    """One GRE packet in the clear from each kind of socket, if the host lets it."""
    for one, packet in zip(senders, (GRE, HEADER + GRE, HEADER + GRE), strict=True):
        with contextlib.suppress(PermissionError):
            one.sendto(packet, (REMOTE, 0))


def heard(sock: socket.socket) -> int:
    """How many packets a socket has received by now."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while sock.recv(2048):
            count += 1
    return count


@pytest.mark.parametrize("guard", [True, False])
def test_nothing_leaks_through_changes_of_the_table(
    cable: tuple[Namespace, Namespace], senders: list[socket.socket], tmp_path: Path, guard: bool
) -> None:
    """With the guard off the same packets are seen."""
    host, other = cable
    wire = other.call(lambda: sockets.packets_on("veth0", bpf.accept_protocol(socket.IPPROTO_GRE)))
    first = config(child(), tunnels=(tunnel(),), guard=guard)
    second = config(child(mss=1200), tunnels=(tunnel(),), guard=guard)
    sent = 0

    async def main() -> None:
        nonlocal sent
        async with running(tmp_path) as run:
            await run.want(first)
            for wanted in (second, first) * 10:
                change = asyncio.create_task(run.want(wanted))
                while not change.done():
                    send(senders)
                    sent += 3
                    await asyncio.sleep(0)
                await change
            await run.agent.refresh()
            assert (run.agent.status(0.0).leaks_out > 0) is guard

    with wire:
        host.run(main)
        assert sent > 60
        assert (heard(wire) == 0) is guard


@pytest.mark.parametrize("guard", [True, False])
def test_gre_that_nobody_decrypted_does_not_arrive(
    cable: tuple[Namespace, Namespace], tmp_path: Path, guard: bool
) -> None:
    """With the guard off the same packet is received."""
    host, other = cable
    receiver = host.call(lambda: sockets.raw_gre(IPv4Address(LOCAL), IPv4Address(REMOTE), 255, None))
    wire = host.call(lambda: sockets.packets_on("veth0", bpf.accept_protocol(socket.IPPROTO_GRE)))
    sender = other.call(lambda: sockets.raw_gre(IPv4Address(REMOTE), IPv4Address(LOCAL), 255, None))

    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(config(child(), tunnels=(tunnel(),), guard=guard))
            for _ in range(5):
                sender.send(GRE)
            await until(lambda: wire.recv(2048, socket.MSG_PEEK), "the packets at the host's door")
            await run.agent.refresh()
            assert run.agent.status(0.0).leaks_in == (5 if guard else 0)
            assert heard(receiver) == (0 if guard else 5)
            nft(host, "flush ruleset")
            await until(lambda: not guard or run.agent.status(0.0).repairs, "a repair")
            await run.agent.refresh()
            # A new table goes on counting where the old one was.
            assert run.agent.status(0.0).leaks_in == (5 if guard else 0)

    with receiver, wire, sender:
        host.run(main)


# Key, checksum, sequence number: whether they are there moves what is inside.
@pytest.mark.parametrize("words", [(None, False, False), (40, False, False), (None, True, False), (40, True, True)])
def test_igmp_in_gre_is_kept_and_nothing_else_of_it(
    cable: tuple[Namespace, Namespace], tmp_path: Path, words: tuple[int | None, bool, bool]
) -> None:
    host, other = cable
    key, checksum, sequence = words
    quiet = tunnel(child=None, gre=GreOptions(key, checksum, sequence), pim=Pim())
    header = quiet.gre.feed_header
    sender = host.call(lambda: sockets.raw_gre(IPv4Address(LOCAL), IPv4Address(REMOTE), 255, None))
    receiver = other.call(lambda: sockets.raw_gre(IPv4Address(REMOTE), IPv4Address(LOCAL), 255, None))

    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(config(tunnels=(quiet,)))
            for protocol in (socket.IPPROTO_IGMP, socket.IPPROTO_UDP):
                inner = bytes.fromhex("46c0002000000000") + bytes((1, protocol)) + bytes(22)
                with contextlib.suppress(PermissionError):
                    sender.send(header.encode(inner))
            await until(lambda: receiver.recv(2048, socket.MSG_PEEK), "the other packet")
            assert receiver.recv(2048)[20 + header.length + 9] == socket.IPPROTO_UDP
            await run.agent.refresh()
            assert run.agent.status(0.0).igmp_kept == 1
            assert run.agent.status(0.0).leaks_out == 0

    with sender, receiver:
        host.run(main)


def test_snat_and_the_guard_behind_it_count_by_packets(namespace: Callable[[], Namespace], tmp_path: Path) -> None:
    """The cable stands for ESP in user space, into which the guard lets what SNAT has translated."""
    host, other = namespace(), namespace()
    join(host, "192.0.2.1/24", other, "192.0.2.2/24")
    host.batch("link set veth0 down", "link set veth0 name ipsec0", "link set ipsec0 up")
    host.ip("addr", "add", "10.45.8.17/32", "dev", "lo")
    other.ip("route", "add", "10.45.8.16/28", "via", "192.0.2.1")
    natted = child(
        local_ts=IPv4Network("10.45.8.16/28"), remote_ts=IPv4Network("192.0.2.2/32"), snat=IPv4Address("10.45.8.17")
    )

    def open_server() -> socket.socket:
        made = socket.create_server(("192.0.2.2", 5000))
        made.settimeout(DEADLINE)
        return made

    server = other.call(open_server)

    def connect() -> socket.socket:
        return socket.create_connection(("192.0.2.2", 5000), DEADLINE, ("192.0.2.1", 0))

    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(config(natted))
            with await asyncio.to_thread(connect) as client:
                accepted, address = server.accept()
                with accepted:
                    assert address[0] == "10.45.8.17"
                    # Both sides' SYN say what fits: 1500 - 40 is more than the child carries.
                    for end in (client, accepted):
                        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 1382
            await run.agent.refresh()
            assert run.agent.status(0.0).snat_packets >= 3
            assert run.agent.status(0.0).mss_clamped == 2
            assert run.agent.status(0.0).leaks_by_child == {"c": 0}

    with server:
        host.run(main)
