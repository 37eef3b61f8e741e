"""An agent under test, and its loop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

from msgspec.structs import replace

from mcastd.config.credentials import Certificates
from mcastd.config.model import Peer
from mcastd.history import History
from mcastd.ipsec.agent import IpsecAgent
from mcastd.ipsec.messages import PeerWithKey
from mcastd.ipsec.state import IpsecDesired, IpsecSnapshot
from mcastd.ipsec.vici import ViciSocket
from mcastd.status import PeerStatus
from mcastd.system import sockets
from mcastd.system.ledger import Ledger
from mcastd.system.log import get_logger
from tests.ipsec.charons import DEADLINE, PSK, Scene, article, list_sas, load, mirrored, until

BOTH = ("dc-tun-gre", "dc-tun-tcp")


class Running:
    """An agent and its loop; it can die like a killed process."""

    def __init__(self, scene: Scene, ledger: Path, socket: Path | None = None) -> None:
        self.changes = 0
        self._desired = IpsecDesired(replay_allowed=True)
        self.agent = IpsecAgent(
            charon=ViciSocket(socket or scene.cloud.socket),
            esp_sockets=sockets,
            ledger=Ledger(ledger),
            history=History(get_logger()),
            log=get_logger(),
            on_change=self._count,
            rng=Random(1),
        )
        self.task: asyncio.Task[None] | None = None

    def _count(self) -> None:
        self.changes += 1

    def start(
        self, *peers: Peer, psk: bytes = PSK, certificates: Certificates | None = None, idle: tuple[Peer, ...] = ()
    ) -> None:
        self.want(*peers, psk=psk, certificates=certificates, idle=idle)
        self.task = asyncio.create_task(self.agent.run())

    def want(
        self, *peers: Peer, psk: bytes = PSK, certificates: Certificates | None = None, idle: tuple[Peer, ...] = ()
    ) -> None:
        key = psk if certificates is None else None
        self._configure(peers=tuple(PeerWithKey(peer, key, certificates) for peer in peers), idle=idle)

    def restart(self, name: str) -> None:
        number, _ = self._desired.restarts.get(name, (0, ""))
        self._configure(restarts={**self._desired.restarts, name: (number + 1, "its path is dead")})

    def probe(self, name: str, number: int) -> None:
        """Its path is silent for the time of that number; 0: it is not any more."""
        self._configure(probes={name: (number, "its streams are silent")} if number else {})

    def allow_replay(self, allowed: bool) -> None:
        self._configure(replay_allowed=allowed)

    def _configure(self, **changes: object) -> None:
        self._desired = replace(self._desired, **changes)
        self.agent.configure(self._desired)

    async def kill(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    def up(self, *names: str) -> bool:
        children = self.agent.children()
        return all(name in children and children[name].up for name in names)

    def generation(self, name: str) -> int:
        return self.agent.children()[name].up_count

    def status(self) -> PeerStatus:
        (peer,) = self.snapshot().peers
        return peer

    def snapshot(self) -> IpsecSnapshot:
        return self.agent.status(asyncio.get_running_loop().time())

    def problem(self, child: str = "dc-tun-gre") -> str:
        return next((c.problem or "" for c in self.status().children if c.name == child), "")


@contextlib.asynccontextmanager
async def running(scene: Scene, ledger: Path, socket: Path | None = None) -> AsyncIterator[Running]:
    """An agent, at the cloud's charon or at another ``socket`` that leads there."""
    agent = Running(scene, ledger, socket)
    try:
        yield agent
    finally:
        await agent.kill()


async def both_up(scene: Scene, agent: Running) -> None:
    await load(scene.dc, mirrored(article()))
    agent.start(article())
    await until(lambda: agent.up(*BOTH), "both children up")


async def eventually(scene: Scene, count: int) -> None:
    """Wait until the cloud has that many CHILD_SAs."""
    async with asyncio.timeout(DEADLINE):
        while len(await spis(scene)) != count:  # noqa: ASYNC110  # there is no event: it is another process
            await asyncio.sleep(0.05)


async def spis(scene: Scene) -> set[str]:
    return {child.spi_in for sa in await list_sas(scene.cloud) for child in sa.children}
