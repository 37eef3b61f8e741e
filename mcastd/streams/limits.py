"""The groups of the file that are silent for longer than their ``max_silence``. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from mcastd.config.feed_names import FeedNames
from mcastd.config.model import Config
from mcastd.listed import listed, with_names
from mcastd.problems import Problem
from mcastd.streams import table
from mcastd.streams.schedule import Expected, Schedule

NAMED: Final = 5  # groups in the text of a problem


class Limited(NamedTuple):
    """A group with ``max_silence`` (``limit``), when it is expected, and since when it is limited.

    ``elsewhere`` are its places on further tunnels, any of which may carry it.
    """

    tunnel: str
    group: str  # with its feeds, for people
    limit: float
    hours: Expected
    since: float
    elsewhere: tuple[bytes, ...] = ()


def limits(config: Config, before: Mapping[bytes, Limited], now: float) -> dict[bytes, Limited]:
    """The groups with ``max_silence`` by ``table.place``: limited from now on, or as they were before."""
    found, names = dict[bytes, Limited](), FeedNames(config.feeds)
    for group in config.groups:
        if group.max_silence is not None:
            hours = group.hours or config.streams.hours
            name = with_names(group.group, names.of(group.group))
            for source in group.sources or (None,):
                places = [table.place(tunnel, source, group.group) for tunnel in group.tunnels]
                since = [before[place].since if place in before else now for place in places]
                if group.use == "first":
                    one = Limited(group.tunnels[0], name, group.max_silence, hours, since[0], tuple(places[1:]))
                    found[places[0]] = one
                    continue
                for tunnel, place, began in zip(group.tunnels, places, since, strict=True):
                    found[place] = Limited(tunnel, name, group.max_silence, hours, began)
    return found


def beyond(
    limited: Mapping[bytes, Limited], last: Mapping[bytes, float], schedule: Schedule, now: float
) -> dict[str, Problem]:
    """A problem by the name of each tunnel of which groups are silent, by their last packets as of ``now``."""
    silent = dict[str, list[str]]()
    for place, one in limited.items():
        heard = max(last.get(where, 0.0) for where in (place, *one.elsewhere))
        if schedule.is_silent(one.hours, max(heard, one.since), one.limit, now):
            silent.setdefault(one.tunnel, []).append(one.group)
    return {
        name: Problem("group_silent", name, f"silent on tunnel {name} beyond max_silence: {listed(groups, NAMED)}")
        for name, groups in silent.items()
    }


def hours_of(config: Config) -> Iterator[Expected]:
    """All hours that the file has."""
    yield config.streams.hours
    yield from (group.hours for group in config.groups)
    yield from (feed.hours for feed in config.feeds)
