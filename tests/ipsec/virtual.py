"""The agent on a simulated charon, in virtual time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random

from msgspec.structs import replace

from mcastd.config.credentials import Certificates
from mcastd.config.model import Peer
from mcastd.history import History
from mcastd.ipsec.agent import IpsecAgent
from mcastd.ipsec.messages import PeerWithKey
from mcastd.ipsec.state import IpsecDesired, IpsecSnapshot
from mcastd.status import ChildStatus, PeerStatus
from tests.fakes.charon import FakeCharon
from tests.fakes.clock import until
from tests.fakes.esp import FakeEspSockets
from tests.fakes.memory import MemoryLedger, MemoryLog
from tests.ipsec.charons import PSK, article

GRE, TCP = BOTH = ("dc-tun-gre", "dc-tun-tcp")


class Host:
    """A charon, which outlives the process of an agent, and the agents that run on it one after the other."""

    def __init__(self) -> None:
        self.charon = FakeCharon()
        self.esp = FakeEspSockets()
        self.ledger = MemoryLedger()
        self.log = MemoryLog()
        self.changes = 0
        self.desired = IpsecDesired(replay_allowed=True)
        self.agent = self.another_agent()
        self._task: asyncio.Task[None] | None = None

    def another_agent(self) -> IpsecAgent:
        return IpsecAgent(
            charon=self.charon,
            esp_sockets=self.esp,
            ledger=self.ledger,
            history=History(self.log.logger, lambda: asyncio.get_running_loop().time()),
            log=self.log.logger,
            on_change=self._changed,
            rng=Random(1),
        )

    def _changed(self) -> None:
        self.changes += 1

    def configure(self, *peers: Peer, psk: bytes = PSK, certificates: Certificates | None = None) -> None:
        key = psk if certificates is None else None
        self.change(peers=tuple(PeerWithKey(peer, key, certificates) for peer in peers))

    def restart(self, name: str, number: int) -> None:
        self.change(restarts={**self.desired.restarts, name: (number, "its path is dead")})

    def change(self, **changes: object) -> None:
        self.desired = replace(self.desired, **changes)
        self.agent.configure(self.desired)

    def start(self) -> None:
        self._task = asyncio.create_task(self.agent.run())

    async def kill(self) -> None:
        """The process ends without a teardown; charon and the ledger stay as they are."""
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.esp.close()

    async def next_process(self, *peers: Peer) -> None:
        """Another process takes over, with a ledger read from the file of the one before."""
        await self.kill()
        self.ledger = MemoryLedger(self.ledger.copy())
        self.agent, self.desired = self.another_agent(), IpsecDesired(replay_allowed=True)
        self.configure(*peers)
        self.start()

    def snapshot(self) -> IpsecSnapshot:
        return self.agent.status(asyncio.get_running_loop().time())

    def peer(self) -> PeerStatus:
        (peer,) = self.snapshot().peers
        return peer

    def child(self, name: str = GRE) -> ChildStatus:
        return next(child for child in self.peer().children if child.name == name)

    def up(self, *names: str) -> bool:
        children = self.agent.children()
        return all(name in children and children[name].up for name in names)

    def up_counts(self) -> list[int]:
        return [view.up_count for view in self.agent.children().values()]

    async def both_up(self) -> None:
        await until(lambda: self.up(*BOTH), "both CHILD_SAs up")
        await self.quiet()

    async def quiet(self, seconds: float = 3.0) -> None:
        """Let pass what is under way."""
        await asyncio.sleep(seconds)


@contextlib.asynccontextmanager
async def host(*peers: Peer, psk: bytes = PSK, certificates: Certificates | None = None) -> AsyncIterator[Host]:
    """A host whose agent is configured, the article's peer if nothing else is given, and runs."""
    subject = Host()
    subject.configure(*(peers or (article(),)), psk=psk, certificates=certificates)
    subject.start()
    try:
        yield subject
    finally:
        await subject.kill()


@contextlib.asynccontextmanager
async def up(*peers: Peer) -> AsyncIterator[Host]:
    """The same, with both CHILD_SAs up."""
    async with host(*peers) as subject:
        await subject.both_up()
        yield subject
