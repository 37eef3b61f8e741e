"""What the meter is configured with. Pure."""

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Network
from typing import NamedTuple

import msgspec

from mcastd.config.feed_formats import Sequence
from mcastd.config.model import Feed
from mcastd.meter.packet import KEY, PairSide


class FeedKey(NamedTuple):
    """A feed: a range of groups and a port, or 0 for every port."""

    groups: IPv4Network
    port: int = 0


class MeterDesired(msgspec.Struct, frozen=True):
    """Whether streams are measured, on which interfaces (their index by the tunnel's name), and all feeds."""

    enabled: bool = False
    links: Mapping[str, int] = msgspec.field(default_factory=dict)
    feeds: tuple[Feed, ...] = ()


def sequences_of(feeds: Iterable[Feed]) -> dict[FeedKey, Sequence]:
    """Where feeds have their sequence numbers; of two for the same groups and port the first holds."""
    found = dict[FeedKey, Sequence]()
    for feed in feeds:
        if feed.sequence is not None:
            for groups, port in feed.places:
                found.setdefault(FeedKey(groups, port or 0), feed.sequence)
    return found


def sides_of(feeds: Iterable[Feed]) -> dict[FeedKey, PairSide]:
    """Which groups and ports are a side of a pair."""
    return {
        FeedKey(IPv4Network(one.group), one.port or 0): PairSide(side, feed.sides[0].group, feed.sides[0].port or 0)
        for feed in feeds
        for side, one in enumerate(feed.sides, 1)
    }


def of_any(feeds: Iterable[FeedKey]) -> Callable[[bytes, bytes], bool]:
    """Whether an element of the map is of one of these feeds; costs as much as there are sizes of ranges among them."""
    found = dict[int, set[tuple[int, int]]]()  # the groups, without what is not of the range, and ports, by that size
    for feed in feeds:
        shift = feed.groups.max_prefixlen - feed.groups.prefixlen
        found.setdefault(shift, set()).add((int(feed.groups.network_address) >> shift, feed.port))

    def is_of(key: bytes, _value: bytes) -> bool:
        _, _, packed, port, _ = KEY.unpack(key)
        group = int.from_bytes(packed)
        return any((group >> shift, one) in groups for shift, groups in found.items() for one in (0, port))

    return is_of
