"""A PIM agent whose loop runs, and what tests ask of it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from random import Random

from msgspec.structs import replace

from mcastd.config.model import Group
from mcastd.pim.agent import PimAgent
from mcastd.pim.settings import PimDesired, PimInterface
from mcastd.status import GroupStatus, PimStatus
from mcastd.system.log import get_logger
from mcastd.wanted import Wanted
from tests.loops import looping
from tests.namespaces import DEADLINE
from tests.simulator.world import joins, want_file


class Running:
    """An agent on one interface. ``want`` returns when its Hellos and Joins have left."""

    def __init__(self) -> None:
        self.wanted = Wanted(time.monotonic)
        self.agent = PimAgent(log=get_logger(), on_change=lambda: None, rng=Random(), wanted=self.wanted)
        self._desired = PimDesired((), ("veth0",))
        self._groups: tuple[Group, ...] = ()

    async def want(self, interface: PimInterface | None, groups: tuple[Group, ...]) -> None:
        """Configure: with no interface, the path is gone."""
        desired = PimDesired(() if interface is None else (interface,), ("veth0",))
        self.agent.configure(desired)
        if groups is not self._groups:
            self._groups = groups
            want_file(self.wanted, groups)
        await self._configure(desired)

    async def path_is_back(self) -> None:
        """The path under the interface went down and came up again."""
        interfaces = tuple(replace(one, up_count=one.up_count + 1) for one in self._desired.interfaces)
        await self._configure(PimDesired(interfaces, ("veth0",)))

    async def _configure(self, desired: PimDesired) -> None:
        self._desired = desired
        self.agent.configure(desired)
        async with asyncio.timeout(DEADLINE):
            await self.agent.settled()

    def status(self, interface: str = "veth0") -> PimStatus:
        """PIM on the interface."""
        return self.agent.status(time.monotonic()).get(interface, PimStatus(running=False))

    def groups(self) -> tuple[GroupStatus, ...]:
        """Every join."""
        return joins(self.agent, self.wanted)


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Running]:
    """An agent whose loop runs; in the end it prunes and says goodbye."""
    made = Running()
    async with looping(made.agent.run()):
        try:
            yield made
        finally:
            await made.agent.close()
