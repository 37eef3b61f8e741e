"""Which endpoints want a group -> the entries in the kernel that send it to them. Pure.

    mode     entries                                                           what else an endpoint gets
    mdb      MDB entries for group, source and endpoint (Linux 6.4)            nothing
    mac      a forwarding entry for the group's Ethernet address and endpoint  groups with the same address, all sources
    flood    a forwarding entry for every address and endpoint                 all groups

Of a packet the kernel takes the MDB entry of its source and group, and only if there is none that of its group. So the
entry of a source names all endpoints that want it, also those that want every source. These multiply: of a group that
would have too many, each endpoint gets all sources.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Final, Literal, TypeAlias

from mcastd.membership import NONE, DesiredGroup
from mcastd.net.vxlan import EVERY, Forwarding, Replica, mac_of

Mode = Literal["mdb", "mac", "flood"]
Entry: TypeAlias = Replica | Forwarding
Slot: TypeAlias = IPv4Address | bytes
"""The group or the Ethernet address of entries: those of one slot are planned together."""
Wanting: TypeAlias = Mapping[IPv4Address, DesiredGroup]
"""By endpoint."""

QUERIES: Final = IPv4Address("224.0.0.1")
"""The group of general queries, for which the kernel looks at no MDB entry (224.0.0.0/24)."""


MAX_ENTRIES: Final = 2000
"""Of one group: of all endpoints with each of the sources that they get."""


def slot(mode: Mode, group: IPv4Address) -> Slot:
    """Where the entries of a group are."""
    if mode == "mdb" and group != QUERIES:
        return group
    return EVERY if mode == "flood" else mac_of(group)


def slot_of(entry: Entry) -> Slot:
    """Where an entry is."""
    return entry.group if isinstance(entry, Replica) else entry.mac


def together(one: DesiredGroup, other: DesiredGroup) -> DesiredGroup:
    """What two hosts behind one endpoint desire (RFC 9776, section 3.2)."""
    sources = one.sources | other.sources
    if not (one.any_source or other.any_source):
        return DesiredGroup(sources=sources)
    if one.any_source and other.any_source:
        return DesiredGroup(True, NONE, (one.excluded & other.excluded) - sources)
    return DesiredGroup(True, NONE, (one.excluded | other.excluded) - sources)


def entries(slot: Slot, groups: Iterable[tuple[IPv4Address, Wanting]], own: IPv4Address) -> frozenset[Entry]:
    """The entries of a slot, of the groups that share it; ``own`` is our address on the overlay."""
    if isinstance(slot, bytes):
        endpoints = frozenset[IPv4Address]().union(*(wanting for _, wanting in groups))
        return frozenset(Forwarding(slot, endpoint) for endpoint in endpoints)
    return frozenset(replica for group, wanting in groups for replica in _replicas(group, wanting, own))


def is_exact(wanting: Wanting) -> bool:
    """Whether the entries are few enough to keep sources apart; else each endpoint gets all of the group."""
    sources, excluded = _sources(wanting), sum(len(desired.excluded) for desired in wanting.values())
    every = sum(desired.any_source for desired in wanting.values())
    some = sum(len(desired.sources) for desired in wanting.values())
    return every + some + every * len(sources) - excluded + len(wanting) <= MAX_ENTRIES


def _sources(wanting: Wanting) -> frozenset[IPv4Address]:
    """Those that an endpoint wants or excludes."""
    return NONE.union(*(desired.sources | desired.excluded for desired in wanting.values()))


def _replicas(group: IPv4Address, wanting: Wanting, own: IPv4Address) -> Iterator[Replica]:
    if not is_exact(wanting):
        yield from (Replica(group, None, endpoint) for endpoint in wanting)
        return
    every = {endpoint for endpoint, desired in wanting.items() if desired.any_source}
    yield from (Replica(group, None, endpoint) for endpoint in every)
    sources = _sources(wanting)
    for endpoint, desired in wanting.items():
        wanted = sources - desired.excluded if desired.any_source else desired.sources
        yield from (Replica(group, source, endpoint) for source in wanted)
    if len(every) < len(wanting):  # our queries for this group have to reach also who wants some sources only
        yield from (Replica(group, own, endpoint) for endpoint in wanting)
