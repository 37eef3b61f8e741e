"""What the sockets that have joined a group want together (RFC 9776, section 3.2), as far as the kernel shows it.

The files show how many sockets there are (U), and how many of them include and how many exclude each source (i, e).
A socket that includes any has at least one source, and one that excludes may have none. So of the U, at least
``U - sum(i)`` and ``max(e)`` exclude, and at most ``U - max(i)``. Where that leaves open whether there are any, so that
the group is wanted from every source, the kernel has to be asked: ``is_open``. Pure.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import TypeAlias

from mcastd.membership import DesiredGroup
from mcastd.net.memberships import NO_MEMBERS, Members

SocketFilter: TypeAlias = tuple[bool, frozenset[IPv4Address]]
"""What one socket receives of a group: all sources but these (True), or these alone."""


def without(members: Members, own: Sequence[SocketFilter]) -> Members:
    """The sockets without those of ours."""
    if not own:
        return members
    left = members.users - len(own)
    if left < 1:
        return NO_MEMBERS
    return Members(left, _less(members.included, own, False), _less(members.excluded, own, True))


def _less(counts: Mapping[IPv4Address, int], own: Sequence[SocketFilter], kind: bool) -> dict[IPv4Address, int]:
    ours = Counter(source for excludes, sources in own if excludes is kind for source in sources)
    return {source: count - ours[source] for source, count in counts.items() if count > ours[source]}


def is_open(members: Members) -> bool:
    """Whether any socket wants every source can only be learned from a report of the kernel."""
    low, high = _excluding(members)
    return low == 0 < high


def desired(members: Members, *, any_source: bool) -> DesiredGroup:
    """What the sockets want together; ``any_source`` answers what the files leave open."""
    low, high = _excluding(members)
    if not (low > 0 or (high > 0 and any_source)):
        return DesiredGroup(sources=frozenset(members.included))
    # A source is excluded if every socket that excludes any excludes it, and none includes it.
    excluded = {one for one, count in members.excluded.items() if count >= high and one not in members.included}
    return DesiredGroup(True, frozenset(members.included), frozenset(excluded))


def _excluding(members: Members) -> tuple[int, int]:
    """How many of the sockets exclude, at least and at most."""
    low = max(members.users - sum(members.included.values()), max(members.excluded.values(), default=0), 0)
    return low, max(members.users - max(members.included.values(), default=0), low)
