"""Every agent survives an error at every point where its coroutines wait, and everything is up again without help.

An agent's tasks are driven by a coroutine that counts their resumptions and raises at the n-th. What is raised there
stands for whatever the kernel, a library or the interpreter may raise: no descriptors, no threads, no memory.
"""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any
from weakref import WeakSet

import pytest

from mcastd.supervision import Supervisor
from mcastd.system import capabilities
from tests.composed import Host, running
from tests.fakes import clock
from tests.fakes.clock import until

NAMES = ["firewall", "ipsec", "tunnels", "keepalive", "pim", "streams"]


class Fault(Exception):
    """What no agent expects."""


class Resumptions:
    """Counts the resumptions of one agent's tasks, and raises at the n-th (0: never)."""

    def __init__(self, agent: str, n: int) -> None:
        self.agent = agent
        self.n = n
        self.count = 0
        self._tasks = WeakSet[asyncio.Task[Any]]()

    def factory(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        """The loop's task factory: what the agent's tasks start is the agent's too."""
        ours = self._is_supervisor(coroutine) or asyncio.current_task(loop) in self._tasks
        task: asyncio.Task[Any] = asyncio.Task(Driven(coroutine, self) if ours else coroutine, loop=loop, **options)
        if ours:
            self._tasks.add(task)
        return task

    def is_due(self) -> bool:
        self.count += 1
        return self.count == self.n

    def _is_supervisor(self, coroutine: Any) -> bool:
        frame = getattr(coroutine, "cr_frame", None)
        supervisor = frame.f_locals.get("self") if frame is not None else None
        return isinstance(supervisor, Supervisor) and supervisor._agent.name == self.agent


class Driven(Coroutine[Any, Any, Any]):
    """A coroutine that raises instead of being resumed when it is due."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], resumptions: Resumptions) -> None:
        self._coroutine = coroutine
        self._resumptions = resumptions

    def send(self, value: Any) -> Any:
        # Nothing but a cancellation is ever raised out of asyncio.Lock, which would not wake the next one.
        if not _waits_for_a_lock(self._coroutine) and self._resumptions.is_due():
            return self._coroutine.throw(Fault(f"at resumption {self._resumptions.n}"))
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()


def _waits_for_a_lock(coroutine: Any) -> bool:
    while (inner := getattr(coroutine, "cr_await", None)) is not None and hasattr(inner, "cr_code"):
        coroutine = inner
    return getattr(coroutine, "cr_code", None) is asyncio.Lock.acquire.__code__


async def hellos(host: Host) -> None:
    """The neighbour at the other end of whatever PIM has open."""
    while True:
        if host.pim.opened and not host.router.closed:
            host.hello()
        await asyncio.sleep(20.0)


async def life(resumptions: Resumptions) -> int:
    """Start, a neighbour, joins, a rekeying, a link and an SA that another program takes down; then the stop.

    Returns the resumptions before the stop.
    """
    host = Host()
    asyncio.get_running_loop().set_task_factory(resumptions.factory)
    neighbor = asyncio.create_task(hellos(host))
    async with running(host=host) as process:

        def is_whole() -> bool:
            """Whether nothing is wrong but that an agent failed."""
            found = {problem.code for problem in process.agents.problems()}
            return found <= {"agent_failed"} and "gre1" in process.agents.tunnels.links() and process.joined()

        await until(is_whole, "all is up and joined")
        host.charon.rekey("dc-tun-gre")
        host.kernel.set_link("gre1", up=False)
        await asyncio.sleep(1.0)
        host.charon.delete()
        await asyncio.sleep(20.0)
        await until(is_whole, "all is up and joined again")
        count = resumptions.count
        assert host.log.events().count("agent_failed") == (resumptions.n > 0)
        await process.end()
    neighbor.cancel()
    assert host.is_empty()
    host.close()
    return count


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


@pytest.mark.parametrize("name", NAMES)
def test_an_error_at_any_resumption_is_survived(name: str) -> None:
    count = clock.run(life(Resumptions(name, 0)))
    assert count > 3
    failed = {}
    for n in range(2, count):
        try:
            clock.run(life(Resumptions(name, n)))
        except BaseException as error:
            failed[n] = repr(error)
    assert not failed
