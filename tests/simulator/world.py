"""A point-to-point link in simulated time, with mcastd's machine at one end and the reference at the other."""

import heapq
import time
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from random import Random

from msgspec.structs import replace

from mcastd.config.model import Group, Pim, RpRange
from mcastd.file_groups import collect
from mcastd.membership import GroupSource
from mcastd.pim.agent import PimAgent
from mcastd.pim.effects import Effect, Event, Send
from mcastd.pim.report import group_statuses
from mcastd.pim.router import Router
from mcastd.pim.settings import PimInterface
from mcastd.status import GroupStatus
from mcastd.wanted import FILE, Wanted
from tests.simulator.reference import Reference

UPSTREAM = IPv4Address("10.44.4.5")
LEAF = IPv4Address("10.44.4.6")
RP = IPv4Address("100.15.30.253")
PIM = Pim(neighbor=UPSTREAM, rp=(RpRange(address=RP, groups=(IPv4Network("224.0.0.0/4"),)),))
NAME = "gre1"
EVERY_ROUTER = (IPv4Network("0.0.0.0/0"),)  # for accept_neighbors


def settings(pim: Pim = PIM, address: IPv4Address = LEAF, mtu: int = 1398) -> PimInterface:
    """An interface for the leaf."""
    return PimInterface(NAME, 7, mtu, address, (), pim)


@dataclass
class Weather:
    """What the link does to packets; ``burst`` bounds how many of one sender and type are lost in a row."""

    loss: float = 0.0
    burst: int = 10**9
    delay: float = 0.01
    jitter: float = 0.0
    duplicate: float = 0.0


def every_group(wanted: Wanted) -> list[IPv4Address]:
    """The groups that are desired on any interface."""
    return list(dict.fromkeys(group for table in wanted.memberships().values() for group in table.groups()))


def statuses(router: Router, now: float) -> tuple[GroupStatus, ...]:
    """Every entry that is desired, as status shows it."""
    names = router.wanted.memberships()
    return tuple(row for group in every_group(router.wanted) for row in group_statuses(router, names, group, now))


def joins(agent: PimAgent, wanted: Wanted) -> tuple[GroupStatus, ...]:
    """Every entry that is desired on the tunnels of an agent."""
    return tuple(row for group in every_group(wanted) for row in agent.group(group, time.monotonic()))


def want_file(wanted: Wanted, groups: tuple[Group, ...]) -> None:
    """Desire these groups for the file."""
    entries: dict[str, list[GroupSource]] = {name: [] for name in wanted.memberships()}
    for group in groups:
        collect(entries, group, group.tunnels)
    for name, found in entries.items():
        wanted.replace(name, FILE, found)


class WantedRouter(Router):
    """A router, and what is wanted of it: the effects of a change are returned, as the agent carries them out."""

    def __init__(self, rng: Random) -> None:
        super().__init__(rng, Wanted(lambda: 0.0))
        self._groups: tuple[Group, ...] = ()
        self._changed: dict[str, dict[IPv4Address, None]] = {}
        self.wanted.listen(lambda name, groups: self._changed.setdefault(name, {}).update(dict.fromkeys(groups)))

    def want(self, interfaces: Iterable[PimInterface], groups: tuple[Group, ...], now: float) -> list[Effect]:
        """Run on these interfaces, and join what a file has."""
        if groups is not self._groups:
            self._groups = groups
            want_file(self.wanted, groups)
        changed, self._changed = self._changed, {}
        return self.configure(interfaces, now, changed)

    def join(
        self,
        group: IPv4Address,
        source: IPv4Address | None,
        name: str,
        origin: str,
        now: float,
        excluded: frozenset[IPv4Address] = frozenset(),
    ) -> list[Effect]:
        self.wanted.join(name, group, source, origin, excluded)
        return self._effects(now)

    def leave(self, group: IPv4Address, source: IPv4Address | None, name: str, origin: str, now: float) -> list[Effect]:
        assert self.wanted.leave(name, group, source, origin)
        return self._effects(now)

    def _effects(self, now: float) -> list[Effect]:
        changed, self._changed = self._changed, {}
        return [effect for name, groups in changed.items() for effect in self.changed(name, groups, now)]


