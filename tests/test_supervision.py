"""An agent that fails is restarted and shown, and one that fails again and again ends the process."""

import asyncio
from collections.abc import Iterable
from typing import cast

import pytest

from mcastd.agents import Agent
from mcastd.problems import Problem
from mcastd.supervision import Supervisor
from mcastd.system.wake import Wake
from tests.fakes.clock import simulated
from tests.fakes.memory import MemoryLog


class Failing:
    """An agent that fails ``times`` times, ``after`` seconds after each start, and then waits."""

    name = "failing"

    def __init__(self, times: int, after: float = 0.0) -> None:
        self.wake = Wake()
        self.starts: list[float] = []
        self._times = times
        self._after = after

    async def run(self) -> None:
        self.starts.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self._after)
        if len(self.starts) <= self._times:
            raise OSError(24, "Too many open files")
        await asyncio.Event().wait()

    def problems(self) -> Iterable[Problem]:
        return ()


def supervised(agent: Failing, log: MemoryLog, changes: list[None]) -> Supervisor:
    return Supervisor(cast("Agent[object, object]", agent), log.logger, lambda: changes.append(None))


@simulated
async def test_it_is_restarted_with_growing_pauses_and_shown_for_a_minute() -> None:
    agent, log, changes = Failing(times=3), MemoryLog(), list[None]()
    supervisor = supervised(agent, log, changes)
    task = asyncio.create_task(supervisor.run())
    await asyncio.sleep(30.0)
    assert [round(when - agent.starts[0], 3) for when in agent.starts] == [0.0, 0.5, 1.5, 3.5]
    assert (log.events(), len(changes)) == (["agent_failed"] * 3, 3)
    assert "Traceback" in log.records[0]["problem"]
    assert supervisor.problem == Problem(
        "agent_failed", "failing", "the agent failing failed and was restarted: OSError: [Errno 24] Too many open files"
    )
    # It looks at everything after a restart, nudged or not.
    assert await agent.wake.wait(0)
    await asyncio.sleep(33.0)
    assert [supervisor.problem] == [None]
    task.cancel()


@simulated
async def test_the_fifth_failure_within_a_minute_ends_the_process() -> None:
    agent, log = Failing(times=9), MemoryLog()
    with pytest.raises(OSError, match="Too many open files"):
        await supervised(agent, log, []).run()
    assert len(agent.starts) == 5


@simulated
async def test_failures_that_are_far_apart_never_do() -> None:
    agent, log = Failing(times=9, after=16.0), MemoryLog()
    task = asyncio.create_task(supervised(agent, log, []).run())
    await asyncio.sleep(600.0)
    assert (len(agent.starts), task.done()) == (10, False)
    task.cancel()


@simulated
async def test_the_first_error_of_a_group_is_shown() -> None:
    class Grouped(Failing):
        async def run(self) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(super().run())

    supervisor = supervised(Grouped(times=1), MemoryLog(), [])
    task = asyncio.create_task(supervisor.run())
    await asyncio.sleep(0.1)
    assert supervisor.problem is not None
    assert supervisor.problem.text.endswith(": OSError: [Errno 24] Too many open files")
    task.cancel()
