"""Entries to feeds, with A and B together, and to the groups to join. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address
from typing import Final

import msgspec

from mcastd.config.model import SSM_RANGE
from mcastd.tools.feedlist.entry import Entry, Source

_LONGEST: Final = 63  # characters of a name
_SIDES: Final = ("A", "B")


class FeedDraft(msgspec.Struct, frozen=True):
    """One feed: an address, or with ``sequence`` two, A and B."""

    name: str
    places: tuple[Entry, ...]

    @property
    def sequence(self) -> str | None:
        """The format of its numbers."""
        return self.places[0].sequence


class GroupDraft(msgspec.Struct, frozen=True):
    """One group with what it is for; any source if there are none."""

    group: IPv4Address
    sources: tuple[IPv4Address, ...]
    names: tuple[str, ...]


def feeds(entries: Iterable[Entry], source: Source) -> list[FeedDraft]:
    """The feeds, sorted by name, each address in one."""
    by_name: dict[str, list[Entry]] = {}
    for entry in _once(entries, source):
        by_name.setdefault(entry.name, []).append(entry)
    found = sorted(
        ((name, places) for name, one in by_name.items() for name, places in _of_a_name(name, one, source)),
        key=lambda one: _natural(one[0]),
    )
    if not found:
        raise source.refused(
            1, "it has no multicast address that can be joined; allowed: a list of an exchange's feeds"
        )
    taken: set[str] = set()
    return [FeedDraft(_free(name, taken), places) for name, places in found]


def groups(found: Sequence[FeedDraft], source: Source, *, any_source: bool) -> list[GroupDraft]:
    """The groups of feeds, sorted, each once; ``any_source`` leaves out the sources where a group may do without."""
    by_group: dict[IPv4Address, list[tuple[str, Entry]]] = {}
    for feed in found:
        for place in feed.places:
            name = feed.name if len(feed.places) == 1 else f"{feed.name} {place.side}"
            by_group.setdefault(place.group, []).append((name, place))
    drafts = []
    for group, places in sorted(by_group.items()):
        every = {one for _, place in places for one in place.sources}
        is_any = any_source or not all(place.sources for _, place in places)
        if group in SSM_RANGE and not every:
            source.note(
                places[0][1].line, places[0][0], f"{group} is not joined: it is SSM, and the list has no source"
            )
            continue
        sources = () if is_any and group not in SSM_RANGE else tuple(sorted(every))
        drafts.append(GroupDraft(group, sources, tuple(name for name, _ in places)))
    return drafts


def _once(entries: Iterable[Entry], source: Source) -> Iterator[Entry]:
    """Each address and port once."""
    first: dict[tuple[IPv4Address, int | None], Entry] = {}
    for entry in entries:
        known = first.setdefault((entry.group, entry.port), entry)
        if known is entry:
            yield entry
        else:
            place = f"{entry.group}" if entry.port is None else f"{entry.group}:{entry.port}"
            source.note(entry.line, _full(entry), f"{place} is {_full(known)} already, at line {known.line}")


def _of_a_name(name: str, entries: Sequence[Entry], source: Source) -> Iterator[tuple[str, tuple[Entry, ...]]]:
    """The feeds of one name: A and B that have numbers and can be compared, and all others by themselves."""
    a, b = ([entry for entry in entries if entry.side == side] for side in _SIDES)
    pairs = list(zip(a, b, strict=False))
    for entry in (*a[len(pairs) :], *b[len(pairs) :]):
        other = "B" if entry.side == "A" else "A"
        source.note(entry.line, _full(entry), f"there is no {other}")
    paired = {entry for pair in pairs for entry in pair}
    alone = [entry for entry in entries if entry not in paired]
    for pair in pairs:
        if pair[0].sequence is None or pair[0].sequence != pair[1].sequence:
            alone += pair
        elif (pair[0].port is None) != (pair[1].port is None):
            source.note(pair[1].line, name, "A and B are not compared: only one of them has a port")
            alone += pair
        else:
            yield name, pair
    for entry in alone:
        yield _full(entry), (entry,)


def _full(entry: Entry) -> str:
    return f"{entry.name} {entry.side}" if entry.side else entry.name


def _free(name: str, taken: set[str]) -> str:
    """A valid name that is not taken, and is then."""
    plain = free = "".join(one if one.isprintable() else " " for one in name)[:_LONGEST].strip() or "feed"
    count = 1
    while free in taken:
        count += 1
        free = f"{plain[: _LONGEST - 1 - len(str(count))]} {count}"
    taken.add(free)
    return free


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts "channel 9" before "channel 10"."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]{1,18})", name)]
