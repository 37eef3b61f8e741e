"""An event loop with a virtual clock: hours of timers pass in milliseconds, in the same order at every run.

When nothing is ready to run, the clock jumps to the next timer. ``time.monotonic`` follows it meanwhile. Sockets whose
other end is in the same process work, since what is sent arrives at once; threads and other processes do not, since the
clock does not wait for them.
"""

import asyncio
import functools
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import ParamSpec, TypeVar
from unittest import mock

P = ParamSpec("P")
T = TypeVar("T")

START = 1000.0


class Deadlock(Exception):
    """Everything waits, and no timer is set."""


class _Selector(selectors.DefaultSelector):
    """Returns what is ready, or else lets the clock jump by the time that it was to wait for."""

    now = START

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Deadlock("every task waits, and no timer is set")
            self.now += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop; ``run`` is the usual way to use it."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run(main: Coroutine[object, object, T]) -> T:
    """What ``asyncio.run`` does, by a virtual clock."""
    with (
        asyncio.Runner(loop_factory=VirtualLoop) as runner,
        mock.patch.object(time, "monotonic", runner.get_loop().time),
    ):
        return runner.run(main)


def simulated(test: Callable[P, Coroutine[object, object, T]]) -> Callable[P, T]:
    """Decorates a test that is a coroutine: it is run by a virtual clock."""

    @functools.wraps(test)
    def runs(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(test(*args, **kwargs))

    return runs


async def until(
    condition: Callable[[], bool], what: str = "the condition", seconds: float = 600.0, step: float = 0.01
) -> float:
    """Let the clock go on until a condition holds, looked at every ``step``; returns how many seconds that took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        assert loop.time() - began < seconds, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(step)
    return loop.time() - began
