"""Many deadlines behind one: what is due, and when the next one is."""

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from math import inf
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Timers(Generic[Key]):
    """One deadline a key. Setting is O(log n); cancelled entries leave the heap when they surface."""

    def __init__(self) -> None:
        self._deadlines: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._deadlines)

    def __contains__(self, key: Key) -> bool:
        return key in self._deadlines

    def keys(self) -> list[Key]:
        """The keys that have a deadline."""
        return list(self._deadlines)

    def get(self, key: Key) -> float | None:
        """The deadline of ``key``, None without one."""
        return self._deadlines.get(key)

    def set(self, key: Key, deadline: float) -> None:
        """Set or move the deadline of ``key``."""
        if self._deadlines.get(key) == deadline:
            return
        self._deadlines[key] = deadline
        self._count += 1
        heappush(self._heap, (deadline, self._count, key))
        if len(self._heap) > 2 * len(self._deadlines) + 64:
            self._heap = [(when, n, key) for n, (key, when) in enumerate(self._deadlines.items())]
            self._count = len(self._heap)
            heapify(self._heap)

    def cancel(self, key: Key) -> None:
        """Drop the deadline of ``key``, if it has one."""
        self._deadlines.pop(key, None)

    def clear(self) -> None:
        """Drop every deadline."""
        self._deadlines.clear()
        self._heap.clear()

    def due(self, now: float) -> list[Key]:
        """Take out the keys whose deadline has come, earliest first."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            deadline, _, key = heappop(self._heap)
            if self._deadlines.get(key) == deadline:
                del self._deadlines[key]
                found.append(key)
        return found

    def next(self) -> float:
        """The earliest deadline; infinite without any."""
        while self._heap:
            deadline, _, key = self._heap[0]
            if self._deadlines.get(key) == deadline:
                return deadline
            heappop(self._heap)
        return inf
