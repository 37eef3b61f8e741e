"""An agent with its wiring, and what restarts it when its loop raised: one error does not take the others down."""

import asyncio
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic

import msgspec

from mcastd.agents import Agent, Desired
from mcastd.problems import Problem
from mcastd.system.log import Logger
from mcastd.wiring import Inputs

_MINUTE: Final = 60.0
_FAILURES: Final = 5  # within a minute; then the process ends, and its successor begins without what went wrong
_BACKOFF: Final = 0.5  # seconds before the first restart, doubled at each failure within a minute


class Supervisor:
    """Runs one agent. ``problem`` is its last failure, for a minute."""

    def __init__(self, agent: Agent[Any, Any], log: Logger, on_change: Callable[[], None]) -> None:
        self._agent = agent
        self._log = log
        self._on_change = on_change
        self._failures: deque[float] = deque(maxlen=_FAILURES)  # when they were, monotonic
        self._text = ""  # the last one

    @property
    def problem(self) -> Problem | None:
        """The last failure, if it was within the last minute."""
        if not self._recent():
            return None
        name = self._agent.name
        return Problem("agent_failed", name, f"the agent {name} failed and was restarted: {self._text}")

    async def run(self) -> None:
        """Run the agent until cancelled; raises what it raised the fifth time within a minute."""
        while True:
            try:
                await self._agent.run()
            except Exception as error:
                self._failures.append(time.monotonic())
                self._text = _cause(error)
                self._log.error("agent_failed", part=self._agent.name, problem=traceback.format_exc())
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    return  # it failed while it was ended
                self._on_change()
                if self._recent() == _FAILURES:
                    raise
            else:
                return
            await asyncio.sleep(_BACKOFF * 2 ** (self._recent() - 1))
            self._agent.wake.set()

    def _recent(self) -> int:
        return sum(time.monotonic() - when < _MINUTE for when in self._failures)


def _cause(error: BaseException) -> str:
    """The first error in a group of them, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


class Part(msgspec.Struct, Generic[Desired]):
    """An agent, and the function that says what it should do."""

    agent: Agent[Desired, Any]
    wire: Callable[[Inputs], Desired]
    task: asyncio.Task[None] | None = None  # while it runs
    is_behind: bool = False  # whether it still has the configuration before a reload
    supervisor: Supervisor | None = None  # restarts it

    def configure(self, inputs: Inputs) -> None:
        """Give the agent its desired state."""
        self.agent.configure(self.wire(inputs))
