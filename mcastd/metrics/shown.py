"""What a page of metrics is made of, and which streams and groups have series of their own. Pure."""

from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple, TypeAlias

import msgspec

from mcastd.config.model import Config, Metrics
from mcastd.status import GroupStatus, Status
from mcastd.stream_status import StreamCount, StreamsReport


class Scrape(NamedTuple):
    """What a page shows, read at ``clock``, in seconds since 1970; the streams are beside the report, in parts."""

    clock: float
    status: Status
    report: StreamsReport
    streams: Iterator[list[StreamCount]]


Read: TypeAlias = Callable[[], Awaitable[Scrape]]


class Shown(msgspec.Struct, frozen=True):
    """``named`` are the groups that the file names one by one."""

    metrics: Metrics = Metrics()
    named: frozenset[str] = frozenset()

    def has_stream(self, one: StreamCount) -> bool:
        """Whether a stream has series of its own."""
        choice = self.metrics.streams
        return choice == "all" or (choice == "named" and (one.feed is not None or one.group in self.named))

    def has_group(self, one: GroupStatus) -> bool:
        """Whether a group has series of its own."""
        choice = self.metrics.streams
        return choice == "all" or (choice == "named" and one.group in self.named)


def shown(config: Config) -> Shown:
    """By the file."""
    named = {str(group.group) for group in config.groups}
    named |= {str(place.network_address) for one in config.feeds for place, _ in one.places if place.prefixlen == 32}
    return Shown(config.metrics, frozenset(named))
