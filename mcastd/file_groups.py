"""The groups of the file: which of them are desired on which tunnel, and how they move between tunnels.

What ``mcastd.paths`` decides is carried out here in steps, as there may be thousands of groups: they are desired on the
tunnel that they move to before they are not on the one that they leave, so that Joins go before Prunes.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Address
from math import inf
from typing import Final

from mcastd import path_signs
from mcastd.config.model import Config, Group
from mcastd.errors import McastdError
from mcastd.membership import NONE, NOTHING, DesiredGroup, GroupSource
from mcastd.paths import ByHand, Change, Order, Paths
from mcastd.status import PathStatus
from mcastd.system.log import Logger
from mcastd.system.wake import Wake
from mcastd.wanted import FILE, Wanted
from mcastd.wiring import Up

AUTO: Final = "auto"
"""In the place of a tunnel's name: none is preferred by command."""
_STEP: Final = 100  # groups that move at once: some milliseconds
_READ: Final = 500  # groups of a file that are read at once: some milliseconds
_SENDING: Final = 0.1  # seconds in which PIM sends the Joins of 10,000 groups
_SOON: Final = 0.001  # seconds to the next look while a nudge has yet to be followed


class FileGroups:
    """``paths`` decides for those with several tunnels."""

    def __init__(self, wanted: Wanted, held: Wanted, log: Logger, on_change: Callable[[], None]) -> None:
        """``on_change`` is the reconcile nudge, upon which ``configure`` is to be called.

        ``held`` is what sockets of ours are to join for applications, on all tunnels that may carry it.
        """
        self.paths = Paths()
        # The tunnels of groups that have several, each with these groups.
        self.several: dict[str, frozenset[IPv4Address]] = {}
        self._wanted = wanted
        self._held = held
        self._log = log
        self._on_change = on_change
        self._wake = Wake()
        self._config = Config()
        # The tunnels of groups that have several, each with how many of these groups are on one of them at a time.
        self._orders: dict[tuple[str, ...], int] = {}
        self._groups: Sequence[Group] = ()  # those that are desired
        self._tables: dict[IPv4Address, list[Group]] = {}  # those with several tunnels, by their address
        self._addresses: dict[tuple[str, ...], dict[IPv4Address, None]] = {}  # the same by their tunnels
        self._pending: dict[Order, None] = {}  # orders whose groups are to move
        self._is_replacing = False  # another file is being applied, which moves them as well

    def configure(self, config: Config, up: Up) -> None:
        """Decide again, by what is up now."""
        now = time.monotonic()
        self._take(config, now)
        for change in self.paths.update(path_signs.causes(config, up), now, path_signs.silent(up)):
            self.changed(change)
        if self._pending and not self._is_replacing:  # the first Joins leave at once, and not after all of this round
            order = next(iter(self._pending))
            self._move(order.tunnels, self._of(order)[:_STEP], is_joining=True)
        self._wake.set()

    def _take(self, config: Config, now: float) -> None:
        if config is self._config:
            return
        found: dict[tuple[str, ...], list[Group]] = {}
        for group in config.groups:
            if len(group.several) > 1:
                found.setdefault(group.several, []).append(group)
        addresses = {tunnels: frozenset(one.group for one in groups) for tunnels, groups in found.items()}
        self._config = config
        self._orders = {tunnels: sum(one.use == "first" for one in groups) for tunnels, groups in found.items()}
        self.paths.configure(config.paths, found, now, lambda order: order.group in addresses[order.tunnels])
        self.several = {}
        for tunnels, groups_of in addresses.items():
            for name in tunnels:
                self.several[name] = self.several.get(name, NONE) | groups_of

    def changed(self, change: Change) -> None:
        """Carry out a decision."""
        self._pending[change.order] = None
        # The groups of an order may all be with use = "all": then none of them moves.
        if change.before is not None and self._orders.get(change.order.tunnels):
            order, chosen = change.order, change.chosen
            log = self._log if order.group is None else self._log.bind(group=order.group)
            names = ",".join(order.tunnels)
            log.warning("path_changed", tunnels=names, before=change.before, tunnel=chosen.tunnel, why=chosen.why)
        self._wake.set()

    def use(self, tunnel: str, hold: float | None, group: IPv4Address | None) -> str:
        """Prefer a tunnel by command, for ``hold`` seconds (None: until another command); ``AUTO``: none any more.

        For all groups that it can carry, or one. Returns what was done. Raises McastdError, and then nothing was.
        """
        now, counts = time.monotonic(), self._orders
        if tunnel == AUTO:
            found = [order for order in self.paths.by_hand if group in (None, order.group)]
        elif group is None:
            found = [Order(tunnels) for tunnels, count in counts.items() if count and tunnel in tunnels]
        else:
            listed = ((tunnels, self._addresses.get(tunnels, {})) for tunnels in counts if tunnel in tunnels)
            found = [Order(tunnels, group) for tunnels, addresses in listed if group in addresses]
        if not found:
            which = "groups" if group is None else str(group)
            raise McastdError(
                f"no tunnel of {which} is preferred by command"
                if tunnel == AUTO
                else f'{tunnel} is not one of several tunnels of {which} with use = "first"'
            )
        if tunnel != AUTO and (cause := self.paths.causes.get(tunnel, "it is not known")) is not None:
            raise McastdError(f"{tunnel} cannot be used: {cause}")
        by_hand = None if tunnel == AUTO else ByHand(tunnel, inf if hold is None else now + hold)
        for order in found:
            if (change := self.paths.use(order, by_hand, now)) is not None:
                self.changed(change)
        self._on_change()
        return "the order of the file holds again" if by_hand is None else f"{tunnel} is in use"

    def status(self, now: float, group: IPv4Address | None = None) -> tuple[PathStatus, ...]:
        """What carries the groups that several tunnels can carry, or one of them."""
        counts, found = self._orders, list[PathStatus]()
        for order, chosen in self.paths.chosen.items():
            count = counts.get(order.tunnels, 0) if order.group is None else 1
            if not count or (group is not None and not self._is_of(order, group)):
                continue
            by_hand = self.paths.by_hand.get(order)
            dead = {name: self.paths.cause(name, now) for name in order.tunnels}
            found.append(
                PathStatus(
                    tunnels=order.tunnels,
                    group=None if order.group is None else str(order.group),
                    groups=count,
                    tunnel=chosen.tunnel,
                    age=now - chosen.since,
                    why=chosen.why,
                    leaving=chosen.leaving,
                    by_hand=None if by_hand is None else by_hand.tunnel,
                    by_hand_left=by_hand.until - now if by_hand is not None and by_hand.until < inf else None,
                    moves=chosen.moves,
                    dead={name: cause for name, cause in dead.items() if cause is not None},
                )
            )
        return tuple(found)

    def _is_of(self, order: Order, group: IPv4Address) -> bool:
        """Whether a decision is the one on a group."""
        is_listed = group in self._addresses.get(order.tunnels, {})
        return (
            order.group == group
            if Order(order.tunnels, group) in self.paths.chosen
            else order.group is None and is_listed
        )

    async def run(self) -> None:
        """Move groups, and have a decision made when one is due, until cancelled."""
        while True:
            deadline = self.paths.next_deadline()
            await self._wake.wait(None if deadline == inf else max(_SOON, deadline - time.monotonic()))
            while self._pending and not self._is_replacing:
                order = next(iter(self._pending))
                del self._pending[order]
                for _ in self._moving(order):
                    await asyncio.sleep(0)
            if time.monotonic() >= self.paths.next_deadline():
                self._on_change()

    def wanting(self, config: Config) -> Iterator[float]:
        """Desire what a file desires; begun after PIM has its configuration, by whose RPs it is joined.

        In steps, each of which returns how many seconds should pass until the next one: on all tunnels is joined what
        is new before anything is left on any.
        """
        self._take(config, time.monotonic())
        if config.groups is self._groups:
            return
        self._groups = config.groups
        self._is_replacing = True
        try:
            yield from self._replacing(config.groups)
        finally:
            self._is_replacing = False
            self._pending |= dict.fromkeys(self.paths.chosen)  # what was decided meanwhile
            self._wake.set()

    def _replacing(self, groups: Sequence[Group]) -> Iterator[float]:
        tables: dict[IPv4Address, list[Group]] = {}
        addresses: dict[tuple[str, ...], dict[IPv4Address, None]] = {}
        joined: dict[str, list[GroupSource]] = {name: [] for name in self._wanted.memberships()}
        held: dict[str, list[GroupSource]] = {name: [] for name in self._held.memberships()}
        for number, group in enumerate(groups):
            collect(joined, group, self._joined(group))
            if len(group.tunnels) > 1:
                tables.setdefault(group.group, []).append(group)
                addresses.setdefault(group.tunnels, {})[group.group] = None
                collect(held, group, group.tunnels)
            if number % _READ == _READ - 1:
                yield 0.0
        for number, group in enumerate(groups if tables else ()):
            if len(group.tunnels) == 1 and group.group in tables:
                tables[group.group].append(group)
            if number % _READ == _READ - 1:
                yield 0.0
        self._tables, self._addresses = tables, addresses
        joins = 0
        for changes in self._wanted.adding(FILE, joined):
            joins += changes
            yield 0.0
        yield _SENDING if joins else 0.0
        yield from (0.0 for _ in self._wanted.keeping(FILE, joined))
        yield from (0.0 for step in (self._held.adding, self._held.keeping) for _ in step(FILE, held))

    def _joined(self, group: Group) -> tuple[str, ...]:
        tunnels = group.tunnels
        return tunnels if len(tunnels) == 1 or group.use == "all" else self.paths.joined(tunnels, group.group)

    def _moving(self, order: Order) -> Iterator[None]:
        """Join on the tunnels in use, then leave the others."""
        groups, found = self._groups, self._of(order)
        for is_joining in (True, False):
            for first in range(0, len(found), _STEP):
                # Another file that came meanwhile moves its groups itself.
                if groups is not self._groups or Order(order.tunnels) not in self.paths.chosen:
                    return
                self._move(order.tunnels, found[first : first + _STEP], is_joining)
                yield

    def _of(self, order: Order) -> list[IPv4Address]:
        """The groups that a decision is on; none if it is of another file."""
        addresses = self._addresses.get(order.tunnels, {}) if Order(order.tunnels) in self.paths.chosen else {}
        return list(addresses) if order.group is None else [one for one in (order.group,) if one in addresses]

    def _move(self, tunnels: tuple[str, ...], addresses: Sequence[IPv4Address], is_joining: bool) -> None:
        changes: dict[str, dict[IPv4Address, DesiredGroup]] = {name: {} for name in tunnels}
        for address in addresses:
            desired = self._desired(address)
            for name in tunnels:
                if (name in desired) == is_joining:
                    changes[name][address] = desired.get(name, NOTHING)
        for name, groups in changes.items():
            self._wanted.set_groups(name, FILE, groups, is_limited=False)

    def _desired(self, address: IPv4Address) -> dict[str, DesiredGroup]:
        """What all tables of a group desire of it, by tunnel."""
        found: dict[str, DesiredGroup] = {}
        for group in self._tables.get(address, ()):
            for name in self._joined(group):
                known = found.get(name, NOTHING)
                any_source = known.any_source or not group.sources
                found[name] = DesiredGroup(any_source, known.sources | frozenset(group.sources))
        return found


def collect(found: dict[str, list[GroupSource]], group: Group, tunnels: Iterable[str]) -> None:
    """Add to what is desired, by tunnel, a group of the file on these tunnels."""
    for name in tunnels:
        found.setdefault(name, []).extend((group.group, source) for source in group.sources or (None,))
