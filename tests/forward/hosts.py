"""A host with tunnels and machines behind it, in memory: what outlives the process, and a process with its agent."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

from mcastd.config.downstream import Forward
from mcastd.forward.agent import ForwardAgent
from mcastd.forward.desired import ForwardDesired, ForwardTunnel
from mcastd.history import History
from mcastd.membership import DesiredGroup
from mcastd.wanted import HOSTS, Wanted
from tests.fakes.clock import until
from tests.fakes.memory import MemoryLog
from tests.fakes.mroute import FakeMulticast
from tests.fakes.service_manager import FakeServiceManager
from tests.loops import looping

GROUP, OTHER = IPv4Address("239.1.1.1"), IPv4Address("239.1.1.2")
SOURCE = IPv4Address("10.0.0.1")
ANY_SOURCE, NOTHING = DesiredGroup(any_source=True), DesiredGroup()


def only(*sources: IPv4Address) -> DesiredGroup:
    return DesiredGroup(sources=frozenset(sources))


def behind(name: str = "eth1", *tunnels: str, **values: object) -> Forward:
    return Forward(name=name, from_=tunnels or ("gre1",), **values)  # type: ignore[arg-type]  # of the values


class Host:
    """The kernel and the service manager."""

    def __init__(self, *names: str) -> None:
        self.kernel = FakeMulticast(*(names or ("gre1", "gre2", "eth1", "eth2")))
        self.manager = FakeServiceManager()
        self.log = MemoryLog()

    def close(self) -> None:
        self.manager.close()
        self.kernel.close()


class Process:
    """A process of the daemon: the agent, and what is desired."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.kernel = host.kernel
        self.wanted, self.downstream = (Wanted(time.monotonic) for _ in range(2))
        self.history = History(host.log.logger)
        self.changes = 0
        self.agent = ForwardAgent(
            open_socket=host.kernel.open,
            routing=host.kernel,
            store=host.manager.store(),
            wanted=self.wanted,
            downstream=self.downstream,
            history=self.history,
            log=host.log.logger,
            on_change=self._changed,
        )

    def _changed(self) -> None:
        self.changes += 1

    async def configure(
        self, *interfaces: Forward, others: frozenset[str] = frozenset(), asking: frozenset[str] = frozenset()
    ) -> None:
        """On every link that is not one of ``others`` this host is the querier."""
        queriers = frozenset(one.name for one in interfaces) - others
        links = self.kernel.links
        tunnels = {name: ForwardTunnel(index) for name, index in links.items() if name.startswith("gre")}
        self.agent.configure(ForwardDesired(interfaces, tunnels, queriers, others, asking))
        async with asyncio.timeout(60.0):
            await self.agent.settled()

    def want(self, desired: DesiredGroup = ANY_SOURCE, name: str = "eth1", group: IPv4Address = GROUP) -> None:
        self.downstream.set_group(name, group, HOSTS, desired)

    async def planned(self) -> None:
        async with asyncio.timeout(60.0):
            await self.agent.settled()

    def sent(self, source: IPv4Address = SOURCE, group: IPv4Address = GROUP, by: str = "gre1") -> list[str]:
        """The interfaces to which a packet is forwarded."""
        return self.kernel.packet(str(source), str(group), by)

    def upstream(self, tunnel: str = "gre1", group: IPv4Address = GROUP) -> DesiredGroup:
        return self.wanted.of(tunnel).desired(group)

    def codes(self) -> set[str]:
        return {problem.code for problem in self.agent.problems()}

    async def until(self, code: str | None) -> float:
        """Wait until exactly this problem is there, or none."""
        return await until(lambda: self.codes() == ({code} if code else set()), str(code))


@asynccontextmanager
async def running(host: Host | None = None) -> AsyncIterator[Process]:
    """A process, which ends as in a crash."""
    on = host or Host()
    process = Process(on)
    try:
        async with looping(process.agent.run()):
            yield process
    finally:
        on.kernel.crash()
        if host is None:
            on.close()
