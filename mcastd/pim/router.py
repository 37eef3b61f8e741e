"""The whole leaf: every interface that runs.

Every input takes ``now`` (seconds, monotonic) and returns effects to carry out in order.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from math import inf
from random import Random
from typing import Final

from mcastd.pim.effects import Effect
from mcastd.pim.interface import Interface
from mcastd.pim.packet import ALL_PIM_ROUTERS
from mcastd.pim.settings import PimInterface, PimState
from mcastd.wanted import Wanted

_NONE: Final[Mapping[str, Iterable[IPv4Address]]] = {}


class Router:
    """PIM on all interfaces, by their names. ``wanted`` is what to join on each, whether it runs or not."""

    def __init__(self, rng: Random, wanted: Wanted) -> None:
        self.interfaces: dict[str, Interface] = {}  # those that run
        self.wanted = wanted
        self.generation_ids: dict[str, int] = {}  # ours; those of interfaces that do not run yet are inherited
        self._inherited: dict[str, list[tuple[IPv4Address, bytes]]] = {}  # neighbours and their Hellos
        self._rng = rng

    def inherit(self, state: PimState) -> None:
        """Go on as the previous process: under its Generation IDs, with the neighbours that it had."""
        self.generation_ids.update(state.generation_ids)
        for name, neighbor, hello in state.hellos:
            self._inherited.setdefault(name, []).append((neighbor, hello))

    def inherited(self) -> Iterator[tuple[str, IPv4Address, bytes]]:
        """The Hellos that were inherited for interfaces which do not run yet."""
        for name, hellos in self._inherited.items():
            yield from ((name, neighbor, hello) for neighbor, hello in hellos)

    def configure(
        self, interfaces: Iterable[PimInterface], now: float, changed: Mapping[str, Iterable[IPv4Address]] = _NONE
    ) -> list[Effect]:
        """Run on these interfaces. ``changed`` are, by interface, groups of which something else is desired now."""
        effects: list[Effect] = []
        desired = {settings.name: settings for settings in interfaces}
        for name in list(self.interfaces):
            if self.interfaces[name].settings.is_another(desired.get(name)):
                effects += self._stop(name, now)
        for name, settings in desired.items():
            known = self.interfaces.get(name)
            if known is None:
                self._start(settings, now)
            elif known.settings != settings:
                known.reconfigure(settings, now)
            if known is not None and name in changed:
                known.changed(changed[name], now)
            effects += _collect(self.interfaces[name])
        return effects

    def _stop(self, name: str, now: float) -> list[Effect]:
        interface = self.interfaces.pop(name)
        # Started again it has another Generation ID (RFC 7761, section 4.3.1): neighbours send Hellos at once.
        self.generation_ids.pop(name, None)
        interface.stop(now)
        interface.drain()
        return _collect(interface)

    def _start(self, settings: PimInterface, now: float) -> None:
        name = settings.name
        generation_id = self.generation_ids.setdefault(name, self._rng.getrandbits(32))
        interface = Interface(settings, self.wanted.of(name), generation_id)
        self.interfaces[name] = interface
        interface.start(now)
        for neighbor, hello in self._inherited.pop(name, ()):
            interface.receive(neighbor, ALL_PIM_ROUTERS, hello, now)

    def relink(self, name: str, now: float) -> list[Effect]:
        """The path under an interface came up again: Hello and Joins at once."""
        return self._on(name, lambda interface: interface.relink(now))

    def changed(self, name: str, groups: Iterable[IPv4Address], now: float) -> list[Effect]:
        """What is desired of these groups on an interface has changed."""
        return self._on(name, lambda interface: interface.changed(groups, now))

    def received(
        self, name: str, source: IPv4Address, destination: IPv4Address, data: bytes, now: float
    ) -> list[Effect]:
        """A PIM message (the payload of an IPv4 packet) arrived on an interface."""
        return self._on(name, lambda interface: interface.receive(source, destination, data, now))

    def auto_rp_received(self, name: str, source: IPv4Address, datagram: bytes, now: float) -> list[Effect]:
        """An Auto-RP message (the UDP datagram of an IPv4 packet) arrived on an interface."""
        return self._on(name, lambda interface: interface.receive_auto_rp(source, datagram, now))

    def _on(self, name: str, action: Callable[[Interface], None]) -> list[Effect]:
        interface = self.interfaces.get(name)
        if interface is None:
            return []
        action(interface)
        return _collect(interface)

    def next_deadline(self) -> float:
        """When ``advance`` is to be called next; infinite if never."""
        return min((interface.next_deadline() for interface in self.interfaces.values()), default=inf)

    def advance(self, now: float) -> list[Effect]:
        """Do what is due."""
        effects: list[Effect] = []
        for interface in self.interfaces.values():
            interface.advance(now)
            effects += _collect(interface)
        return effects

    def close(self, now: float) -> list[Effect]:
        """Prunes and goodbyes; ``advance`` sends what is paced, until ``next_deadline`` is infinite."""
        effects: list[Effect] = []
        for interface in self.interfaces.values():
            interface.stop(now)
            effects += _collect(interface)
        return effects

    def joined(self, name: str, now: float) -> int:
        """How many of the desired entries of an interface are joined."""
        interface = self.interfaces.get(name)
        return 0 if interface is None else interface.joined(now)


def _collect(interface: Interface) -> list[Effect]:
    effects, interface.effects = interface.effects, []
    return effects
