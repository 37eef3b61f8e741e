"""What is routed through a tunnel, and the difference to the routes that the host has. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import Final

import msgspec

from mcastd.config.model import Group, Tunnel
from mcastd.links import Route, Rule
from mcastd.tunnel.desired import TunnelsDesired

PROTOCOL: Final = 103
"""The mark of a route or a rule of mcastd (``proto 103``): the protocol number of PIM."""

PRIORITY: Final = 210
"""The priority of rules: before charon's own (220), whose table has routes to the remote selectors."""

MAIN_TABLE: Final = 254
EVERYWHERE: Final = IPv4Network("0.0.0.0/0")


class RoutePlan(msgspec.Struct, frozen=True):
    """The changes. ``taken`` are prefixes that another route leads elsewhere, ``replace`` those that it may not."""

    add: tuple[IPv4Network, ...]
    delete: tuple[IPv4Network, ...]
    taken: frozenset[IPv4Network]
    replace: tuple[IPv4Network, ...] = ()


class Desired(msgspec.Struct, frozen=True):
    """The prefixes of each tunnel, by its name, and those (``alone``) that only one tunnel has.

    Tunnels that have gained some come ``first``, so that a route that moves is never nowhere.
    """

    prefixes: Mapping[str, tuple[IPv4Network, ...]] = msgspec.field(default_factory=dict)
    alone: frozenset[IPv4Network] = frozenset()
    first: tuple[str, ...] = ()

    def of(self, name: str) -> tuple[tuple[IPv4Network, ...], frozenset[IPv4Network]]:
        """The prefixes of a tunnel, and those that no other one has."""
        return self.prefixes.get(name, ()), self.alone


def desired(tunnels: TunnelsDesired, before: Desired) -> Desired:
    """What is to be routed through each tunnel."""
    groups = tunnels.config.groups
    found = {
        tunnel.name: prefixes(tunnel, (one for one in groups if tunnels.carries(tunnel.name, one)))
        for tunnel in tunnels.config.tunnels
    }
    counts = Counter(prefix for each in found.values() for prefix in set(each))
    first = (name for name, each in found.items() if set(each) - set(before.prefixes.get(name, ())))
    return Desired(found, frozenset(prefix for prefix, count in counts.items() if count == 1), tuple(first))


def prefixes(tunnel: Tunnel, groups: Iterable[Group]) -> tuple[IPv4Network, ...]:
    """The prefixes of the key ``routes``, in its order, its words replaced by what they stand for.

    ``groups`` are those of the file that it carries. ``"groups"`` is what applications are to join on the tunnel: what
    the RPs serve, what is followed by range, and these, of which those that other tunnels can carry have routes of
    their own also inside the ranges.
    """
    own = tuple(groups)
    shared = [IPv4Network(group.group) for group in own if len(group.tunnels) > 1]
    rps = tunnel.pim.rp if tunnel.pim is not None else ()
    followed = tunnel.follow if isinstance(tunnel.follow, tuple) else ()
    ranges = {*followed, *(range_ for rp in rps for range_ in rp.groups)}
    found: dict[IPv4Network, None] = {}
    for route in tunnel.routes:
        match route:
            case "groups":
                outside = [
                    group.group
                    for group in own
                    if not (len(group.tunnels) > 1 or any(group.group in one for one in ranges))
                ]
                found |= dict.fromkeys(collapse_addresses([*ranges, *map(IPv4Network, outside)]))
                found |= dict.fromkeys(collapse_addresses(shared))
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


def plan(
    desired: Iterable[IPv4Network],
    found: Sequence[Route],
    index: int,
    *,
    recorded: bool,
    alone: Collection[IPv4Network] = (),
) -> RoutePlan:
    """The difference for one table and the link ``index``; ``recorded`` is whether mcastd has made routes there.

    A prefix that another program routes elsewhere is left to it, also if the route of mcastd was first; so is one that
    mcastd routes to another tunnel, but for those that are to be routed to this one ``alone``.
    """
    desired = dict.fromkeys(desired)
    present = {route.prefix for route in found if route.index == index}
    ours = {route.prefix for route in found if route.index == index and route.protocol == PROTOCOL and recorded}
    elsewhere = [route for route in found if route.index != index and route.prefix in desired]
    taken = frozenset(one.prefix for one in elsewhere if one.protocol != PROTOCOL or one.prefix not in alone)
    stale = {one.prefix for one in elsewhere} - taken
    return RoutePlan(
        add=tuple(one for one in desired if one not in present and one not in taken and one not in stale),
        delete=tuple(sorted(prefix for prefix in ours if prefix not in desired or prefix in taken)),
        taken=taken,
        replace=tuple(prefix for prefix in desired if prefix in stale),
    )
