"""The loop of an agent, for as long as a test needs it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine


@contextlib.asynccontextmanager
async def looping(run: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """The loop runs meanwhile; then it is cancelled, as in a crash, and what it has raised is raised."""
    task = asyncio.create_task(run)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
