"""A nudge for level-triggered loops: many nudges before the next iteration are one."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

_DEBOUNCE: Final = 0.05  # seconds; changes that come together are one nudge
_SHARE: Final = 0.2  # of the time that iterations may take while changes keep coming
_BURST: Final = 1.0  # seconds without changes whose share may be used up at once


class Wake:
    """An event that is consumed by waiting for it, and that shows when its nudges have been dealt with.

    A reconciling loop waits here, compares the desired with the actual state, and calls ``finished``; several nudges in
    the meantime are one. ``turned`` is when the loop last started an iteration (monotonic, in seconds).
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._done = asyncio.Event()
        self._asked = self._taken = self._finished = 0
        self._rests_until = 0.0  # before which changes start no iteration, monotonic
        self.turned = self._began = time.monotonic()  # _began is when the loop last stopped waiting

    def set(self) -> None:
        """Start an iteration of the loop, now or as soon as it waits."""
        self._asked += 1
        self._event.set()

    async def follow(self, changes: AsyncIterator[None]) -> None:
        """Nudge after changes that the kernel reports: at once, and while they keep coming for a fifth of the time."""
        async for _ in changes:
            self.set()
            await self.settled()
            await asyncio.sleep(max(_DEBOUNCE, self._rests_until - time.monotonic()))

    async def wait(self, timeout: float | None = None) -> bool:
        """Return True when nudged, False after ``timeout`` seconds without a nudge (None: without a limit)."""
        self.turn()
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            self._began = time.monotonic()
            return False
        self.take()
        return True

    def take(self) -> None:
        """Consume all nudges without waiting, in a loop that looks before it waits."""
        self._event.clear()
        self._taken = self._asked
        self._began = time.monotonic()

    def turn(self) -> None:
        """Record an iteration of a loop that does not wait here each time."""
        self.turned = time.monotonic()

    def finished(self) -> None:
        """What the last ``wait`` returned for has been dealt with."""
        now = time.monotonic()
        self._rests_until = max(self._rests_until, now - _BURST) + (now - self._began) / _SHARE
        self._finished = self._taken
        self._done.set()

    async def settled(self) -> None:
        """Return when every nudge given before this call has been dealt with."""
        target = self._asked
        while self._finished < target:
            self._done.clear()
            await self._done.wait()
