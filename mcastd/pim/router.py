"""The whole leaf: every interface, and what is desired on each, whether it is up or not.

Every input takes ``now`` (seconds, monotonic) and returns effects to carry out in order.
"""

from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address
from math import inf
from random import Random
from typing import Final

from mcastd.config.model import Group
from mcastd.config.value_types import LINK_LOCAL_GROUPS
from mcastd.errors import McastdError
from mcastd.net.prefix_table import in_ranges
from mcastd.pim.effects import Effect
from mcastd.pim.interface import Interface
from mcastd.pim.membership import GroupSource, Membership
from mcastd.pim.packet import ALL_PIM_ROUTERS
from mcastd.pim.settings import PimInterface, PimState

FILE_ORIGIN: Final = "file"


class Router:
    """PIM on all interfaces, by their names."""

    def __init__(self, rng: Random) -> None:
        self.interfaces: dict[str, Interface] = {}  # those that run
        self.memberships: dict[str, Membership] = {}  # also of interfaces that do not run
        self.generation_ids: dict[str, int] = {}  # ours; those of interfaces that do not run yet are inherited
        self._inherited: dict[str, list[tuple[IPv4Address, bytes]]] = {}  # neighbours and their Hellos
        self._groups: tuple[Group, ...] = ()  # of the configuration
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

    def configure(self, interfaces: Iterable[PimInterface], groups: tuple[Group, ...], now: float) -> list[Effect]:
        """Run on these interfaces, and join these groups for the configuration."""
        effects: list[Effect] = []
        desired = {settings.name: settings for settings in interfaces}
        for name in list(self.interfaces):
            if self.interfaces[name].settings.is_another(desired.get(name)):
                effects += self._stop(name, now)
        changed = self._replace_file_groups(groups)
        for name, settings in desired.items():
            known = self.interfaces.get(name)
            if known is None:
                self._start(settings, now)
            elif known.settings != settings:
                known.reconfigure(settings, now)
            if known is not None and changed.get(name):
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
        interface = Interface(settings, self._membership(name), generation_id)
        self.interfaces[name] = interface
        interface.start(now)
        for neighbor, hello in self._inherited.pop(name, ()):
            interface.receive(neighbor, ALL_PIM_ROUTERS, hello, now)

    def _replace_file_groups(self, groups: tuple[Group, ...]) -> dict[str, list[IPv4Address]]:
        """The groups that this changed, by interface."""
        if groups is self._groups:
            return {}
        self._groups = groups
        by_tunnel: dict[str, list[GroupSource]] = {name: [] for name in self.memberships}
        for group in groups:
            sources: tuple[IPv4Address | None, ...] = group.sources or (None,)
            by_tunnel.setdefault(group.tunnel, []).extend((group.group, source) for source in sources)
        return {name: self._membership(name).replace(FILE_ORIGIN, found) for name, found in by_tunnel.items()}

    def _membership(self, name: str) -> Membership:
        return self.memberships.setdefault(name, Membership())

    def relink(self, name: str, now: float) -> list[Effect]:
        """The path under an interface came up again: Hello and Joins at once."""
        return self._on(name, lambda interface: interface.relink(now))

    def join(
        self,
        group: IPv4Address,
        source: IPv4Address | None,
        name: str,
        origin: str,
        now: float,
        excluded: frozenset[IPv4Address] = frozenset(),
    ) -> list[Effect]:
        """Join a group for ``origin`` on interface ``name``, which may come up later.

        ``source`` None is any source but those excluded. Raises McastdError with the reason.
        """
        self._check(group, source, name)
        try:
            self._membership(name).join(group, source, origin, excluded)
        except McastdError:
            if name in self.interfaces:
                self.interfaces[name].dropped["too_many_joins"] += 1
            raise
        return self._on(name, lambda interface: interface.changed([group], now))

    def leave(self, group: IPv4Address, source: IPv4Address | None, name: str, origin: str, now: float) -> list[Effect]:
        """Remove a join of ``origin``; the last origin to leave prunes. Raises McastdError if there was none."""
        membership = self._membership(name)
        if not membership.leave(group, source, origin):
            entry = f"{group}" if source is None else f"{group} from {source}"
            others = membership.origins(group, source)
            hint = f"; it is desired by: {', '.join(others)}" if others else ""
            raise McastdError(f"{entry} was not joined on {name} by {origin}{hint}")
        return self._on(name, lambda interface: interface.changed([group], now))

    def _check(self, group: IPv4Address, source: IPv4Address | None, name: str) -> None:
        interface = self.interfaces.get(name)
        # The ranges of an interface that does not run are not known here; the caller knows them.
        ssm_ranges = interface.settings.config.ssm_ranges if interface else ()
        if not group.is_multicast:
            raise McastdError(f"{group} is not a multicast group (224.0.1.0 to 239.255.255.255)")
        if group in LINK_LOCAL_GROUPS:
            raise McastdError(f"{group} is link-local ({LINK_LOCAL_GROUPS}): PIM never joins it")
        if source is None and in_ranges(group, ssm_ranges):
            raise McastdError(f"{group} is source-specific: name the source to join")
        if source is not None and (source.is_multicast or source.is_unspecified or source.is_loopback):
            raise McastdError(f"{source} cannot be a source: a unicast address is needed")

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
