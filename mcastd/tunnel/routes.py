"""What is routed through a tunnel, and the difference to the routes that the host has. Pure."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import Final

import msgspec

from mcastd.config.model import Group, Tunnel
from mcastd.links import Route, Rule

PROTOCOL: Final = 103
"""The mark of a route or a rule of mcastd (``proto 103``): the protocol number of PIM."""

PRIORITY: Final = 210
"""The priority of rules: before charon's own (220), whose table has routes to the remote selectors."""

MAIN_TABLE: Final = 254
EVERYWHERE: Final = IPv4Network("0.0.0.0/0")


class RoutePlan(msgspec.Struct, frozen=True):
    """The changes. ``taken`` are prefixes that a route of another program leads elsewhere."""

    add: tuple[IPv4Network, ...]
    delete: tuple[IPv4Network, ...]
    taken: frozenset[IPv4Network]


def prefixes(tunnel: Tunnel, groups: Iterable[Group]) -> tuple[IPv4Network, ...]:
    """The prefixes of the key ``routes``, in its order, its words replaced by what they stand for.

    ``groups`` is what applications are to join on the tunnel: what the RPs serve, what is followed by range, and the
    groups of the file.
    """
    own = [group for group in groups if group.tunnel == tunnel.name]
    rps = tunnel.pim.rp if tunnel.pim is not None else ()
    followed = tunnel.follow if isinstance(tunnel.follow, tuple) else ()
    ranges = {*followed, *(range_ for rp in rps for range_ in rp.groups)}
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


def is_marked(rule: Rule) -> bool:
    """Whether a rule is one of mcastd."""
    return (rule.priority, rule.protocol) == (PRIORITY, PROTOCOL)


def _hosts(addresses: Iterable[IPv4Address]) -> list[IPv4Network]:
    return [IPv4Network(address) for address in sorted(set(addresses))]


def rules(tunnel: Tunnel) -> frozenset[tuple[IPv4Network, int]]:
    """The rules of a tunnel, each as the source and the table to look into."""
    if tunnel.route_table is None:
        return frozenset()
    return frozenset((source, tunnel.route_table) for source in tunnel.rule_from or (EVERYWHERE,))


def plan(desired: Iterable[IPv4Network], found: Sequence[Route], index: int, *, recorded: bool) -> RoutePlan:
    """The difference for one table and the link ``index``; ``recorded`` is whether mcastd has made routes there.

    A prefix that another program routes elsewhere is left to it, also if the route of mcastd was first.
    """
    desired = dict.fromkeys(desired)
    present = {route.prefix for route in found if route.index == index}
    ours = {route.prefix for route in found if route.index == index and route.protocol == PROTOCOL and recorded}
    taken = frozenset(route.prefix for route in found if route.index != index and route.prefix in desired)
    return RoutePlan(
        add=tuple(prefix for prefix in desired if prefix not in present and prefix not in taken),
        delete=tuple(sorted(prefix for prefix in ours if prefix not in desired or prefix in taken)),
        taken=taken,
    )
