"""The groups of the file: which of them are desired on which tunnel, and how they move between tunnels.

What ``mcastd.paths`` decides is carried out here in steps, as there may be thousands of groups: they are desired on the
tunnel that they move to before they are not on the one that they leave, so that Joins go before Prunes.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address
from math import inf
from typing import Final

from mcastd import path_signs
from mcastd.config.model import Config, Group
from mcastd.membership import NOTHING, DesiredGroup
from mcastd.paths import Change, Order, Paths
from mcastd.system.log import Logger
from mcastd.system.wake import Wake
from mcastd.wanted import FILE, Wanted
from mcastd.wiring import Up, file_entries

_STEP: Final = 100  # groups that move at once: some milliseconds
_SOON: Final = 0.001  # seconds to the next look while a nudge has yet to be followed


class FileGroups:
    """``paths`` decides for those with several tunnels."""

    def __init__(self, wanted: Wanted, log: Logger, on_change: Callable[[], None]) -> None:
        """``on_change`` is the reconcile nudge, upon which ``configure`` is to be called."""
        self.paths = Paths()
        self._wanted = wanted
        self._log = log
        self._on_change = on_change
        self._wake = Wake()
        self._config = Config()
        self._groups: Sequence[Group] = ()  # those that are desired
        self._tables: dict[IPv4Address, list[Group]] = {}  # those with several tunnels, by their address
        self._addresses: dict[tuple[str, ...], dict[IPv4Address, None]] = {}  # the same by their tunnels
        self._pending: dict[Order, None] = {}  # orders whose groups are to move
        self._is_replacing = False  # another file is being applied, which moves them as well

    def configure(self, config: Config, up: Up) -> None:
        """Decide again, by what is up now."""
        now = time.monotonic()
        self._take(config, now)
        for change in self.paths.update(path_signs.causes(config, up), now):
            self.changed(change)
        self._wake.set()

    def _take(self, config: Config, now: float) -> None:
        if config is not self._config:
            self._config = config
            self.paths.configure(config.paths, orders(config), now)

    def changed(self, change: Change) -> None:
        """Carry out a decision."""
        self._pending[change.order] = None
        if change.before is not None:
            order, chosen = change.order, change.chosen
            log = self._log if order.group is None else self._log.bind(group=order.group)
            names = ",".join(order.tunnels)
            log.warning("path_changed", tunnels=names, before=change.before, tunnel=chosen.tunnel, why=chosen.why)
        self._wake.set()

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

    def wanting(self, config: Config) -> Iterator[None]:
        """Desire what a file desires, in steps; begun after PIM has its configuration, by whose RPs it is joined."""
        self._take(config, time.monotonic())
        if config.groups is self._groups:
            return
        self._groups = groups = config.groups
        self._tables, self._addresses = {}, {}
        for group in groups:
            if len(group.tunnels) > 1:
                self._tables.setdefault(group.group, []).append(group)
                self._addresses.setdefault(group.tunnels, {})[group.group] = None
        for group in groups:
            if len(group.tunnels) == 1 and group.group in self._tables:
                self._tables[group.group].append(group)
        self._is_replacing = True
        try:
            found = file_entries(config, self._joined)
            for name in {**self._wanted.memberships(), **found}:
                yield from self._wanted.replacing(name, FILE, found.get(name, ()))
        finally:
            self._is_replacing = False
            self._pending |= dict.fromkeys(self.paths.chosen)  # what was decided meanwhile
            self._wake.set()

    def _joined(self, group: Group) -> tuple[str, ...]:
        tunnels = group.tunnels
        return tunnels if len(tunnels) == 1 or group.use == "all" else self.paths.joined(tunnels, group.group)

    def _moving(self, order: Order) -> Iterator[None]:
        """Join on the tunnels in use, then leave the others."""
        addresses = self._addresses.get(order.tunnels, {})
        found = list(addresses) if order.group is None else [one for one in (order.group,) if one in addresses]
        for is_joining in (True, False):
            for first in range(0, len(found), _STEP):
                self._move(order.tunnels, found[first : first + _STEP], is_joining)
                yield

    def _move(self, tunnels: tuple[str, ...], addresses: Sequence[IPv4Address], is_joining: bool) -> None:
        changes: dict[str, dict[IPv4Address, DesiredGroup]] = {name: {} for name in tunnels}
        for address in addresses:
            desired = self._desired(address)
            for name in tunnels:
                if (name in desired) == is_joining:
                    changes[name][address] = desired.get(name, NOTHING)
        for name, groups in changes.items():
            self._wanted.set_groups(name, FILE, groups)

    def _desired(self, address: IPv4Address) -> dict[str, DesiredGroup]:
        """What all tables of a group desire of it, by tunnel."""
        found: dict[str, DesiredGroup] = {}
        for group in self._tables.get(address, ()):
            for name in self._joined(group):
                known = found.get(name, NOTHING)
                any_source = known.any_source or not group.sources
                found[name] = DesiredGroup(any_source, known.sources | frozenset(group.sources))
        return found


def orders(config: Config) -> dict[tuple[str, ...], int]:
    """The tunnels of the groups that have several, each with how many groups these are."""
    found: dict[tuple[str, ...], int] = {}
    for group in config.groups:
        if len(group.tunnels) > 1:
            found[group.tunnels] = found.get(group.tunnels, 0) + 1
    return found
