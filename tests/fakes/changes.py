"""Notifications of the kernel, in memory."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager


class Notifications:
    """What the kernel reports to all who have subscribed, from the moment that they have."""

    def __init__(self) -> None:
        self._queues: list[asyncio.Queue[None]] = []

    def report(self) -> None:
        """Something has changed."""
        for queue in self._queues:
            queue.put_nowait(None)

    @contextmanager
    def subscribed(self) -> Iterator[AsyncIterator[None]]:
        queue: asyncio.Queue[None] = asyncio.Queue()
        self._queues.append(queue)
        try:
            yield _received(queue)
        finally:
            self._queues.remove(queue)


async def _received(queue: asyncio.Queue[None]) -> AsyncIterator[None]:
    while True:
        await queue.get()
        yield
