"""What is routed through which tunnel. Pure.

What follows from the configuration alone is found once, in steps, as there may be thousands of groups: when groups move
to another tunnel, it is only chosen from. Prefixes are keys of dicts, which know their hashes: to find them again takes
Python long.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import Final, TypeAlias, TypeVar

import msgspec

from mcastd.config.model import Config, Group, Tunnel
from mcastd.paths import Order

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]
Prefixes: TypeAlias = dict[IPv4Network, int]
"""In order, each with how many tables of the file have it as a source; 0 for what is not one."""

_STEP: Final = 200  # groups that are looked at, or networks that are made, at once: a millisecond


class Shared(msgspec.Struct, frozen=True):
    """What groups that the same tunnels can carry have routed, and their tables in the file by their addresses."""

    networks: Prefixes
    sources: Prefixes
    groups: Mapping[IPv4Address, list[Group]]

    def through(self, tunnel: Tunnel) -> Prefixes:
        """What of it is routed through the tunnel that carries them."""
        return (self.networks if "groups" in tunnel.routes else {}) | (
            self.sources if "sources" in tunnel.routes else {}
        )

    def of(self, group: IPv4Address) -> "Shared":
        """The same of one group."""
        tables = self.groups.get(group, [])
        sources: dict[int, int] = {}
        for table in tables:
            _count(table.sources, sources)
        hosts = {IPv4Network((number, 32)): count for number, count in sources.items()}
        return Shared({IPv4Network(group): 0} if tables else {}, hosts, {group: tables})


class Routable(msgspec.Struct):
    """What a configuration has to be routed: through a tunnel by its name, and for groups with several by these.

    Routes that overlap with none of ``watched`` are of no concern.
    """

    tunnels: dict[str, Tunnel] = msgspec.field(default_factory=dict)
    own: dict[str, Prefixes] = msgspec.field(default_factory=dict)
    shared: dict[tuple[str, ...], Shared] = msgspec.field(default_factory=dict)
    watched: set[IPv4Network] = msgspec.field(default_factory=set)

    def finding(self, config: Config) -> Iterator[None]:
        """Find it, in steps, between which other work may have a turn."""
        single: dict[str, list[Group]] = {}
        several: dict[tuple[str, ...], list[Group]] = {}
        for group in config.groups:
            if len(group.tunnels) > 1:
                several.setdefault(group.tunnels, []).append(group)
            else:
                single.setdefault(group.tunnels[0], []).append(group)
        yield
        self.tunnels = {tunnel.name: tunnel for tunnel in config.tunnels}
        for name, tunnel in self.tunnels.items():
            self.own[name] = yield from _own(tunnel, single.get(name, ()))
        self.watched.update(*self.own.values())
        ranges = {one for tunnel in config.tunnels if "groups" in tunnel.routes for one in _ranges(tunnel)}
        for names, groups in several.items():
            self.shared[names] = shared = yield from _shared(groups)
            outside = yield from _collapsed((yield from _outside(groups, ranges)))
            self.watched.update(outside, shared.sources)


class Desired(msgspec.Struct, frozen=True):
    """The prefixes of each tunnel, by its name.

    Tunnels that have gained some come ``first``, so that a route that moves is never nowhere.
    """

    prefixes: Mapping[str, Prefixes] = msgspec.field(default_factory=dict)
    first: tuple[str, ...] = ()

    def of(self, name: str) -> tuple[Prefixes, Callable[[IPv4Network], bool]]:
        """The prefixes of a tunnel, and what says whether only one tunnel has a prefix."""
        return self.prefixes.get(name, {}), self._is_alone

    def _is_alone(self, prefix: IPv4Network) -> bool:
        return sum(prefix in found for found in self.prefixes.values()) == 1


def desired(routable: Routable, carrying: Mapping[Order, str], before: Desired) -> Desired:
    """What is to be routed through each tunnel, where ``carrying`` has which one carries the groups of an order.

    Without a decision that is the first. A group that is decided on alone has routes of its own, which are longer.
    """
    found = {name: dict(prefixes) for name, prefixes in routable.own.items()}
    alone = [(*order, name) for order, name in carrying.items() if order.group is not None]
    for tunnels, shared in routable.shared.items():
        name = carrying.get(Order(tunnels), tunnels[0])
        part = shared.through(routable.tunnels[name])
        for its_tunnels, group, other in alone:
            if its_tunnels == tunnels and other != name and group is not None:
                one = shared.of(group)
                _take_out(part, one.through(routable.tunnels[name]))
                found[other] |= one.through(routable.tunnels[other])
        found[name] |= part
    first = (name for name, each in found.items() if set(each) - set(before.prefixes.get(name, {})))
    return Desired(found, tuple(first))


def _take_out(part: Prefixes, gone: Prefixes) -> None:
    for prefix, count in gone.items():
        if prefix in part:
            part[prefix] -= count
            if part[prefix] <= 0:
                del part[prefix]


def routable(config: Config) -> Routable:
    """What a configuration has to be routed."""
    found = Routable()
    deque(found.finding(config), 0)
    return found


def _own(tunnel: Tunnel, groups: Sequence[Group]) -> Steps[Prefixes]:
    """The prefixes of the key ``routes``, in its order, its words replaced by what they stand for.

    ``groups`` are those of the file that it alone can carry. ``"groups"`` is what applications are to join on the
    tunnel: what the RPs serve, what is followed by range, and these.
    """
    rps = tunnel.pim.rp if tunnel.pim is not None else ()
    found: Prefixes = {}
    for route in tunnel.routes:
        match route:
            case "groups":
                ranges = _ranges(tunnel)
                found |= yield from _collapsed((yield from _outside(groups, ranges)))
                found |= dict.fromkeys(collapse_addresses(ranges), 0)
            case "rp":
                found |= {IPv4Network(address): 0 for address in sorted({rp.address for rp in rps})}
            case "sources":
                found |= yield from _sources(groups)
            case prefix:
                found[prefix] = 0
    return found


def _shared(groups: Sequence[Group]) -> Steps[Shared]:
    """Groups that the same tunnels can carry have routes of their own also inside of what is followed or RPs serve."""
    by_address: dict[IPv4Address, list[Group]] = {}
    for number, group in enumerate(groups):
        by_address.setdefault(group.group, []).append(group)
        if number % _STEP == 0:
            yield
    networks = yield from _collapsed((yield from _outside(groups, ())))
    sources = yield from _sources(groups)
    return Shared(networks, sources, by_address)


def _ranges(tunnel: Tunnel) -> set[IPv4Network]:
    """What is followed on a tunnel by range, and what its RPs serve."""
    rps = tunnel.pim.rp if tunnel.pim is not None else ()
    followed = tunnel.follow if isinstance(tunnel.follow, tuple) else ()
    return {*followed, *(range_ for rp in rps for range_ in rp.groups)}


def _outside(groups: Iterable[Group], ranges: Iterable[IPv4Network]) -> Steps[list[int]]:
    """The groups that are in none of the ranges, as numbers."""
    masks = [(int(one.netmask), int(one.network_address)) for one in ranges]
    found: list[int] = []
    for number, group in enumerate(groups):
        address = int(group.group)
        if not any(address & mask == base for mask, base in masks):
            found.append(address)
        if number % _STEP == 0:
            yield
    return found


def _collapsed(addresses: list[int]) -> Steps[Prefixes]:
    """The fewest networks that hold these addresses and no others."""
    blocks: list[tuple[int, int]] = []  # the first address, and how many
    for number, address in enumerate(sorted(set(addresses))):
        block = address, 1
        while blocks and blocks[-1] == (block[0] ^ block[1], block[1]):  # the other half
            block = blocks.pop()[0], 2 * block[1]
        blocks.append(block)
        if number % _STEP == 0:
            yield
    found: Prefixes = {}
    for number, (address, size) in enumerate(blocks):
        found[IPv4Network((address, 33 - size.bit_length()))] = 0
        if number % _STEP == 0:
            yield
    return found


def _sources(groups: Iterable[Group]) -> Steps[Prefixes]:
    """The sources of groups, and how many tables have each."""
    counts: dict[int, int] = {}
    for number, group in enumerate(groups):
        _count(group.sources, counts)
        if number % _STEP == 0:
            yield
    found: Prefixes = {}
    for number, source in enumerate(sorted(counts)):
        found[IPv4Network((source, 32))] = counts[source]
        if number % _STEP == 0:
            yield
    return found


def _count(sources: Iterable[IPv4Address], counts: dict[int, int]) -> None:
    for source in sources:
        counts[int(source)] = counts.get(int(source), 0) + 1
