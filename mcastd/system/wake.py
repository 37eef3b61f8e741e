"""A nudge for level-triggered loops: many nudges before the next look are one."""

import asyncio


class Wake:
    """An event that is consumed by waiting for it.

    A reconciling loop waits here and then compares what is wanted with what is there, so it loses nothing when
    several nudges fall together.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Let the waiting loop look again, now or as soon as it waits."""
        self._event.set()

    async def wait(self, timeout: float | None = None) -> bool:
        """Return True when nudged, False after ``timeout`` seconds without a nudge (None: wait for ever)."""
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True
