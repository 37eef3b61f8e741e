"""Errors at the resumptions of an agent's tasks: a coroutine drives each, counts, and raises at the n-th.

What is raised there stands for whatever the kernel, a library or the interpreter may raise: no descriptors, no threads,
no memory.
"""

import asyncio
from collections.abc import Coroutine, Generator
from types import CodeType
from typing import Any
from weakref import WeakSet

from mcastd.supervision import Supervisor

AGENTS = (
    "firewall", "ipsec", "tunnels", "overlay", "keepalive", "follow", "pim", "igmp_host", "igmp", "members", "streams",
    "meter", "forward", "metrics",
)  # fmt: skip
"""The names of all agents, in start order."""


Place = tuple[tuple[CodeType, int], ...]
"""Where a task waits: the code and the line of each of its coroutines, the outermost first."""


class Fault(Exception):
    """What no agent expects."""


class Resumptions:
    """Counts the resumptions of one agent's tasks, and raises at the n-th (0: never)."""

    def __init__(self, agent: str, n: int) -> None:
        self.agent = agent
        self.n = n
        self.count = 0
        self.places: list[Place] = []  # where each of them was
        self.ends = False  # the daemon stops: no more are counted
        self.supervisor: Supervisor | None = None  # of the agent, when it runs
        self._tasks = WeakSet[asyncio.Task[Any]]()

    def owns(self, loop: asyncio.AbstractEventLoop, coroutine: Any) -> bool:
        """Whether a task is the agent's: what the agent's tasks start is the agent's too."""
        return self._is_supervisor(coroutine) or asyncio.current_task(loop) in self._tasks

    def factory(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        """The loop's task factory."""
        ours = self.owns(loop, coroutine)
        task: asyncio.Task[Any] = asyncio.Task(Driven(coroutine, self) if ours else coroutine, loop=loop, **options)
        if ours:
            self._tasks.add(task)
        return task

    def is_due(self, place: Place) -> bool:
        if self.ends:
            return False
        self.count += 1
        self.places.append(place)
        return self.count == self.n

    def nudge(self) -> None:
        """Let the agent's loop come around now."""
        if self.supervisor is not None:
            self.supervisor._agent.wake.set()

    def _is_supervisor(self, coroutine: Any) -> bool:
        frame = getattr(coroutine, "cr_frame", None)
        supervisor = frame.f_locals.get("self") if frame is not None else None
        if not isinstance(supervisor, Supervisor) or supervisor._agent.name != self.agent:
            return False
        self.supervisor = supervisor
        return True


class Driven(Coroutine[Any, Any, Any]):
    """A coroutine that raises instead of being resumed when it is due."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], resumptions: Resumptions) -> None:
        self._coroutine = coroutine
        self._resumptions = resumptions

    def send(self, value: Any) -> Any:
        # Nothing but a cancellation is ever raised out of asyncio.Lock, which would not wake the next one.
        place = _place(self._coroutine)
        if not _waits_for_a_lock(place) and self._resumptions.is_due(place):
            return self._coroutine.throw(Fault(f"at resumption {self._resumptions.n}"))
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()


def _place(coroutine: Any) -> Place:
    found = []
    while hasattr(coroutine, "cr_code"):
        found.append((coroutine.cr_code, coroutine.cr_frame.f_lineno if coroutine.cr_frame is not None else 0))
        coroutine = coroutine.cr_await
    return tuple(found)


def _waits_for_a_lock(place: Place) -> bool:
    return place[-1][0] is asyncio.Lock.acquire.__code__
