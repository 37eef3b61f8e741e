"""The service manager's watchdog (sd_watchdog_enabled(3)), fed from the event loop while every agent's loop runs."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

from mcastd.system.log import Logger
from mcastd.system.notify import notify, watchdog_timeout

HANGS_AFTER: Final = 60.0
"""Seconds without an iteration; the agents' loops run at least every 30."""


async def feed_watchdog(turned: Callable[[], Mapping[str, float]], log: Logger) -> None:
    """Send WATCHDOG=1 while no loop hangs; returns at once where the watchdog is off.

    ``turned`` returns when each loop last ran (monotonic, seconds), by the name of its agent. A loop that hangs is
    logged once; nothing is sent from then on, and the service manager aborts the process when its interval has passed.
    """
    timeout = watchdog_timeout()
    logged = False
    while timeout is not None:
        now = time.monotonic()
        hung = [part for part, when in turned().items() if now - when > HANGS_AFTER]
        if not hung:
            notify("WATCHDOG=1")
            logged = False
        elif not logged:
            log.error("loop_hangs", parts=", ".join(hung), seconds=HANGS_AFTER)
            logged = True
        await asyncio.sleep(timeout / 3)