class Leaf:
    """mcastd's router with one interface on the link."""

    def __init__(self, world: "World", own: PimInterface) -> None:
        self.world = world
        self.settings = own
        self.groups: tuple[Group, ...] = ()
        self.events: list[Event] = []
        self.restart(world.now)

    def restart(self, now: float) -> None:
        """Killed, and started again with the same file."""
        self.router = WantedRouter(self.world.random)
        self._do(self.router.want((self.settings,), self.groups, now))

    def configure(self, groups: tuple[Group, ...], now: float) -> None:
        self.groups = groups
        self._do(self.router.want((self.settings,), groups, now))

    def join(self, group: IPv4Address, source: IPv4Address | None = None, origin: str = "test") -> None:
        self._do(self.router.join(group, source, NAME, origin, self.world.now))

    def exclude(self, group: IPv4Address, excluded: frozenset[IPv4Address], origin: str = "test") -> None:
        self._do(self.router.join(group, None, NAME, origin, self.world.now, excluded))

    def leave(self, group: IPv4Address, source: IPv4Address | None = None, origin: str = "test") -> None:
        self._do(self.router.leave(group, source, NAME, origin, self.world.now))

    def fall_silent(self) -> None:
        """All streams fell silent together."""
        self.settings = replace(self.settings, silences=self.settings.silences + 1)
        self.configure(self.groups, self.world.now)

    def relink(self) -> None:
        self._do(self.router.relink(NAME, self.world.now))

    def close(self) -> None:
        self._do(self.router.close(self.world.now))

    def advance(self, now: float) -> None:
        self._do(self.router.advance(now))

    def receive(self, source: IPv4Address, data: bytes, now: float) -> None:
        self._do(self.router.received(NAME, source, IPv4Address("224.0.0.13"), data, now))

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self.world.transmit(self.settings.address, effect.payload)
            else:
                self.events.append(effect)

    def wanted(self) -> set[tuple[IPv4Address, IPv4Address | None]]:
        return {(group, source) for group, source, _ in self.router.wanted.of(NAME).entries()}


class World:
    """The link, the two at its ends, and the clock. ``weather`` is what happens to packets."""

    def __init__(self, seed: int = 0, weather: Weather | None = None, own: PimInterface | None = None) -> None:
        self.now = 1000.0
        self.random = Random(seed)
        self.weather = weather or Weather()
        self.reference = Reference(UPSTREAM, seed)
        self.reference.restart(self.now)
        self.sent: list[tuple[float, IPv4Address, bytes]] = []
        self.cut = False
        self._flight: list[tuple[float, int, IPv4Address, bytes]] = []
        self._count = 0
        self._lost_in_a_row: dict[tuple[IPv4Address, int], int] = {}
        self._missing_since: dict[tuple[IPv4Address, IPv4Address | None], float] = {}
        self.longest_missing = 0.0

        self.leaf = Leaf(self, own or settings())

    def transmit(self, source: IPv4Address, data: bytes) -> None:
        """Send to the other end, through the weather."""
        self.sent.append((self.now, source, data))
        if not self._loses((source, data[0] & 15)):
            for _ in range(2 if self.random.random() < self.weather.duplicate else 1):
                arrival = self.now + self.weather.delay + self.random.uniform(0, self.weather.jitter)
                self._count += 1
                heapq.heappush(self._flight, (arrival, self._count, source, data))

    def _loses(self, way: tuple[IPv4Address, int]) -> bool:
        row = self._lost_in_a_row.get(way, 0)
        lost = self.cut or (row < self.weather.burst and self.random.random() < self.weather.loss)
        self._lost_in_a_row[way] = row + 1 if lost else 0
        return lost

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            self._collect()
            deadline = min(self.reference.next_deadline(), self.leaf.router.next_deadline())
            arrival = self._flight[0][0] if self._flight else end
            self.now = max(self.now, min(deadline, arrival, end))
            self._watch()
            if self.now >= end and min(deadline, arrival) > end:
                return
            self._step()
            self._watch()
            if self.now >= end:
                return

    def _step(self) -> None:
        while self._flight and self._flight[0][0] <= self.now:
            _, _, source, data = heapq.heappop(self._flight)
            receiver = self.leaf if source == self.reference.address else self.reference
            receiver.receive(source, data, self.now)
        self.reference.advance(self.now)
        self.leaf.advance(self.now)
        self._collect()

    def _collect(self) -> None:
        outbox, self.reference.outbox = self.reference.outbox, []
        for data in outbox:
            self.transmit(self.reference.address, data)

    def _watch(self) -> None:
        """Keep the longest time for which something that was wanted all the while was not joined upstream."""
        missing = self.leaf.wanted() - self.reference.joined()
        for entry in missing:
            self._missing_since.setdefault(entry, self.now)
        for entry, since in list(self._missing_since.items()):
            self.longest_missing = max(self.longest_missing, self.now - since)
            if entry not in missing:
                del self._missing_since[entry]


def with_pim(**changes: object) -> PimInterface:
    """An interface whose ``[pim]`` differs from the usual one."""
    own = settings()
    return replace(own, config=Pim(**{**{f: getattr(PIM, f) for f in PIM.__struct_fields__}, **changes}))
