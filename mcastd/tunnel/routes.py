"""What is routed through a tunnel, and the difference to what the host has. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

from mcastd.config.model import Group, Tunnel

PROTOCOL = 103
"""Who made a route or a rule, as the kernel keeps it (``proto 103``): PIM's number."""

PRIORITY = 210
"""Of our rules: before charon's own (220), whose table holds routes to the remote selectors."""

MAIN_TABLE = 254
EVERYWHERE = IPv4Network("0.0.0.0/0")


@dataclass(frozen=True, slots=True)
class FoundRoute:
    """One route of the table. ``ours``: it is through the tunnel, and carries our mark."""

    prefix: IPv4Network
    through_tunnel: bool
    ours: bool


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """``taken`` are prefixes that somebody else's route leads elsewhere."""

    add: tuple[IPv4Network, ...]
    delete: tuple[IPv4Network, ...]
    taken: frozenset[IPv4Network]


def prefixes(tunnel: Tunnel, groups: Iterable[Group]) -> tuple[IPv4Network, ...]:
    """What ``routes`` of a tunnel says, its words resolved with the RPs and the groups of the file, in its order."""
    own = [group for group in groups if group.tunnel == tunnel.name]
    rps = tunnel.pim.rp if tunnel.pim is not None else ()
    ranges = {range_ for rp in rps for range_ in rp.groups}
    found: dict[IPv4Network, None] = {}
    for route in tunnel.routes:
        match route:
            case "groups":
                outside = [group.group for group in own if not any(group.group in range_ for range_ in ranges)]
                found |= dict.fromkeys(collapse_addresses([*ranges, *map(IPv4Network, outside)]))
            case "rp":
                found |= dict.fromkeys(_hosts(rp.address for rp in rps))
            case "sources":
                found |= dict.fromkeys(_hosts(source for group in own for source in group.sources))
            case prefix:
                found[prefix] = None
    return tuple(found)


def _hosts(addresses: Iterable[IPv4Address]) -> list[IPv4Network]:
    return [IPv4Network(address) for address in sorted(set(addresses))]


def rules(tunnel: Tunnel) -> frozenset[tuple[IPv4Network, int]]:
    """The rules of a tunnel, each as the source and the table to look into."""
    if tunnel.route_table is None:
        return frozenset()
    return frozenset((source, tunnel.route_table) for source in tunnel.rule_from or (EVERYWHERE,))


def plan(wanted: Iterable[IPv4Network], found: Iterable[FoundRoute]) -> RoutePlan:
    """The difference. A prefix that another's route leads elsewhere is left to that one, also where ours came first."""
    wanted, found = dict.fromkeys(wanted), tuple(found)
    ours = {route.prefix for route in found if route.ours}
    there = {route.prefix for route in found if route.through_tunnel}
    taken = frozenset(route.prefix for route in found if not route.through_tunnel and route.prefix in wanted)
    return RoutePlan(
        add=tuple(prefix for prefix in wanted if prefix not in there and prefix not in taken),
        delete=tuple(sorted(prefix for prefix in ours if prefix not in wanted or prefix in taken)),
        taken=taken,
    )
