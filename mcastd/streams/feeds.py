"""``[[feeds]]``: which stream is of which feed, and which feeds are silent. Sans-IO.

A feed joins nothing: it says what streams are. Of a feed with ``max_silence`` each group is watched that is wanted,
whatever wants it: those that the feed names one by one from the moment that they are wanted, and those in its ranges
from their first packet on. A group of a feed is silent if no packet of it arrives by any tunnel, for the feed's port.
"""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from typing import Final, TypeAlias

from mcastd.config.feed_names import FeedNames
from mcastd.config.model import Config, Feed
from mcastd.listed import listed
from mcastd.problems import Problem
from mcastd.streams.limits import NAMED
from mcastd.streams.schedule import Schedule
from mcastd.streams.table import Key

WantedSince: TypeAlias = Callable[[IPv4Address], float | None]
"""Since when a group has been wanted; None if it is not. Monotonic."""

_STEP: Final = 256  # groups that are looked at at once
_SINGLE: Final = 32  # the length of a prefix that is one group


def never_wanted(_group: IPv4Address) -> float | None:
    """Where nothing is wanted."""
    return None


class Feeds:
    """All feeds of one configuration. Times are monotonic, in seconds."""

    def __init__(self, config: Config, before: "Feeds | None", now: float) -> None:
        """``before`` are those of the configuration before, of which those that are equal stay."""
        known: dict[str, float] = {} if before is None else before._since
        silent: dict[str, Problem] = {} if before is None else before._silent
        self._default_hours = config.streams.hours
        self._feeds: dict[str, Feed] = {feed.label: feed for feed in config.feeds}
        # When each was configured first, by its name.
        self._since: dict[str, float] = {name: known.get(name, now) for name in self._feeds}
        self._singles = _singles(config)
        self.names = FeedNames(config.feeds)  # of groups
        # By how many bits of an address are not of a range: by the other bits and the port, or None, its first feed.
        self._ranges = dict[int, dict[tuple[int, int | None], Feed]]()
        for feed in config.feeds:
            for groups, port in feed.places:
                bits = groups.max_prefixlen - groups.prefixlen
                self._ranges.setdefault(bits, {}).setdefault((int(groups.network_address) >> bits, port), feed)
        self._sizes = sorted(self._ranges)
        self._last = dict[tuple[str, IPv4Address], float]()  # the last packet of each group, at the last look
        self._next = dict(self._last)  # likewise, of the look that goes on
        self._silent: dict[str, Problem] = {name: one for name, one in silent.items() if name in self._feeds}

    @property
    def are_limited(self) -> bool:
        """Whether silence of a feed can be a problem."""
        return any(feed.max_silence is not None for feed in self._feeds.values())

    def of(self, key: Key) -> Feed | None:
        """The feed of a stream: that of the smallest range which its group is in, for its port or else for every port.

        The kernel finds sequence numbers by the same rule (``mcastd.meter.program``).
        """
        for port in (key.port, None):
            for bits in self._sizes:
                if (feed := self._ranges[bits].get((int(key.group) >> bits, port))) is not None:
                    return feed
        return None

    def add(self, feed: Feed, group: IPv4Address, seen: float) -> None:
        """Take one stream of a feed, during a look at all streams."""
        if feed.max_silence is not None:
            place = feed.label, group
            self._next[place] = max(seen, self._next.get(place, 0.0))

    def looked(self, wanted_since: WantedSince, schedule: Schedule, now: float) -> Iterator[None]:
        """All streams were looked at by now: find out which feeds are silent, in steps."""
        self._last, self._next = self._next, {}
        expected = {(feed.label, group): 0.0 for group, feeds in self._singles.items() for _, feed in feeds}
        silent = dict[str, list[IPv4Address]]()
        for number, ((name, group), last) in enumerate({**expected, **self._last}.items(), 1):
            if number % _STEP == 0:
                yield
            feed = self._feeds[name]
            wanted, hours = wanted_since(group), feed.hours or self._default_hours
            if wanted is None or feed.max_silence is None:
                continue
            if schedule.is_silent(hours, max(last, wanted, self._since[name]), feed.max_silence, now):
                silent.setdefault(name, []).append(group)
        self._silent = {
            name: Problem("feed_silent", name, f"feed {name} is silent: {listed(sorted(groups), NAMED)}")
            for name, groups in silent.items()
        }

    def problems(self) -> Iterator[Problem]:
        """The feeds that are silent for longer than they may be, as of the last look."""
        yield from self._silent.values()


def _singles(config: Config) -> dict[IPv4Address, list[tuple[int | None, Feed]]]:
    """Of each group that is named by itself the feeds, with the port or None."""
    found = dict[IPv4Address, list[tuple[int | None, Feed]]]()
    for feed in config.feeds:
        for groups, port in feed.places:
            if groups.prefixlen == _SINGLE:
                found.setdefault(groups.network_address, []).append((port, feed))
    return found
