"""Signs of life for the service manager's watchdog (sd_watchdog_enabled(3)), from the loop that does the work."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

from mcastd.system.log import Logger
from mcastd.system.notify import notify, watchdog_timeout

HANGS_AFTER: Final = 60.0
"""Seconds; the loops come around every 30 at the latest."""


async def give_signs_of_life(turned: Callable[[], Mapping[str, float]], log: Logger) -> None:
    """Pet the watchdog while every loop comes around; returns at once where there is none.

    ``turned`` says when each loop last did (monotonic), by the name of its part. A loop that hangs is said once; then
    the service manager is left to act.
    """
    timeout = watchdog_timeout()
    said = False
    while timeout is not None:
        now = time.monotonic()
        hung = [part for part, when in turned().items() if now - when > HANGS_AFTER]
        if not hung:
            notify("WATCHDOG=1")
            said = False
        elif not said:
            log.error("loop_hangs", parts=", ".join(hung), seconds=HANGS_AFTER)
            said = True
        await asyncio.sleep(timeout / 3)
