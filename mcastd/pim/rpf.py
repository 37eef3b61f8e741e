"""RPF' of every entry of one interface (RFC 7761, section 4.1.5), and the upstream machines towards each of them.

All entries share one upstream neighbour, the route as it were, but those of which another router has won an Assert:
these are joined at the winner. An entry that an Assert moves is not pruned where it was, and is joined where it goes
within t_override, since the winner is forwarding already (sections 4.5.4 and 4.5.5).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from math import inf
from typing import Final, NamedTuple

from mcastd.pim.asserts import Asserts, Contested
from mcastd.pim.entries import Timing, Told
from mcastd.pim.membership import NONE, Membership, Wanted
from mcastd.pim.messages import Assert
from mcastd.pim.packet import JoinPrune
from mcastd.pim.rp import RpMap
from mcastd.pim.upstream import Upstream

MERGE_WINDOW: Final = 0.02  # joins and leaves this close together share a message


class Saying(NamedTuple):
    """What is to be told to a neighbour."""

    neighbor: IPv4Address
    told: Told


@dataclass(slots=True)
class _Path:
    """The machines towards one neighbour, and when they are to tell it the difference."""

    upstream: Upstream
    flush_at: float = inf
    flushed_at: float = -inf

    def flush(self, now: float) -> list[Saying]:
        self.flush_at = inf
        told = self.upstream.flush(now)
        if told.messages:
            self.flushed_at = now
        neighbor = self.upstream.neighbor
        return [] if neighbor is None else [Saying(neighbor, told)]


class Rpf:
    """What is wanted, at whom. ``neighbor`` is RPF' of all that no Assert decides, None if none is known."""

    def __init__(self, timing: Timing, membership: Membership, rps: RpMap) -> None:
        self.neighbor: IPv4Address | None = None
        self._timing = timing
        self._membership = membership
        self._rps = rps
        self._main = _Path(Upstream(timing))
        self._winners: dict[IPv4Address, _Path] = {}
        self._asserts = Asserts()

    def retime(self, timing: Timing) -> None:
        """Use other periods, or another MTU, from now on."""
        self._timing = timing
        for path in self._paths():
            path.upstream.retime(timing)

    def _paths(self) -> list[_Path]:
        return [self._main, *self._winners.values()]

    # What is wanted

    def desire(self, groups: Iterable[IPv4Address]) -> None:
        """What is wanted of these groups, or whom it is to be had from, has changed."""
        for group in groups:
            wanted = self._membership.wanted(group)
            rp = self._rps.rp(group) if wanted.any_source else None
            if self._winners or self._asserts:
                self._untrack(group)
                self._share_out(group, rp, wanted)
            else:
                self._main.upstream.want(group, rp, wanted.sources, wanted.excluded)

    def _share_out(self, group: IPv4Address, rp: IPv4Address | None, wanted: Wanted) -> None:
        """Want of each neighbour what it is RPF' of; forget, without a Prune, what has gone to another one."""
        sources = wanted.sources
        star = self._towards(group, None)
        pairs = {source: self._towards(group, source) for source in sources}
        # A source that comes from another neighbour is pruned off the shared tree (section 4.5.6).
        elsewhere = {source for source in self._asserts.winners(group) if self._towards(group, source) != star}
        for winner in (star if rp is not None else None, *pairs.values()):
            if winner is None or winner in self._winners:
                continue
            path = self._winners[winner] = _Path(Upstream(self._timing))
            path.upstream.set_neighbor(winner, old_is_alive=False)
        for neighbor, path in ((None, self._main), *self._winners.items()):
            share = frozenset(source for source, towards in pairs.items() if towards == neighbor) or NONE
            told_rp, told_sources = path.upstream.told(group)
            moved = (told_sources & sources) - share
            has_star = star == neighbor
            star_moved = told_rp is not None and rp is not None and not has_star
            if moved or star_moved:
                path.upstream.release(group, star_moved, moved)
            path.upstream.want(
                group, rp if has_star else None, share, wanted.excluded | elsewhere if has_star else NONE
            )
        self._winners = {address: path for address, path in self._winners.items() if path.upstream}

    def _towards(self, group: IPv4Address, source: IPv4Address | None) -> IPv4Address | None:
        """RPF'(S,G) or, with source None, RPF'(*,G); None where it is ``neighbor``."""
        winner = self._asserts.winner(group, source)
        return None if winner == self.neighbor else winner

    def hurry(self, at: float) -> None:
        """Tell what has changed at ``at``, or when the last time is long enough ago."""
        for path in self._paths():
            if path.upstream.unsaid:
                path.flush_at = min(path.flush_at, max(at, path.flushed_at + MERGE_WINDOW))

    @property
    def unsaid(self) -> bool:
        """Whether there is something that ``neighbor`` should be told."""
        return self._main.upstream.unsaid

    # Asserts

    def asserted(self, message: Assert, sender: IPv4Address, now: float) -> list[Contested]:
        """Take an Assert in; what has another winner now, or none. Raises DecodeError."""
        wanted = self._membership.wanted(message.group)
        has_star = wanted.any_source and self._rps.rp(message.group) is not None

        def tracks(source: IPv4Address | None) -> bool:
            return source in wanted.sources or (has_star and source not in wanted.excluded)

        changed = self._asserts.received(message, sender, tracks, now)
        return [] if changed is None else self._decided([changed])

    def lose(self, winner: IPv4Address | None) -> list[Contested]:
        """The Asserts that a neighbour has won are void: it died, or its GenID changed; of None, all are."""
        gone = self._asserts.won_by(winner)
        for about in gone:
            self._asserts.forget(about)
        return self._decided(gone)

    def expire(self, now: float) -> list[Contested]:
        """Let Assert Timers run out; what has no winner any more."""
        return self._decided(self._asserts.expire(now)) if now >= self._asserts.next_deadline() else []

    def _decided(self, changed: list[Contested]) -> list[Contested]:
        self.desire(dict.fromkeys(about.group for about in changed))
        return changed

    def _untrack(self, group: IPv4Address) -> None:
        """AssertTrackingDesired became false of what nobody wants any more."""
        wanted = self._membership.wanted(group)
        if not wanted.any_source:
            sources = [source for source in self._asserts.winners(group) if source not in wanted.sources]
            star = [None] if self._asserts.winner(group, None) is not None else []
            for source in (*sources, *star):
                self._asserts.forget(Contested(group, source))

    def winner(self, group: IPv4Address, source: IPv4Address | None) -> IPv4Address | None:
        """Who has won the Assert of an entry."""
        return self._asserts.winner(group, source)

    @property
    def contested(self) -> int:
        """How many Asserts have a winner."""
        return len(self._asserts)

    # RPF' changes

    def set_neighbor(self, neighbor: IPv4Address | None, old_is_alive: bool) -> Told:
        """RPF' of all that no Assert decides changes: Prunes for the old one if it lives."""
        self.neighbor = neighbor
        self.desire(self._asserts.groups())
        return self._main.upstream.set_neighbor(neighbor, old_is_alive)

    def forget(self) -> None:
        """Everybody knows nothing of us: everything is to be said again."""
        self.lose(None)
        self._main.upstream.forget()

    def prune_all(self) -> list[Saying]:
        """Prunes for all that anybody was told."""
        return [
            Saying(path.upstream.neighbor, path.upstream.prune_all())
            for path in self._paths()
            if path.upstream.neighbor is not None
        ]

    def stop(self) -> None:
        """Say nothing more."""
        self.forget()
        self._main.flush_at = inf

    # Time

    def next_deadline(self) -> float:
        """When there is something to say, or an Assert Timer runs out."""
        return min(self._asserts.next_deadline(), *(self._deadline(path) for path in self._paths()))

    def _deadline(self, path: _Path) -> float:
        return min(path.flush_at, path.upstream.next_deadline() if path.upstream.neighbor else inf)

    def due(self, now: float) -> list[bytes]:
        """The Joins whose time has come."""
        return [message for path in self._paths() if path.upstream.neighbor for message in path.upstream.due(now)]

    def flush_due(self, now: float) -> list[Saying]:
        """What has changed and whose time has come."""
        return [saying for path in self._paths() if now >= path.flush_at for saying in path.flush(now)]

    def flush(self, now: float) -> list[Saying]:
        """What has changed, at once."""
        return [saying for path in self._paths() for saying in path.flush(now)]

    def seen(
        self, upstream: IPv4Address, message: JoinPrune, now: float, suppress: float, override: Callable[[], float]
    ) -> None:
        """Another router's Join/Prune to the neighbour ``upstream``, which may be RPF' of ours."""
        for path in self._paths():
            if path.upstream.neighbor == upstream:
                path.upstream.seen(message, now, suppress, override)

    # Questions

    def upstream(self, group: IPv4Address, source: IPv4Address | None) -> Upstream:
        """The machines towards RPF' of an entry."""
        towards = self._towards(group, source)
        path = self._winners.get(towards, self._main) if towards is not None else self._main
        return path.upstream
