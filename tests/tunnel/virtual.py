"""The tunnel agent on a kernel in memory, in virtual time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from mcastd.config.model import Child, Config, Daemon, Datapath, Group, Peer, Tunnel
from mcastd.config.proposals import Esp
from mcastd.history import History
from mcastd.status import TunnelStatus
from mcastd.tunnel.agent import TunnelAgent
from mcastd.tunnel.desired import LinkView, TunnelsDesired
from mcastd.tunnel.mtu import Carrier
from mcastd.tunnel.userspace import Pump
from tests.fakes.clock import until
from tests.fakes.kernel import FakeKernel, FakeLink
from tests.fakes.memory import MemoryLedger, MemoryLog
from tests.fakes.netlink import FakeNetlink
from tests.fakes.service_manager import FakeServiceManager
from tests.tunnel.agents import CHILD, UP

PEER = IPv4Address("192.0.2.2")
ESP = Esp(iv=16, block=16, icv=16)


class Host:
    """A host, on which one process of mcastd follows another."""

    def __init__(self, *, gre: bool = True, xfrm: bool = True) -> None:
        self.kernel = FakeKernel()
        self.kernel.unsupported = {kind for kind, present in (("gre", gre), ("xfrm", xfrm)) if not present}
        self.manager = FakeServiceManager()
        self.ledger = MemoryLedger()
        self.log = MemoryLog()
        self.changes = 0
        self._task: asyncio.Task[None] | None = None
        self._load()

    def _load(self) -> None:
        self.ledger = MemoryLedger(self.ledger.copy())
        self.netlink = FakeNetlink(self.kernel)
        self.history = History(self.log.logger)
        self.agent = TunnelAgent(
            netlink=self.netlink,
            sysctls=self.kernel.sysctls,
            devices=self.kernel.devices,
            ledger=self.ledger,
            store=self.manager.store(),
            history=self.history,
            log=self.log.logger,
            on_change=self._changed,
        )

    def _changed(self) -> None:
        self.changes += 1

    def start(self) -> None:
        self._task = asyncio.create_task(self.agent.run())

    async def end(self) -> None:
        """The loop ends; raises what it has raised."""
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def kill(self) -> None:
        """The process ends without a teardown: its descriptors are closed, but those that the service manager has."""
        await self.end()
        for pump in self.agent.pumps.values():
            pump.close()

    async def close(self) -> None:
        """The process ends with a teardown."""
        await self.end()
        await self.agent.close()

    async def next_process(self) -> None:
        """Another process, with the ledger's file and what the service manager has kept."""
        await self.kill()
        self._load()
        self.start()

    def configure(
        self,
        *tunnels: Tunnel,
        carrier: Carrier = UP,
        datapath: Datapath = "auto",
        groups: tuple[Group, ...] = (),
        peers: tuple[Peer, ...] = (),
        carriers: Mapping[str, Carrier] | None = None,
        heard: frozenset[str] = frozenset(),
    ) -> None:
        config = Config(daemon=Daemon(datapath=datapath), peers=peers, tunnels=tunnels, groups=groups)
        self.agent.configure(TunnelsDesired(config, {CHILD: carrier} | dict(carriers or {}), heard))

    async def want(self, *tunnels: Tunnel, **rest: Any) -> None:
        """Configure, and wait until it is applied."""
        self.configure(*tunnels, **rest)
        await self.agent.settled()

    async def quiet(self, seconds: float = 100.0) -> None:
        """Let time pass, with several periodic looks."""
        await asyncio.sleep(seconds)

    async def until(self, state: str, name: str = "gre1") -> float:
        return await until(lambda: self.status(name).state == state, f"{name} is {state}")

    def status(self, name: str = "gre1") -> TunnelStatus:
        return self.agent.status(0.0)[name]

    def view(self, name: str = "gre1") -> LinkView:
        return self.agent.links()[name]

    def link(self, name: str = "gre1") -> FakeLink:
        return self.kernel.links[name]

    def is_up(self, name: str = "gre1") -> bool:
        return name in self.kernel.links and self.link(name).up

    def pump(self, name: str = "gre1") -> Pump:
        return self.agent.pumps[name]

    def addresses(self, name: str = "gre1") -> list[str]:
        """Each with the far end, if it has one."""
        return [f"{own}" + (f" {peer}" if peer else "") for own, peer in self.link(name).addresses]

    def made(self) -> set[str]:
        """The links that mcastd has made."""
        return {link.name for link in self.kernel.links.values() if link.alias == "made by mcastd"}

    def codes(self) -> list[str]:
        return [problem.text for problem in self.agent.problems()]


@contextlib.asynccontextmanager
async def running(host: Host | None = None, **abilities: bool) -> AsyncIterator[Host]:
    """An agent whose loop runs; at the end nothing has been sent by IPv6, and no descriptor is left open."""
    host = host or Host(**abilities)
    host.start()
    try:
        yield host
        assert not any(link.solicited for link in host.kernel.links.values() if link.alias)
    finally:
        try:
            await host.kill()
        finally:
            host.manager.close()
            host.kernel.close()


def peers(*snat: str, **changes: Any) -> tuple[Peer, ...]:
    """A peer with the CHILD_SA of the tunnel, and one more for each address that SNAT puts on the loopback."""
    everywhere = IPv4Network("0.0.0.0/0")
    values: dict[str, Any] = {"name": CHILD, "local_ts": everywhere, "remote_ts": everywhere, "proposals": ()}
    natted = [
        Child(
            name=f"to-{address}", local_ts=IPv4Network(address), remote_ts=IPv4Network("100.15.30.0/24"), proposals=(),
            snat=IPv4Address(address), snat_loopback=True,
        )
        for address in snat
    ]  # fmt: skip
    children = (Child(**values | changes), *natted)
    local = IPv4Address("192.0.2.1")
    return (Peer(name="dc", local=local, remote=PEER, local_id="a", remote_id="b", proposals=(), children=children),)
