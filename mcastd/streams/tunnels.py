"""All streams of one tunnel together, and when the kernel is to be asked for them. Sans-IO.

::

    every second    how many packets arrived on the tunnel: fewer than there are streams that are not silent, some after
                    a silence, or some while no stream is known that carries one a second, mean that the streams have to
                    be looked at
    a look          every stream that carried a packet a second is silent for 3 s: all_silent
"""

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Final

import msgspec

from mcastd.streams.desired import TunnelArrival
from mcastd.streams.stream import SILENCE, Stream

_NOTHING_EVER: Final = 60.0  # seconds with a join and without a packet after which that is a problem
_RECEIVING: Final = 70.0  # seconds; where nftables is missing Hellos count, of which one may be lost


class Look(msgspec.Struct):
    """What one look at the streams of a tunnel finds."""

    count: int = 0  # streams that are not silent
    busy: int = 0  # joined streams that carry or carried a packet a second
    last: float = 0.0  # the last packet of these
    latest: float = 0.0  # the last packet of all

    def add(
        self, stream: Stream, is_joined: Callable[[str, IPv4Address | None, IPv4Address], bool], now: float
    ) -> None:
        """Take one stream of the tunnel, as it is now."""
        self.latest = max(self.latest, stream.seen)
        if stream.busy and is_joined(stream.key.tunnel, stream.key.source, stream.key.group):
            self.busy += 1
            self.last = max(self.last, stream.seen)
        else:
            stream.busy = False  # joined again, it has to carry packets first
        self.count += not stream.is_silent(now)


class Tunnel:
    """What arrives on one tunnel. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self.joins = 0  # how many are desired
        self.busy = 0  # of the joined streams, how many carry or carried a packet a second, at the last look
        self.silences = 0  # how often all of these fell silent together
        self._count = 0  # the streams that were not silent, at the last look
        self._packets: int | None = None  # all packets, as counted by the kernel; None before the first reading
        self._read_at = 0.0  # when that was
        self._arrived_at: float | None = None  # when they were more than before, last
        self._arrived_after = 0.0  # when they had been read before that
        self._latest = 0.0  # the last packet, as of the last look
        self._joined_at: float | None = None  # since when there is a join; None without one
        self._joined_with = 0  # the packets then; those in the time of a previous process count as well
        self._has_arrived = False  # whether there was one since then
        self._silent_since: float | None = None  # the last packet of them; None while one arrives

    def configure(self, joins: int, now: float) -> None:
        """Set how many joins there are."""
        if joins and not self.joins:
            self._joined_at = now
            self._joined_with, self._has_arrived = self._packets or 0, False
        elif not joins:
            self._joined_at = None
        self.joins = joins

    def forget(self) -> None:
        """What is counted from now on is counted elsewhere; then any packet has arrived since there is a join."""
        self._packets, self._joined_with = None, 0

    def counted(self, packets: int, now: float) -> bool:
        """Take the packets that the kernel has counted by now; returns whether the streams are to be looked at."""
        grown, is_first = packets - (self._packets or 0), self._packets is None
        if grown > 0 and not is_first:
            self._arrived_at, self._arrived_after = now, self._read_at
        self._packets, self._read_at = packets, now
        if grown < 0:  # another program removed the table: it is counted from 0 again
            self._joined_with = packets
        self._has_arrived = self._has_arrived or packets > self._joined_with
        if self._silent_since is not None:
            return grown > 0
        return grown <= self._count if self.busy else self.joins > 0 and grown > 0

    def looked(self, look: Look, now: float) -> None:
        """Take what a look at all streams of the tunnel has found by now."""
        self._count, self.busy, self._latest = look.count, look.busy, look.latest
        was_silent = self._silent_since is not None
        self._silent_since = look.last if look.busy and now - look.last >= SILENCE else None
        self.silences += self._silent_since is not None and not was_silent

    def arrival(self, expected_since: float | None, now: float, limit: float | None = None) -> TunnelArrival:
        """What the other agents need to know; ``expected_since`` is since when streams are expected, None: not now.

        ``limit`` is the silence in seconds after which the tunnel is quiet.
        """
        since = self._silent_since
        silent = since is not None and expected_since is not None and now - max(since, expected_since) >= SILENCE
        receiving = self._arrived_at is not None and self._read_at - self._arrived_at < _RECEIVING
        quiet_at = self.quiet_at(expected_since, limit)
        quiet = quiet_at is not None and self._read_at >= quiet_at
        return TunnelArrival(silent, self.silences, receiving, quiet)

    def quiet_at(self, expected_since: float | None, limit: float | None) -> float | None:
        """When the tunnel is quiet if nothing more comes; None if it never came, is not expected or has no limit."""
        if limit is None or expected_since is None or self._arrived_at is None:
            return None
        is_known = self._latest > self._arrived_after  # streams were looked at since then
        return max(self._latest if is_known else self._arrived_at, expected_since) + limit

    def nothing_ever_arrived(self, expected_since: float | None) -> bool:
        """Whether nothing has arrived since there is a join, for a minute, as of the last reading."""
        if self._joined_at is None or expected_since is None or self._has_arrived:
            return False
        return self._read_at - max(self._joined_at, expected_since) >= _NOTHING_EVER
