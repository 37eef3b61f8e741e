"""The agents in start order, each with its wiring: configured, settled, asked for status and closed in loops over them.

Adding an agent is a line in ``__init__`` and a function in ``mcastd.wiring``.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final, Generic

from mcastd import wiring
from mcastd.agents import Agent, Desired
from mcastd.config.model import Config, digest
from mcastd.errors import McastdError
from mcastd.firewall.agent import FirewallAgent
from mcastd.health import independent, summary
from mcastd.ipsec.agent import IpsecAgent
from mcastd.ipsec.messages import PeerWithKey
from mcastd.ipsec.vici import ViciSocket
from mcastd.keepalive.agent import KeepaliveAgent
from mcastd.pim.agent import PimAgent
from mcastd.problems import Problem
from mcastd.snapshot import Snapshots
from mcastd.system import capabilities, gre_devices, nft, sockets, sysctl
from mcastd.system.fdstore import FdStore
from mcastd.system.ledger import Ledger
from mcastd.system.log import Logger
from mcastd.system.netlink import Netlink
from mcastd.tunnel.agent import TunnelAgent
from mcastd.wiring import Inputs, Up

_CLOSE_TIMEOUT: Final = 5.0


@dataclass(slots=True)
class Part(Generic[Desired]):
    """An agent, the function that says what it should do, and its task while it runs."""

    agent: Agent[Desired, Any]
    wire: Callable[[Inputs], Desired]
    task: asyncio.Task[None] | None = None

    def configure(self, inputs: Inputs) -> None:
        """Give the agent its desired state."""
        self.agent.configure(self.wire(inputs))


class Composition:
    """Every agent. ``config`` is the configuration in effect."""

    def __init__(self, config: Config, on_change: Callable[[], None], log: Logger, rng: Random) -> None:
        """``on_change`` is the one nudge: it is to lead to ``configure``."""
        directory: Path = config.daemon.runtime_dir
        ledger = Ledger(directory / "ledger.json")
        self._log = log
        self.config = config
        self.config_digest = digest(config)
        self._peers: tuple[PeerWithKey, ...] = ()
        self._leaving: Config | None = None  # the configuration before, while a reload is carried out
        self.firewall = FirewallAgent(nftables=nft, sysctls=sysctl, ledger=ledger, log=log, on_change=on_change)
        self.ipsec = IpsecAgent(
            charon=ViciSocket(config.daemon.vici_socket),
            esp_sockets=sockets,
            ledger=ledger,
            log=log,
            on_change=on_change,
            rng=rng,
        )
        self.tunnels = TunnelAgent(
            netlink=Netlink(),
            sysctls=sysctl,
            devices=gre_devices,
            ledger=ledger,
            store=FdStore.inherited(log),
            log=log,
            on_change=on_change,
        )
        self.keepalive = KeepaliveAgent(log=log, on_change=on_change)
        self.pim = PimAgent(log=log, on_change=on_change, rng=rng)
        self.parts: tuple[Part[Any], ...] = (
            Part(self.firewall, wiring.firewall),  # the guard is in place before anything of ours could send
            Part(self.ipsec, wiring.ipsec),
            Part(self.tunnels, wiring.tunnels),
            Part(self.keepalive, wiring.keepalive),
            Part(self.pim, wiring.pim),
        )

    def configure(self) -> None:
        """Give every agent what follows from the configuration and from what is up now."""
        inputs = self._inputs()
        for part in self.parts:
            part.configure(inputs)

    async def start(self, group: asyncio.TaskGroup, peers: tuple[PeerWithKey, ...]) -> None:
        """Run every agent in ``group``, after the guard is in place."""
        self._peers = peers
        for part in self.parts:
            part.configure(self._inputs())
            part.task = group.create_task(part.agent.run())
            if part is self.parts[0]:
                await part.agent.settled()

    async def settled(self) -> None:
        """Return when every agent has carried out the configuration, each after those whose state it depends on."""
        for part in self.parts:
            await part.agent.settled()
            self.configure()

    async def apply(self, config: Config, peers: tuple[PeerWithKey, ...]) -> None:
        """Go over to another configuration.

        What goes says goodbye while its link still stands, and stays guarded until it is gone.
        """
        self._leaving, self.config, self._peers = self.config, config, peers
        self.config_digest = digest(config)
        try:
            for part in (self.parts[0], *reversed(self.parts)):
                part.configure(self._inputs())
                await part.agent.settled()
            await self.settled()
        finally:
            self._leaving = None
        self.configure()
        await self.parts[0].agent.settled()

    def leave_standing(self) -> None:
        """End the agents without putting anything back."""
        for part in self.parts:
            if part.task is not None:
                part.task.cancel()

    async def close(self) -> None:
        """End the agents in reverse order and put back what each found; what fails is logged."""
        for part in reversed(self.parts):
            if part.task is not None:
                part.task.cancel()
                await asyncio.wait({part.task})
            try:
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await part.agent.close()
            except TimeoutError:
                self._log.error("teardown_timeout", part=part.agent.name, seconds=_CLOSE_TIMEOUT)
            except McastdError as error:
                self._log.error("teardown_failed", part=part.agent.name, problem=str(error))

    def turned(self) -> dict[str, float]:
        """When the loop of each agent last came around, monotonic."""
        return {part.agent.name: part.agent.wake.turned for part in self.parts}

    async def refresh(self) -> None:
        """Read the counters that are read on demand only, right before ``snapshots``."""
        await asyncio.gather(self.ipsec.refresh(), self.firewall.refresh())

    def snapshots(self, now: float) -> Snapshots:
        """What each agent says; ``now`` is monotonic."""
        return Snapshots(
            self.firewall.status(now),
            self.ipsec.status(now),
            self.tunnels.status(now),
            self.keepalive.status(now),
            self.pim.status(now),
        )

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong, of this process and of every agent."""
        return independent(
            (
                *(
                    Problem("capability_missing", name, f"no {name}: mcastd cannot {what}")
                    for name, what in capabilities.missing()
                ),
                *(problem for part in self.parts for problem in part.agent.problems()),
            )
        )

    def summary(self, problems: tuple[Problem, ...]) -> str:
        """One line of how things are. Like ``problems`` it costs the same however many joins there are."""
        return summary(problems, len(self.config.peers), len(self.config.tunnels), self.pim.joins_desired())

    def _inputs(self) -> Inputs:
        up = Up(self.firewall.in_place, self.ipsec.children(), self.tunnels.links(), self.keepalive.dead_paths())
        return Inputs(self.config, self._peers, up, self._leaving)
