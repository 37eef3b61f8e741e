"""mcastd run, in which a random agent raises after each SIGRTMIN. They take turns."""

import asyncio
import random
import signal
import sys
from itertools import cycle
from typing import Any

from mcastd.cli import main
from tests.resumptions import AGENTS, Resumptions


def raising(agents: dict[str, Resumptions]) -> None:
    """Let every event loop from now on drive the agents' tasks, and SIGRTMIN choose the next that raises."""
    turns = cycle(random.sample(AGENTS, len(AGENTS)))
    loops: list[asyncio.AbstractEventLoop] = []

    def choose(*_: object) -> None:
        chosen = agents[next(turns)]
        chosen.n = chosen.count + 1
        loops[-1].call_soon_threadsafe(chosen.nudge)

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        owner = next((one for one in agents.values() if one.owns(loop, coroutine)), None)
        if owner is None:
            return asyncio.Task(coroutine, loop=loop, **options)
        return owner.factory(loop, coroutine, **options)

    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            loop = super().new_event_loop()
            loop.set_task_factory(factory)
            loops.append(loop)
            return loop

    asyncio.set_event_loop_policy(Policy())
    signal.signal(signal.SIGRTMIN, choose)


if __name__ == "__main__":
    raising({name: Resumptions(name, 0) for name in AGENTS})
    sys.exit(main())
