"""Assert winners on one link (RFC 7761, section 4.6), as a router keeps them that never forwards to the link itself.

Such a router is in state NoInfo, or in state Loser: its own metric is infinite, so any other is better.
"""

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from mcastd.errors import DecodeError
from mcastd.pim.messages import Assert
from mcastd.pim.timers import Timers

ASSERT_TIME: Final = 180.0
MAX_ASSERTS: Final = 1000
INFINITE: Final = (0x7FFFFFFF, 0xFFFFFFFF)
_UNSPECIFIED: Final = IPv4Address(0)


class Contested(NamedTuple):
    """What an Assert is about: (S,G), or (*,G) with source None."""

    group: IPv4Address
    source: IPv4Address | None


class _Winner(NamedTuple):
    """AssertWinner with its metric; of two ``rank`` s the greater is preferred (assert_metric of section 4.6.3)."""

    address: IPv4Address
    rank: tuple[int, int, IPv4Address]


class Asserts:
    """AssertWinner(*,G) and AssertWinner(S,G) of one interface, each with its Assert Timer."""

    def __init__(self) -> None:
        self._groups: dict[IPv4Address, dict[IPv4Address | None, _Winner]] = {}
        self._timers: Timers[Contested] = Timers()

    def __len__(self) -> int:
        return len(self._timers)

    def groups(self) -> list[IPv4Address]:
        """The groups of which anything has a winner."""
        return list(self._groups)

    def winner(self, group: IPv4Address, source: IPv4Address | None) -> IPv4Address | None:
        """AssertWinner(S,G) or, with source None, AssertWinner(*,G)."""
        found = self._groups.get(group, {}).get(source)
        return None if found is None else found.address

    def winners(self, group: IPv4Address) -> dict[IPv4Address, IPv4Address]:
        """AssertWinner(S,G) of every source of a group that has one."""
        found = self._groups.get(group, {})
        return {source: winner.address for source, winner in found.items() if source is not None}

    def received(
        self, message: Assert, sender: IPv4Address, tracks: Callable[[IPv4Address | None], bool], now: float
    ) -> Contested | None:
        """Take an Assert in; what has another winner now, or none, if anything does.

        ``tracks`` is AssertTrackingDesired(S,G) or, of None, AssertTrackingDesired(*,G) (section 4.6.1).

        The (S,G) machine comes first, and the (*,G) machine only while that one is in NoInfo (section 4.6.2).
        Raises DecodeError ``assert_not_followed``, or ``too_many_asserts``.
        """
        if message.source != _UNSPECIFIED:
            pair = Contested(message.group, message.source)
            if pair in self._timers:
                return self._loser(pair, message, sender, now)
            if not message.rpt:
                return self._no_info(pair, message, sender, tracks(pair.source), now)
        elif not message.rpt:
            raise DecodeError("assert_not_followed")
        star = Contested(message.group, None)
        if star in self._timers:
            return self._loser(star, message, sender, now)
        return self._no_info(star, message, sender, tracks(None), now)

    def _no_info(
        self, about: Contested, message: Assert, sender: IPv4Address, tracked: bool, now: float
    ) -> Contested | None:
        if not tracked or _is_infinite(message):
            raise DecodeError("assert_not_followed")
        if len(self._timers) >= MAX_ASSERTS:
            raise DecodeError("too_many_asserts")
        self._keep(about, message, sender, now)
        return about

    def _loser(self, about: Contested, message: Assert, sender: IPv4Address, now: float) -> Contested | None:
        winner = self._groups[about.group][about.source]
        of_this_kind = message.rpt is (about.source is None)
        if sender == winner.address:
            if _is_infinite(message):
                self.forget(about)
                return about
            if of_this_kind:
                self._keep(about, message, sender, now)
            return None
        if not of_this_kind or _is_infinite(message) or _rank(message, sender) <= winner.rank:
            raise DecodeError("assert_not_followed")
        self._keep(about, message, sender, now)
        return about

    def _keep(self, about: Contested, message: Assert, sender: IPv4Address, now: float) -> None:
        self._groups.setdefault(about.group, {})[about.source] = _Winner(sender, _rank(message, sender))
        self._timers.set(about, now + ASSERT_TIME)

    def forget(self, about: Contested) -> None:
        """Go to NoInfo: what is contested is not tracked any more, or its winner is gone."""
        self._timers.cancel(about)
        self._remove(about)

    def _remove(self, about: Contested) -> None:
        found = self._groups[about.group]
        del found[about.source]
        if not found:
            del self._groups[about.group]

    def won_by(self, address: IPv4Address | None) -> list[Contested]:
        """What a neighbour has won; of None, what anybody has."""
        return [
            Contested(group, source)
            for group, found in self._groups.items()
            for source, winner in found.items()
            if address in (None, winner.address)
        ]

    def next_deadline(self) -> float:
        """When the first Assert Timer runs out; infinite if none runs."""
        return self._timers.next()

    def expire(self, now: float) -> list[Contested]:
        """Take out what has no winner any more because its Assert Timer has run out."""
        gone = self._timers.due(now)
        for about in gone:
            self._remove(about)
        return gone


def _is_infinite(message: Assert) -> bool:
    """Whether it is an AssertCancel (section 4.6.4)."""
    return (message.preference, message.metric) == INFINITE


def _rank(message: Assert, sender: IPv4Address) -> tuple[int, int, IPv4Address]:
    """The order of two of the same kind: the lower preference, then metric, then the higher address is preferred."""
    return -message.preference, -message.metric, sender
