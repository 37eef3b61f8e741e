"""Begins the daemon's work, and tries again where the host refuses it: a host error does not end the process."""

import asyncio
from collections.abc import Callable, Iterator

from mcastd.composition import Composition
from mcastd.errors import HostError
from mcastd.problems import Problem
from mcastd.system.log import Logger


def pauses() -> Iterator[float]:
    """Seconds to the next try: one at first, and sixty at most."""
    pause = 1.0
    while True:
        yield pause
        pause = min(2 * pause, 60.0)


def failure(error: Exception) -> str:
    """What is shown until the next try."""
    return f"the start failed and is tried again: {error}"


class Start:
    """``on_change`` is called when the problem begins or changes."""

    def __init__(self, agents: Composition, log: Logger, on_change: Callable[[], None]) -> None:
        self._agents = agents
        self._log = log
        self._on_change = on_change
        self.tried = asyncio.Event()  # the first try is over
        self.problem: Problem | None = None  # why the last one failed

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Find what the previous process left, and start the agents in ``group``."""
        await self._inherit()
        await self._agents.start(group)
        self.tried.set()

    async def _inherit(self) -> None:
        """While the previous process's nftables table, whose file may have been another one, still guards its links."""
        wait = pauses()
        while True:
            try:
                await self._agents.tunnels.inherit(self._agents.config)
            except (HostError, OSError) as error:
                found = Problem("start_failed", "host", failure(error))
                if found != self.problem:
                    self._log.error("start_failed", problem=str(error))
                    self.problem = found
                    self._on_change()
                self.tried.set()
                await asyncio.sleep(next(wait))
            else:
                self.problem = None
                return
