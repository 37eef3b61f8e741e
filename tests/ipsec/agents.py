"""An agent under test, and its loop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

from mcastd.config.certificates import Certificates
from mcastd.config.model import Peer
from mcastd.ipsec.agent import IpsecAgent
from mcastd.ipsec.messages import PeerWithKey
from mcastd.status import PeerStatus
from mcastd.system.ledger import Ledger
from mcastd.system.log import get_logger
from tests.ipsec.charons import DEADLINE, PSK, Scene, article, list_sas, load, mirrored, until

BOTH = ("dc-tun-gre", "dc-tun-tcp")


class Running:
    """An agent and its loop; it can die like a killed process."""

    def __init__(self, scene: Scene, ledger: Path, socket: Path | None = None) -> None:
        self.changes = 0
        self.guarded = True
        self.agent = IpsecAgent(
            vici_socket=socket or scene.cloud.socket,
            ledger=Ledger(ledger),
            log=get_logger(),
            on_change=self._count,
            may_give_back=lambda: self.guarded,
            rng=Random(1),
        )
        self.task: asyncio.Task[None] | None = None

    def _count(self) -> None:
        self.changes += 1

    def start(self, *peers: Peer, psk: bytes = PSK, certificates: Certificates | None = None) -> None:
        self.want(*peers, psk=psk, certificates=certificates)
        self.task = asyncio.create_task(self.agent.run())

    def want(self, *peers: Peer, psk: bytes = PSK, certificates: Certificates | None = None) -> None:
        key = psk if certificates is None else None
        self.agent.configure(tuple(PeerWithKey(peer, key, certificates) for peer in peers))

    async def kill(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    def up(self, *names: str) -> bool:
        return all((view := self.agent.child(name)) is not None and view.up for name in names)

    def generation(self, name: str) -> int:
        view = self.agent.child(name)
        assert view is not None
        return view.generation

    def status(self) -> PeerStatus:
        (peer,) = self.agent.status(asyncio.get_running_loop().time())
        return peer

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
