"""All streams of one tunnel together, and when the kernel is to be asked for them. Sans-IO.

::

    every second    how many packets arrived on the tunnel: fewer than there are streams, some after a silence, or some
                    while no stream is known that carries one a second, mean that the streams have to be looked at
    a look          every stream that carried a packet a second is silent for 3 s: all_silent
"""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from typing import Final

from mcastd.streams.desired import TunnelArrival
from mcastd.streams.stream import SILENCE, Stream

_NOTHING_EVER: Final = 60.0  # seconds with a join and without a packet after which that is a problem


class Tunnel:
    """What arrives on one tunnel. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self.joins = 0  # how many are desired
        self.busy = 0  # of the joined streams, how many carry or carried a packet a second, at the last look
        self.silences = 0  # how often all of these fell silent together
        self._count = 0  # all streams, at the last look
        self._packets = 0  # all packets, as counted by the kernel
        self._joined_at: float | None = None  # since when there is a join; None without one
        self._joined_with = 0  # the packets then; those in the time of a previous process count as well
        self._has_arrived = False  # whether there was one since then
        self._silent_since: float | None = None  # the last packet of them; None while one arrives

    def configure(self, joins: int, now: float) -> None:
        """Set how many joins there are."""
        if joins and not self.joins:
            self._joined_at = now
            self._joined_with, self._has_arrived = self._packets, False
        elif not joins:
            self._joined_at = None
        self.joins = joins

    def counted(self, packets: int) -> bool:
        """Take the packets that the kernel has counted by now; returns whether the streams are to be looked at."""
        grown, self._packets = packets - self._packets, packets
        if grown < 0:  # another program removed the table: it is counted from 0 again
            self._joined_with = packets
        self._has_arrived = self._has_arrived or packets > self._joined_with
        if self._silent_since is not None:
            return grown > 0
        return grown <= self._count if self.busy else self.joins > 0 and grown > 0

    def looked(
        self, streams: Iterable[Stream], is_joined: Callable[[str, IPv4Address | None, IPv4Address], bool], now: float
    ) -> None:
        """Take all streams of the tunnel, as they are now."""
        self._count, busy, last = 0, 0, 0.0
        for stream in streams:
            self._count += 1
            if stream.busy and is_joined(stream.key.tunnel, stream.key.source, stream.key.group):
                busy += 1
                last = max(last, stream.seen)
            else:
                stream.busy = False  # joined again, it has to carry packets first
        self.busy = busy
        was_silent = self._silent_since is not None
        self._silent_since = last if busy and now - last >= SILENCE else None
        self.silences += self._silent_since is not None and not was_silent

    def arrival(self, expected_since: float | None, now: float) -> TunnelArrival:
        """What the other agents need to know; ``expected_since`` is since when streams are expected, None: not now."""
        since = self._silent_since
        silent = since is not None and expected_since is not None and now - max(since, expected_since) >= SILENCE
        return TunnelArrival(silent, self.silences)

    def nothing_ever_arrived(self, expected_since: float | None, now: float) -> bool:
        """Whether nothing has arrived since there is a join, for a minute."""
        if self._joined_at is None or expected_since is None or self._has_arrived:
            return False
        return now - max(self._joined_at, expected_since) >= _NOTHING_EVER
