"""What is desired of a group as the source filters of one or more sockets (RFC 3376, section 3.1). Pure."""

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import NamedTuple

from mcastd.membership import NONE, DesiredGroup


class Filter(NamedTuple):
    """What one socket receives of one group: all sources but these (``exclude``), or these alone."""

    exclude: bool
    sources: frozenset[IPv4Address] = NONE


def filters(desired: DesiredGroup, current: Sequence[Filter], most: int) -> list[Filter | None]:
    """The filters that together are ``desired``, with at most ``most`` sources each.

    The first ones are in place of ``current``, None where such a filter is not needed; the rest are further ones. A
    source stays in the filter in which it is, so that no socket leaves it before another one has joined it. Sources
    excluded beyond ``most`` are received: of two filters the kernel excludes only what both do.
    """
    if desired.any_source:
        excluded = frozenset(sorted(desired.excluded)[:most])
        return [Filter(True, excluded), *(None for _ in current[1:])]
    kept = [NONE if one.exclude else one.sources & desired.sources for one in current]
    missing = sorted(desired.sources.difference(*kept))
    found: list[Filter | None] = []
    for sources in kept:
        free = most - len(sources)
        taken, missing = missing[:free], missing[free:]
        found.append(Filter(False, sources.union(taken)) if sources or taken else None)
    found += [Filter(False, frozenset(missing[start : start + most])) for start in range(0, len(missing), most)]
    return found
