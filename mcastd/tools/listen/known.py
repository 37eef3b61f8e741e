"""What is known of a group before the first packet: by the feeds of the configuration, and by mcastd. Pure."""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

from mcastd.config.feed_formats import Sequence
from mcastd.config.model import Feed
from mcastd.stream_status import StreamCount
from mcastd.tools.listen.listener import Side
from mcastd.tools.listen.report import TunnelCount


def ports(feeds: Iterable[Feed], group: IPv4Address) -> list[int]:
    """The UDP ports that feeds have for a group, those of the smallest range that contains it."""
    found = [
        (groups.prefixlen, port)
        for feed in feeds
        for groups, port in feed.places
        if group in groups and port is not None
    ]
    smallest = max((length for length, _ in found), default=0)
    return sorted({port for length, port in found if length == smallest})


def name(feeds: Iterable[Feed], group: IPv4Address, port: int) -> str | None:
    """The name of the feed."""
    feed = _of(feeds, group, port, lambda _: True)
    return None if feed is None else feed.label


def sequence(feeds: Iterable[Feed], group: IPv4Address, port: int) -> Sequence | None:
    """Where its packets have their sequence number, by the feed that the meter would take."""
    feed = _of(feeds, group, port, lambda one: one.sequence is not None)
    return None if feed is None else feed.sequence


def _of(feeds: Iterable[Feed], group: IPv4Address, port: int, fits: Callable[[Feed], bool]) -> Feed | None:
    """Of several feeds that of the smallest range, and the one for the port before one for all ports."""
    found = [
        ((groups.prefixlen, own is not None), feed)
        for feed in feeds
        for groups, own in feed.places
        if group in groups and own in (None, port) and fits(feed)
    ]
    return max(found, key=lambda one: one[0])[1] if found else None


def arrived(side: Side, before: Iterable[StreamCount], after: Iterable[StreamCount]) -> tuple[TunnelCount, ...]:
    """What mcastd counted between two answers, of the streams that a side listens to; none where it began again."""
    earlier = {(one.tunnel, one.source, one.port): one for one in before}
    found = list[TunnelCount]()
    for one in after:
        if one.port != side.port or side.source not in (None, one.source) or side.interface not in (None, one.tunnel):
            continue
        then = earlier.get((one.tunnel, one.source, one.port))
        packets = one.packets - (then.packets if then else 0)
        lost = _missing(one)
        # Fewer than before: what was awaited has come late.
        missing = None if lost is None else max(0, lost - ((then and _missing(then)) or 0))
        if packets >= 0:
            found.append(TunnelCount(tunnel=one.tunnel, source=one.source, packets=packets, missing=missing))
    return tuple(sorted(found, key=lambda one: (one.tunnel, IPv4Address(one.source))))


def _missing(one: StreamCount) -> int | None:
    return sum(each.missing + each.awaited for each in one.numbers) if one.numbers else None
