"""The routes and rules of mcastd, and the difference to those that the host has. Pure."""

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Network
from typing import Final

import msgspec

from mcastd.config.model import Tunnel
from mcastd.links import Route, Rule

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


def never(_prefix: IPv4Network) -> bool:
    """The answer where no prefix is taken over from another tunnel."""
    return False


def is_marked(rule: Rule) -> bool:
    """Whether a rule is one of mcastd."""
    return (rule.priority, rule.protocol) == (PRIORITY, PROTOCOL)


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
    is_alone: Callable[[IPv4Network], bool] = never,
) -> RoutePlan:
    """The difference for one table and the link ``index``; ``recorded`` is whether mcastd has made routes there.

    A prefix that another program routes elsewhere is left to it, also if the route of mcastd was first; so is one that
    mcastd routes to another tunnel, but for those that only this one is to have (``is_alone``).
    """
    desired = dict.fromkeys(desired)
    present = {route.prefix for route in found if route.index == index}
    ours = {route.prefix for route in found if route.index == index and route.protocol == PROTOCOL and recorded}
    elsewhere = [route for route in found if route.index != index and route.prefix in desired]
    taken = frozenset(one.prefix for one in elsewhere if one.protocol != PROTOCOL or not is_alone(one.prefix))
    stale = {one.prefix for one in elsewhere} - taken
    return RoutePlan(
        add=tuple(one for one in desired if one not in present and one not in taken and one not in stale),
        delete=tuple(sorted(prefix for prefix in ours if prefix not in desired or prefix in taken)),
        taken=taken,
        replace=tuple(prefix for prefix in desired if prefix in stale),
    )
