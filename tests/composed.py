"""All agents of the daemon on one host in memory, in virtual time and without root."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from random import Random
from typing import cast

from mcastd.adapters import System
from mcastd.composition import Composition
from mcastd.config.load import load
from mcastd.config.model import Config
from mcastd.ipsec.messages import PeerWithKey
from mcastd.keepalive.packet import Endpoints
from mcastd.pim.packet import Hello, encode_hello
from mcastd.system.ledger import Ledger
from tests.fakes.applications import FakeApplications
from tests.fakes.charon import FakeCharon
from tests.fakes.clock import until
from tests.fakes.conntrack import FakeConntrack
from tests.fakes.esp import FakeEspSockets
from tests.fakes.gre_socket import FakeGreSocket
from tests.fakes.igmp_transport import FakeSegments
from tests.fakes.kernel import FakeKernel
from tests.fakes.membership_sockets import FakeMemberships
from tests.fakes.memory import MemoryLedger, MemoryLog
from tests.fakes.meter import FakeBpf, FakeIngress
from tests.fakes.mroute import FakeMulticast
from tests.fakes.netlink import FakeNetlink
from tests.fakes.nftables import FakeNftables
from tests.fakes.pim_transport import FakeHost, FakeTransport
from tests.fakes.service_manager import FakeServiceManager
from tests.fakes.streams import FakeStreams
from tests.fakes.vxlan import FakeVxlan
from tests.simulator.world import joins

ARTICLE = load(Path(__file__).parents[1] / "etc" / "mcastd.toml", check_files=False).config
ROUTER = IPv4Address("10.44.4.5")


class Host:
    """The host, charon and the network, which outlive a process."""

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        for peer in ARTICLE.peers:
            self.kernel.add_address("eth0", (IPv4Interface((peer.local, 24)), None))
        self.netlink = FakeNetlink(self.kernel)
        self.nft = FakeNftables()
        self.conntrack = FakeConntrack()
        self.streams = FakeStreams(self.nft)
        for group in ARTICLE.groups:
            self.streams.arrives(str(group.group))
        for child in ARTICLE.peers[0].children:
            self.streams.decrypts(child.name)
        self.bpf, self.ingress = FakeBpf(), FakeIngress()
        self.applications = FakeApplications()  # what they have joined, as the kernel knows it
        self.memberships: dict[str, frozenset[IPv4Address]] = {}  # what applications have joined
        self.charon = FakeCharon()
        self.esp = FakeEspSockets()
        self.manager = FakeServiceManager()
        self.ledger = MemoryLedger()
        self.ledger_file: Ledger | None = None  # what the next process reads instead
        self.log = MemoryLog()
        self.keepalives: list[FakeGreSocket] = []
        self.pim = FakeHost()
        self.segments = FakeSegments()
        self.memberships_of_sockets = FakeMemberships()
        self.multicast = FakeMulticast()
        self.vxlan = FakeVxlan()

    def system(self) -> System:
        """What the next process uses of it."""
        self.netlink = FakeNetlink(self.kernel)
        first = [self.netlink]  # of the tunnel agent
        read, self.ledger_file = self.ledger_file, None
        self.ledger = MemoryLedger(self.ledger.copy()) if read is None else MemoryLedger.of(read)
        return System(
            ledger=lambda _: self.ledger,
            store=lambda _: self.manager.store(),
            sysctls=self.kernel.sysctls,
            nftables=self.nft,
            conntrack=self.conntrack,
            counters=self.streams,
            bpf=self.bpf,
            ingress=self.ingress,
            memberships=self._memberships,
            multicast_addresses=self.applications,
            charon=lambda _: self.charon,
            esp_sockets=self.esp,
            netlink=lambda: first.pop() if first else FakeNetlink(self.kernel),
            gre_devices=self.kernel.devices,
            vxlan=self.vxlan,
            open_keepalive=self._open_keepalive,
            open_pim=self.pim.open,
            downstream_links=lambda: FakeNetlink(self.kernel),
            open_igmp=self.segments.open,
            open_pim_over_gre=self.pim.open_over_gre,
            open_membership_socket=self.memberships_of_sockets.open,
            open_mroute=self.multicast.open,
            multicast=self.multicast,
        )

    @property
    def guarded(self) -> set[str]:
        """The far endpoints that the table guards."""
        counters = self.nft.tables["mcastd"].counts if "mcastd" in self.nft.tables else {}
        return {name.removeprefix("leak-out-") for name in counters if name.startswith("leak-out-")}

    @property
    def router(self) -> FakeTransport:
        """The other end of the last interface that PIM has been opened on."""
        return self.pim.opened[-1]

    def hello(self) -> None:
        """The router at the other end says that it is there."""
        self.router.message(ROUTER, encode_hello(Hello(holdtime=105, generation_id=1)))

    def is_empty(self) -> bool:
        """Whether nothing of mcastd is left on the host."""
        return (
            self.kernel.names() == {"lo", "eth0"}
            and not self.kernel.loopback()
            and not self.nft.tables
            and not self.charon.conns
            and not self.charon.sas
            and not self.ledger.copy()
            and not self.manager.kept
        )

    def close(self) -> None:
        self.multicast.crash()
        self.multicast.close()
        self.esp.close()
        self.manager.close()
        self.kernel.close()
        for sock in self.keepalives:
            sock.close()

    async def _memberships(self) -> dict[str, frozenset[IPv4Address]]:
        return self.memberships

    def _open_keepalive(self, ends: Endpoints) -> socket.socket:
        self.keepalives.append(FakeGreSocket(ends))
        return cast("socket.socket", self.keepalives[-1])


class Process:
    """All agents, and the reconcile loop of the daemon."""

    def __init__(self, host: Host, config: Config = ARTICLE) -> None:
        self.host = host
        self._changed = asyncio.Event()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._leaves_standing = False
        self.agents = Composition(config, self._changed.set, host.log.logger, Random(1), host.system())

    async def run(self) -> None:
        """What ``Daemon.run`` does with the agents."""
        self.agents.expect(peers(self.agents.config))
        await self.agents.tunnels.inherit(self.agents.config)
        async with asyncio.TaskGroup() as group:
            await self.agents.start(group)
            reconciling = group.create_task(self.reconcile())
            await self._stop.wait()
            reconciling.cancel()
            if self._leaves_standing:
                self.agents.leave_standing()
            else:
                await self.agents.close()

    async def reconcile(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            self.agents.configure()

    def start(self) -> None:
        self._task = asyncio.create_task(self.run())

    async def end(self, *, leaves_standing: bool = False) -> None:
        """SIGTERM, or what leaves everything standing for the next process."""
        if self._task is None:
            return
        task, self._task = self._task, None
        self._leaves_standing = leaves_standing
        self._stop.set()
        await task
        for pump in self.agents.tunnels.pumps.values():
            pump.close()
        if leaves_standing:
            self.host.multicast.crash()
            self.host.memberships_of_sockets.crash()

    def nudge(self) -> None:
        """What an agent does after a change: harmless whenever it comes."""
        self._changed.set()

    async def apply(self, config: Config) -> None:
        """Reload."""
        await self.agents.apply(config, peers(config))

    def problems(self) -> list[str]:
        return [problem.text for problem in self.agents.problems()]

    def joined(self) -> bool:
        """Whether every group is."""
        return all(row.state == "joined" for row in joins(self.agents.pim, self.agents.wanted))

    def is_up(self) -> bool:
        """Whether every tunnel is up and nothing is wrong."""
        links, config = self.agents.tunnels.links(), self.agents.config
        return links.keys() == {tunnel.name for tunnel in config.tunnels} and not self.problems()

    async def up(self) -> float:
        """Wait until all is up; returns how many seconds it took."""
        return await until(self.is_up, "all is up")


def peers(config: Config) -> tuple[PeerWithKey, ...]:
    return tuple(PeerWithKey(peer, b"a key", None) for peer in config.peers)


@contextlib.asynccontextmanager
async def running(config: Config = ARTICLE, host: Host | None = None) -> AsyncIterator[Process]:
    """A process whose agents run; in the end it leaves everything standing."""
    process = Process(host or Host(), config)
    process.start()
    try:
        yield process
    finally:
        try:
            await process.end(leaves_standing=True)
        finally:
            if host is None:
                process.host.close()
