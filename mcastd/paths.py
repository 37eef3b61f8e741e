"""Which of several tunnels carries a group. Sans-IO: it takes ``now`` (monotonic, in seconds), and reads no clock.

Groups with the same tunnels in the same order share one decision, so that it costs the same for one and for many::

    not known yet --alive--> alive --a sign of death--> dead --its end--> alive
    not known yet --_START after it was configured--> dead

    the tunnel in use is dead       the first that is alive takes its place at once
    an earlier one is alive         it takes over when it has been alive for ``hold``, doubled each time that it died
                                    within this time after it had taken over; the tunnel before stays in use for
                                    ``overlap`` as well, so that nothing is lost until packets come by the other
    by hand                         the tunnel named comes first, for as long as was said
    it is silent                    the first other that is alive takes its place, and this one is tried again after
                                    ``hold``, the other one staying in use until packets may have come
    all are dead                    nothing moves: a move would change nothing

A process that takes over begins with what the one before used, and what it does not know yet is not dead.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from math import inf
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from mcastd.config.group_model import Paths as Settings

_START: Final = 3.0  # seconds after which a tunnel that has not come up since it was configured counts as dead
_READING: Final = 2.0  # seconds until silence is seen, beyond what is allowed: arrivals are read every second
_MAX_FACTOR: Final = 32  # times ``hold``


class Order(NamedTuple):
    """Tunnels, the preferred one first; of all groups that have them, or of one that is decided on alone."""

    tunnels: tuple[str, ...]
    group: IPv4Address | None = None


class Chosen(msgspec.Struct, frozen=True):
    """The tunnel in use, since when and why, in words; and the one before, while it is in use as well."""

    tunnel: str
    since: float
    why: str = "it comes first"
    leaving: str | None = None
    leaves_at: float = inf
    moves: int = 0

    @property
    def tunnels(self) -> tuple[str, ...]:
        """Those in use."""
        return (self.tunnel,) if self.leaving is None else (self.tunnel, self.leaving)


class ByHand(msgspec.Struct, frozen=True):
    """The tunnel that comes first by command, until a time."""

    tunnel: str
    until: float = inf


class Change(msgspec.Struct, frozen=True):
    """What is in use for an order has changed; ``before`` is the tunnel that it moved from, or None."""

    order: Order
    chosen: Chosen
    before: str | None = None


class Paths:
    """The decisions."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.causes: Mapping[str, str | None] = {}  # by the tunnel's name why it is dead, as of the last ``update``
        self.chosen: dict[Order, Chosen] = {}
        self.by_hand: dict[Order, ByHand] = {}
        self._alive_since: dict[str, float] = {}  # the tunnels that are alive
        self._known_at: dict[str, float] = {}  # when a tunnel that was not alive yet counts as dead; -inf: from now on
        self._silent: Collection[str] = frozenset()  # the tunnels on which nothing arrives
        self._blamed: dict[tuple[Order, str], float] = {}  # when groups left a tunnel that was silent
        self._returned: dict[Order, float] = {}  # when an earlier tunnel took over
        self._factor: dict[Order, int] = {}  # by how much ``hold`` is multiplied

    def configure(
        self, settings: Settings, orders: Iterable[tuple[str, ...]], now: float, has: Callable[[Order], bool]
    ) -> None:
        """Decide on these orders from now on; ``has`` says whether there is still the group of one decided on alone."""
        self.settings = settings
        kept = dict.fromkeys(orders)
        gone = [order for order in self.chosen if order.tunnels not in kept]
        for tunnels in kept:
            if Order(tunnels) not in self.chosen:
                self._begin(tunnels, gone, now)
        alone = (order for order in self.chosen if order.group is not None and order.tunnels in kept)
        for order in [*gone, *(order for order in alone if not has(order))]:
            self._forget(order)
        names = {name for tunnels in kept for name in tunnels}
        dead = {name for name, cause in self.causes.items() if cause is not None}
        start = {name: -inf if name in dead else now + _START for name in names}
        self._known_at = {name: self._known_at.get(name, start[name]) for name in names}
        self._alive_since = {name: since for name, since in self._alive_since.items() if name in names}

    def _begin(self, tunnels: tuple[str, ...], gone: Iterable[Order], now: float) -> None:
        """Decide on a new order: go on as one that is gone did, of which tunnels were sorted, added or removed."""
        alive = (name for name in tunnels if self.causes.get(name, "") is None)
        name = next(alive, tunnels[0])
        chosen = Chosen(name, now, "it comes first" if name == tunnels[0] else "it is the first that is up")
        for order in gone:
            found = self.chosen[order]
            if order.group is None and found.tunnel in tunnels and len({*order.tunnels} & {*tunnels}) > 1:
                chosen = found if found.leaving in (None, *tunnels) else replace(found, leaving=None, leaves_at=inf)
                by_hand = self.by_hand.get(order)
                if by_hand is not None and by_hand.tunnel in tunnels:
                    self.by_hand[Order(tunnels)] = by_hand
                break
        self.chosen[Order(tunnels)] = chosen

    def inherit(self, chosen: Mapping[Order, Chosen], by_hand: Mapping[Order, ByHand], now: float) -> None:
        """Begin with what the previous process used; call before ``configure``.

        What it was leaving is joined again for a while: else its Prune would never be sent.
        """
        end = now + _START
        self.chosen = {order: replace(one, leaves_at=end) if one.leaving else one for order, one in chosen.items()}
        self.by_hand = {order: one for order, one in by_hand.items() if order in chosen}

    # Questions

    def joined(self, tunnels: tuple[str, ...], group: IPv4Address) -> tuple[str, ...]:
        """The tunnels in use for a group that has these."""
        found = self.chosen.get(Order(tunnels, group)) or self.chosen.get(Order(tunnels))
        return tunnels[:1] if found is None else found.tunnels

    def carrying(self) -> dict[Order, str]:
        """The tunnel in use for each order, the last one that was chosen."""
        return {order: chosen.tunnel for order, chosen in self.chosen.items()}

    def next_deadline(self) -> float:
        """When ``update`` has something to do without another cause; infinite if never."""
        return min(self._deadlines(), default=inf)

    def cause(self, name: str, now: float) -> str | None:
        """Why a tunnel is dead; None if it is not, or that is not known yet."""
        if name in self._alive_since or now < self._known_at.get(name, now + 1):
            return None
        return self.causes.get(name) or "it has not come up"

    # Inputs

    def update(
        self, causes: Mapping[str, str | None], now: float, silent: Collection[str] = frozenset()
    ) -> list[Change]:
        """Take why tunnels are dead, None for those that are alive, and on which nothing arrives, and decide."""
        self.causes, self._silent = causes, silent
        for name in self._known_at:
            if causes.get(name, "") is not None:
                self._alive_since.pop(name, None)
            else:
                self._alive_since.setdefault(name, now)
            if name in self._alive_since or now >= self._known_at[name]:
                self._known_at[name] = -inf
        for order in [order for order, one in self.by_hand.items() if now >= one.until]:
            del self.by_hand[order]
        return [change for order in list(self.chosen) if (change := self._decide(order, now)) is not None]

    def use(self, order: Order, by_hand: ByHand | None, now: float) -> Change | None:
        """Let a tunnel that is alive come first by command; None: none from now on."""
        base = self.chosen[Order(order.tunnels)]
        chosen = self.chosen.setdefault(order, replace(base, moves=0))
        if by_hand is None:
            self.by_hand.pop(order, None)
            return self._decide(order, now)
        self.by_hand[order] = by_hand
        if chosen.tunnel == by_hand.tunnel:
            return None
        return self._move(order, by_hand.tunnel, "by hand", now, leaving=chosen.tunnel)

    # Decisions

    def _decide(self, order: Order, now: float) -> Change | None:
        chosen, wish = self.chosen[order], self._wish(order)
        cause = self.cause(chosen.tunnel, now)
        if cause is not None:
            after = next((name for name in wish if name in self._alive_since), None)
            if after is None:
                return self._leave(order, now)
            self._lengthen_hold(order, now)
            return self._move(order, after, f"{chosen.tunnel} is dead: {cause}", now)
        if (after := self._instead_of_silence(order, chosen, wish, now)) is not None:
            self._blamed[order, chosen.tunnel] = now
            self._lengthen_hold(order, now)
            why = f"nothing has arrived on {chosen.tunnel} for {self.settings.max_silence:g}s"
            return self._move(order, after, why, now)
        earlier = wish[: wish.index(chosen.tunnel)]
        if after := next((name for name in earlier if now >= self._proven_at(order, name)), None):
            self._returned[order] = now
            self._factor.setdefault(order, 1)
            why = "by hand" if order in self.by_hand else f"it comes before {chosen.tunnel}, and is up again"
            return self._move(order, after, why, now, leaving=chosen.tunnel)
        if (left := self._leave(order, now)) is not None:
            return left
        if chosen.leaving is None and chosen.tunnel not in self._silent:
            self._blamed.pop((order, chosen.tunnel), None)
        if order.group is not None and order not in self.by_hand:
            base = self.chosen[Order(order.tunnels)]
            if (chosen.tunnel, chosen.leaving, base.leaving) == (base.tunnel, None, None):
                self._forget(order)  # it is as the others again
        return None

    def _leave(self, order: Order, now: float) -> Change | None:
        """End the overlap when its time is over, or there is none with a tunnel that is dead."""
        chosen = self.chosen[order]
        if chosen.leaving is None or (now < chosen.leaves_at and self.cause(chosen.leaving, now) is None):
            return None
        self.chosen[order] = replace(chosen, leaving=None, leaves_at=inf)
        return Change(order, self.chosen[order])

    def _instead_of_silence(self, order: Order, chosen: Chosen, wish: tuple[str, ...], now: float) -> str | None:
        """The tunnel that takes the place of one that is silent; None if it is not, or others were silent of late."""
        limit = self.settings.max_silence
        if limit is None or chosen.tunnel not in self._silent or now - chosen.since < limit:
            return None
        others = (name for name in wish if name != chosen.tunnel and name in self._alive_since)
        return next((name for name in others if now >= self._blamed_until(order, name)), None)

    def _blamed_until(self, order: Order, name: str) -> float:
        return self._blamed.get((order, name), -inf) + self.settings.hold * self._factor.get(order, 1)

    def _move(self, order: Order, after: str, why: str, now: float, leaving: str | None = None) -> Change:
        before = self.chosen[order]
        overlap = self.settings.overlap
        if (order, after) in self._blamed:  # it may be silent still, and that has to be seen before the other is left
            overlap = max(overlap, (self.settings.max_silence or 0.0) + _READING)
        stays = leaving if leaving in self._alive_since and overlap else None
        self.chosen[order] = Chosen(after, now, why, stays, now + overlap if stays else inf, before.moves + 1)
        return Change(order, self.chosen[order], before.tunnel)

    def _wish(self, order: Order) -> tuple[str, ...]:
        """The tunnels of an order as they are preferred now."""
        by_hand = self.by_hand.get(order) or self.by_hand.get(Order(order.tunnels))
        if by_hand is None:
            return order.tunnels
        return (by_hand.tunnel, *(name for name in order.tunnels if name != by_hand.tunnel))

    def _proven_at(self, order: Order, name: str) -> float:
        """When a tunnel has been alive for long enough to take over from one that is alive, too."""
        alive = self._alive_since.get(name, inf) + self.settings.hold * self._factor.get(order, 1)
        return max(alive, self._blamed_until(order, name))

    def _lengthen_hold(self, order: Order, now: float) -> None:
        """The tunnel in use is dead: is it one that had just taken over?"""
        factor, returned = self._factor.get(order, 1), self._returned.pop(order, -inf)
        is_flapping = now - returned < self.settings.hold * factor
        self._factor[order] = min(2 * factor, _MAX_FACTOR) if is_flapping else 1

    def _forget(self, order: Order) -> None:
        for table in (self.chosen, self.by_hand, self._returned, self._factor):
            table.pop(order, None)
        self._blamed = {key: at for key, at in self._blamed.items() if key[0] != order}

    def _deadlines(self) -> Iterator[float]:
        yield from (one.until for one in self.by_hand.values())
        yield from (at for at in self._known_at.values() if at > -inf)
        for order, chosen in self.chosen.items():
            yield chosen.leaves_at
            wish = self._wish(order)
            yield from (self._proven_at(order, name) for name in wish[: wish.index(chosen.tunnel)])
