"""A tunnel agent on a host that is a network namespace, and what its tests ask of it."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

from mcastd.config.model import Config, Daemon, Datapath, Group, Peer, Tunnel
from mcastd.system import log
from mcastd.system.fdstore import FdStore
from mcastd.system.ledger import Ledger
from mcastd.tunnel.agent import TunnelAgent
from mcastd.tunnel.desired import TunnelsDesired
from mcastd.tunnel.mtu import Carrier
from mcastd.tunnel.userspace import Pump
from tests.loops import looping
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
        self.agent = TunnelAgent(ledger=self.ledger, log=log.get_logger(), on_change=self._changed, store=store)

    def _changed(self) -> None:
        self.changes += 1

    def left(self) -> FdStore:
        """The store as a successor finds it after a crash; empty where the kernel carries packets."""
        descriptors = {
            f"{pump.name}.{kind}": os.dup(descriptor)
            for pump in self._pumps()
            for kind, descriptor in (("tun", pump.tun), ("gre", pump.sock), ("sequence", pump.numbers))
            if descriptor is not None
        }
        return FdStore(descriptors)

    def let_go(self) -> None:
        """Close the descriptors of the agent, as the end of a process does."""
        for pump in self._pumps():
            pump.close()

    def _pumps(self) -> list[Pump]:
        host = self.agent._host
        return list(host.pumps.values()) if host else []

    async def want(
        self,
        *tunnels: Tunnel,
        carrier: Carrier = UP,
        datapath: Datapath = "auto",
        groups: tuple[Group, ...] = (),
        peers: tuple[Peer, ...] = (),
    ) -> None:
        """Configure, and wait until it is carried out."""
        config = Config(daemon=Daemon(datapath=datapath), peers=peers, tunnels=tunnels, groups=groups)
        self.agent.configure(TunnelsDesired(config, {CHILD: carrier}))
        async with asyncio.timeout(DEADLINE):
            await self.agent.settled()


@contextlib.asynccontextmanager
async def running(folder: Path, store: FdStore | None = None) -> AsyncIterator[Running]:
    """An agent whose loop runs; it is not closed, as in a crash."""
    made = Running(folder, store)
    try:
        async with looping(made.agent.run()):
            yield made
    finally:
        made.let_go()
