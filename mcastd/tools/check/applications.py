"""Which tunnel an application gets that joins a group without naming an interface. Pure."""

from collections import defaultdict
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

import msgspec

from mcastd.config.model import Config, Tunnel
from mcastd.config.report import Report
from mcastd.config.value_types import MULTICAST
from mcastd.tunnel.prefixes import Desired, desired, routable

_NAMING = "name the interface in the application, as mcastd listen --interface does"


class _Routed(msgspec.Struct, frozen=True):
    """A tunnel and the multicast that is routed through it. ``is_first``: by a rule, before the main table."""

    tunnel: Tunnel
    ranges: tuple[IPv4Network, ...]
    is_first: bool

    def length(self, group: IPv4Address) -> int:
        """The length of the longest prefix with a group; -1 if there is none."""
        return max((one.prefixlen for one in self.ranges if group in one), default=-1)


def check(config: Config, report: Report) -> None:
    """Note every two tunnels on which the same groups are, by range or one by one."""
    through = desired(routable(config), {}, Desired()).prefixes
    routed = [
        _Routed(
            tunnel,
            tuple(one for one in through[tunnel.name] if one.subnet_of(MULTICAST)),
            tunnel.route_table is not None,
        )
        for tunnel in config.tunnels
        if not tunnel.rule_from  # such a rule holds for packets that are sent, with a source already
    ]
    groups: dict[str, dict[IPv4Address, int]] = defaultdict(dict)
    for index, group in enumerate(config.groups):
        if len(group.tunnels) == 1:  # of several the daemon sees to it that a socket gets what comes by any
            groups[group.tunnels[0]].setdefault(group.group, index)
    for first, second in combinations(routed, 2):
        _ranges(first, second, report)
        _groups(first, second, groups, report)


def _ranges(first: _Routed, second: _Routed, report: Report) -> None:
    both = sorted(set(first.ranges) & set(second.ranges), key=lambda one: (one.prefixlen, one))
    if both and first.is_first == second.is_first:
        more = f" and {len(both) - 1} more" if len(both) > 1 else ""
        text = (
            f"{both[0]}{more} is routed through {first.tunnel.name} too: an application that names no interface gets "
        )
        at = report.table("tunnels", second.tunnel.name)
        at.note("routes", f"{text}the tunnel that comes up first; {_NAMING}", ("tunnels", first.tunnel.name))


def _groups(first: _Routed, second: _Routed, groups: dict[str, dict[IPv4Address, int]], report: Report) -> None:
    theirs, ours = groups[first.tunnel.name], groups[second.tunnel.name]
    both = [group for group in ours if group in theirs]
    if not both:
        return
    group = both[0]
    more = f" and {len(both) - 1} more" if len(both) > 1 else ""
    text = f"{group}{more} is joined on {first.tunnel.name} too: an application that names no interface gets "
    keys = [(one.is_first, one.length(group)) for one in (first, second)]
    if max(length for _, length in keys) < 0:
        which = "neither, since no route leads to them"
    elif keys[0] == keys[1]:
        return  # the ranges say it
    else:
        chosen = first if (keys[0][1] >= 0, *keys[0]) > (keys[1][1] >= 0, *keys[1]) else second
        which = f"{chosen.tunnel.name}, whose route is {'in a table of its own' if chosen.is_first else 'longer'}"
    report.table("groups", ours[group]).note("group", f"{text}{which}; {_NAMING}")
