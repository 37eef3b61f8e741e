"""How much of a host's IGMP is read, so that a flood of one host does not take the others' share. Pure.

What a host sends beyond its share of a second is dropped unread. A host that goes on is sampled: the kernel then drops
all but a few of its packets for some seconds, before they fill the socket's buffer, in which the others' wait.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address
from math import inf
from typing import Final

from mcastd.net.igmp import Message, V3Report

SHARE: Final = 100_000
"""Bytes of one host's IGMP that are read in a second: some 1,500 joins one by one, or 12,000 in whole packets."""
TOTAL: Final = 1_000_000
"""Bytes of all hosts together that are read in a second."""
SAMPLED: Final = 10.0
"""Seconds for which a host that exceeds its share is sampled."""
MAX_SAMPLED: Final = 16
_PART: Final = 128  # records of a report that are looked at together; a large packet has more
_LEAST: Final = 64  # bytes that a packet counts as at least
_WINDOW: Final = 1.0


class Flood:
    """The shares of one interface."""

    def __init__(self) -> None:
        self._began = -inf  # the start of the second
        self._total = 0  # bytes read in it
        self._hosts: dict[IPv4Address, int] = {}  # likewise by host
        self._sampled: dict[IPv4Address, float] = {}  # until when

    def admits(self, host: IPv4Address, size: int, now: float) -> bool:
        """Whether a packet of ``size`` bytes is to be read."""
        if now >= self._began + _WINDOW:
            self._began, self._total = now, 0
            self._hosts.clear()
        if self._total >= TOTAL:
            return False
        read = self._hosts.get(host, 0) + max(size, _LEAST)
        self._hosts[host] = read
        if read <= SHARE:
            self._total += max(size, _LEAST)
            return True
        if host in self._sampled or len(self._sampled) < MAX_SAMPLED:
            self._sampled[host] = now + SAMPLED
        return False

    def sampled(self, now: float) -> frozenset[IPv4Address]:
        """The hosts to be sampled now."""
        if any(until <= now for until in self._sampled.values()):
            self._sampled = {host: until for host, until in self._sampled.items() if until > now}
        return frozenset(self._sampled)


def parts(message: Message) -> Iterator[Message]:
    """A message, divided if it is a large report."""
    if not isinstance(message, V3Report) or len(message.records) <= _PART:
        yield message
        return
    for start in range(0, len(message.records), _PART):
        yield V3Report(message.records[start : start + _PART])
