"""The whole leaf: every interface, and what is wanted on each, whether it is there or not.

Every input takes ``now`` (seconds, monotonic) and returns effects to carry out in order.
"""

from collections.abc import Iterable
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
from mcastd.pim.membership import Membership
from mcastd.pim.packet import ALL_PIM_ROUTERS
from mcastd.pim.settings import PimInterface

FILE_ORIGIN: Final = "file"


class Router:
    """PIM on all interfaces.

    ``generation_ids`` and ``heard`` (sender and Hello), by interface, are what an earlier life may leave: an interface
    that starts speaks under that Generation ID, and knows its neighbours before they speak again.
    """

    def __init__(self, rng: Random) -> None:
        self.interfaces: dict[str, Interface] = {}
        self.memberships: dict[str, Membership] = {}
        self.generation_ids: dict[str, int] = {}
        self.heard: dict[str, list[tuple[IPv4Address, bytes]]] = {}
        self._rng = rng

    def configure(self, interfaces: Iterable[PimInterface], groups: Iterable[Group], now: float) -> list[Effect]:
        """Make these the interfaces that are up, and these the groups that the file wants."""
        effects: list[Effect] = []
        wanted = {settings.name: settings for settings in interfaces}
        for name in list(self.interfaces):
            if not self.interfaces[name].settings.is_another(wanted.get(name)):
                continue
            interface = self.interfaces.pop(name)
            # Started again it is another generation (RFC 7761, section 4.3.1), and neighbours say Hello at once.
            self.generation_ids.pop(name, None)
            interface.stop(now)
            interface.drain()
            effects += _collect(interface)
        changed = self._replace_file_groups(groups)
        for name, settings in wanted.items():
            known = self.interfaces.get(name)
            if known is None:
                self._start(settings, now)
            elif known.settings != settings:
                known.reconfigure(settings, now)
            if known is not None and changed.get(name):
                known.changed(changed[name], now)
            effects += _collect(self.interfaces[name])
        return effects

    def _start(self, settings: PimInterface, now: float) -> None:
        name = settings.name
        generation_id = self.generation_ids.setdefault(name, self._rng.getrandbits(32))
        interface = Interface(settings, self._membership(name), generation_id)
        self.interfaces[name] = interface
        interface.start(now)
        for neighbor, hello in self.heard.pop(name, ()):
            interface.receive(neighbor, ALL_PIM_ROUTERS, hello, now)

    def _replace_file_groups(self, groups: Iterable[Group]) -> dict[str, list[IPv4Address]]:
        by_tunnel: dict[str, list[tuple[IPv4Address, IPv4Address | None]]] = {name: [] for name in self.memberships}
        for group in groups:
            sources: tuple[IPv4Address | None, ...] = group.sources or (None,)
            by_tunnel.setdefault(group.tunnel, []).extend((group.group, source) for source in sources)
        return {name: self._membership(name).replace(FILE_ORIGIN, found) for name, found in by_tunnel.items()}

    def _membership(self, name: str) -> Membership:
        return self.memberships.setdefault(name, Membership())

    def relink(self, name: str, now: float) -> list[Effect]:
        """The path under an interface came back: Hello and Joins at once."""
        interface = self.interfaces.get(name)
        if interface is None:
            return []
        interface.relink(now)
        return _collect(interface)

    def join(
        self,
        group: IPv4Address,
        source: IPv4Address | None,
        name: str,
        origin: str,
        now: float,
        excluded: frozenset[IPv4Address] = frozenset(),
    ) -> list[Effect]:
        """``origin`` wants a group on interface ``name``, which may come up later.

        ``source`` None is any source but those excluded. Raises McastdError with what is wrong.
        """
        self._check(group, source, name)
        try:
            self._membership(name).join(group, source, origin, excluded)
        except McastdError:
            if name in self.interfaces:
                self.interfaces[name].dropped["too_many_joins"] += 1
            raise
        return self._changed(name, group, now)

    def leave(self, group: IPv4Address, source: IPv4Address | None, name: str, origin: str, now: float) -> list[Effect]:
        """``origin`` does not want it any more; the last to leave prunes. Raises McastdError if it had not joined."""
        membership = self._membership(name)
        if not membership.leave(group, source, origin):
            entry = f"{group}" if source is None else f"{group} from {source}"
            others = membership.origins(group, source)
            hint = f"; it is wanted by: {', '.join(others)}" if others else ""
            raise McastdError(f"{entry} was not joined on {name} by {origin}{hint}")
        return self._changed(name, group, now)

    def _changed(self, name: str, group: IPv4Address, now: float) -> list[Effect]:
        interface = self.interfaces.get(name)
        if interface is None:
            return []
        interface.changed([group], now)
        return _collect(interface)

    def _check(self, group: IPv4Address, source: IPv4Address | None, name: str) -> None:
        interface = self.interfaces.get(name)
        # Before the link is there, the ranges are not known here; who asks knows them.
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
        """A PIM message (the payload of an IPv4 packet) came in on an interface."""
        interface = self.interfaces.get(name)
        if interface is None:
            return []
        interface.receive(source, destination, data, now)
        return _collect(interface)

    def auto_rp_received(self, name: str, source: IPv4Address, datagram: bytes, now: float) -> list[Effect]:
        """An Auto-RP message (the UDP datagram of an IPv4 packet) came in on an interface."""
        interface = self.interfaces.get(name)
        if interface is None:
            return []
        interface.receive_auto_rp(source, datagram, now)
        return _collect(interface)

    def next_deadline(self) -> float | None:
        """When ``advance`` is to be called next; None if never."""
        deadline = min((interface.next_deadline() for interface in self.interfaces.values()), default=inf)
        return None if deadline == inf else deadline

    def advance(self, now: float) -> list[Effect]:
        """Do what is due."""
        effects: list[Effect] = []
        for interface in self.interfaces.values():
            interface.advance(now)
            effects += _collect(interface)
        return effects

    def close(self, now: float) -> list[Effect]:
        """Prunes and goodbyes; ``advance`` lets out what is paced, until ``next_deadline`` is None."""
        effects: list[Effect] = []
        for interface in self.interfaces.values():
            interface.stop(now)
            effects += _collect(interface)
        return effects


def _collect(interface: Interface) -> list[Effect]:
    effects, interface.effects = interface.effects, []
    return effects
