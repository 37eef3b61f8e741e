"""A tunnel agent on a host that is a network namespace."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

from mcastd.config.model import Config, Daemon, Datapath, Group, Peer, Tunnel
from mcastd.history import History
from mcastd.system import gre_devices, log, sysctl
from mcastd.system.fdstore import FdStore
from mcastd.system.ledger import Ledger
from mcastd.system.netlink import Netlink
from mcastd.tunnel.agent import TunnelAgent
from mcastd.tunnel.desired import TunnelsDesired
from mcastd.tunnel.mtu import Carrier
from tests.namespaces import DEADLINE

CHILD = "dc-tun-gre"


def tunnel(**changes: Any) -> Tunnel:
    """The article's tunnel, over a cable."""
    values: dict[str, Any] = {
        "name": "gre1",
        "local": IPv4Address("10.44.6.1"),
        "remote": IPv4Address("10.44.7.1"),
        "address": IPv4Interface("10.44.4.6/30"),
        "peer_address": IPv4Address("10.44.4.5"),
        "child": CHILD,
    }
    return Tunnel(**values | changes)


UP = Carrier(up=True, up_count=1)


class Running:
    """A running agent."""

    def __init__(self, folder: Path, store: FdStore | None = None) -> None:
        self.changes = 0
        self.ledger = Ledger(folder / "ledger.json")
        self.agent = TunnelAgent(
            netlink=Netlink(),
            sysctls=sysctl,
            devices=gre_devices,
            ledger=self.ledger,
            store=store or FdStore(),
            history=History(log.get_logger()),
            log=log.get_logger(),
            on_change=self._changed,
        )
        self._task: asyncio.Task[None] | None = None

    def _changed(self) -> None:
        self.changes += 1

    def start(self) -> None:
        """Run the loop."""
        self._task = asyncio.create_task(self.agent.run())

    async def end(self) -> None:
        """End the loop, and raise what it has raised."""
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def close(self) -> None:
        """What the daemon does at its end."""
        await self.end()
        await self.agent.close()

    def left(self) -> FdStore:
        """The store as the next process finds it after a crash; empty if the kernel does GRE."""
        pumps = self.agent.pumps.items()
        return FdStore({f"{name}.{part}": os.dup(fd) for name, pump in pumps for part, fd in pump.descriptors.items()})

    def let_go(self) -> None:
        """Close the descriptors of the agent, as the end of a process does."""
        for pump in self.agent.pumps.values():
            pump.close()

    async def want(
        self,
        *tunnels: Tunnel,
        carrier: Carrier = UP,
        datapath: Datapath = "auto",
        groups: tuple[Group, ...] = (),
        peers: tuple[Peer, ...] = (),
    ) -> None:
        """Configure, and wait until it is applied."""
        config = Config(daemon=Daemon(datapath=datapath), peers=peers, tunnels=tunnels, groups=groups)
        self.agent.configure(TunnelsDesired(config, {CHILD: carrier}))
        async with asyncio.timeout(DEADLINE):
            await self.agent.settled()


@contextlib.asynccontextmanager
async def running(folder: Path, store: FdStore | None = None) -> AsyncIterator[Running]:
    """An agent whose loop runs; it is not closed, as in a crash."""
    made = Running(folder, store)
    made.start()
    try:
        yield made
    finally:
        try:
            await made.end()
        finally:
            made.let_go()
