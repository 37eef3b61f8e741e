"""Which groups and sources are desired on one interface, counted by origin: the last origin to leave prunes.

An origin is whose request it is: ``file`` (the configuration), ``command`` (``mcastd join``), ``application`` (one on
this host), or the name of an interface behind which hosts ask for it; on such an interface ``hosts``,
``static`` and ``members`` (a file).
"""

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address
from typing import Final, NamedTuple, TypeAlias

import msgspec

from mcastd.config.downstream import MAX_JOINS
from mcastd.errors import McastdError

NONE: Final[frozenset[IPv4Address]] = frozenset()
GroupSource: TypeAlias = tuple[IPv4Address, IPv4Address | None]
"""(*,G), as source None, or (S,G)."""


class DesiredGroup(NamedTuple):
    """What is desired of one group: any source (``any_source``) except ``excluded``, and, or only, ``sources``."""

    any_source: bool = False
    sources: frozenset[IPv4Address] = NONE
    excluded: frozenset[IPv4Address] = NONE


NOTHING: Final = DesiredGroup()
ANY_SOURCE: Final = DesiredGroup(any_source=True)


class _Origins(msgspec.Struct):
    """The origins of one group's entries; those of (*,G) each with the sources that it excludes."""

    any_source: dict[str, frozenset[IPv4Address]] = msgspec.field(default_factory=dict)
    sources: dict[IPv4Address, tuple[str, ...]] = msgspec.field(default_factory=dict)

    def of(self, source: IPv4Address | None) -> Collection[str]:
        return self.any_source if source is None else self.sources.get(source, ())


class Membership:
    """The desired groups of one interface."""

    def __init__(self) -> None:
        self._groups: dict[IPv4Address, _Origins] = {}
        # The entries of each origin in the order they came, each with the time since when it desires it.
        self._by_origin: dict[str, dict[GroupSource, float]] = {}
        self._entries = 0  # the number of different entries
        self.refused = 0  # how many entries were too many

    def __len__(self) -> int:
        return self._entries

    def groups(self) -> list[IPv4Address]:
        """The groups of which anything is desired, in the order they came."""
        return list(self._groups)

    def of_origin(self, origin: str) -> tuple[GroupSource, ...]:
        """The entries of an origin."""
        return tuple(self._by_origin.get(origin, ()))

    def origins(self, group: IPv4Address, source: IPv4Address | None) -> tuple[str, ...]:
        """The origins of an entry."""
        found = self._groups.get(group)
        return () if found is None else tuple(found.of(source))

    def entries(self) -> list[tuple[IPv4Address, IPv4Address | None, tuple[str, ...]]]:
        """Every entry, as group and source, with its origins."""
        return [one for group in self._groups for one in self.entries_of(group)]

    def entries_of(self, group: IPv4Address) -> list[tuple[IPv4Address, IPv4Address | None, tuple[str, ...]]]:
        """The entries of one group."""
        found = self._groups.get(group, _Origins())
        sources = (None, *found.sources) if found.any_source else tuple(found.sources)
        return [(group, source, tuple(found.of(source))) for source in sources]

    def excluded(self, group: IPv4Address, origin: str) -> frozenset[IPv4Address]:
        """The sources that an origin excludes where it desires every other one."""
        return self._groups.get(group, _Origins()).any_source.get(origin, NONE)

    def since(self, group: IPv4Address, source: IPv4Address | None, origin: str) -> float | None:
        """Since when an origin desires an entry; None if it does not."""
        return self._by_origin.get(origin, {}).get((group, source))

    def since_first(self, group: IPv4Address) -> float | None:
        """Since when a group is desired by the origins that desire it now; None if none does."""
        found = self._groups.get(group)
        if found is None:
            return None
        entries = [((group, None), found.any_source), *(((group, one), by) for one, by in found.sources.items())]
        return min(self._by_origin[origin][entry] for entry, origins in entries for origin in origins)

    def join(
        self,
        group: IPv4Address,
        source: IPv4Address | None,
        origin: str,
        excluded: frozenset[IPv4Address] = NONE,
        now: float = 0.0,
    ) -> bool:
        """``origin`` desires ``group`` from ``source``, or from any (None) that it does not exclude.

        Returns whether that is new. Raises McastdError above MAX_JOINS.
        """
        if not self.origins(group, source):
            self._require_room(group, 1)
        return self._add(group, source, origin, excluded, now)

    def set_group(
        self, group: IPv4Address, origin: str, desired: DesiredGroup, now: float = 0.0, *, is_limited: bool = True
    ) -> bool:
        """Make ``desired`` all that ``origin`` desires of one group; nothing, if it is empty.

        Returns whether that changed anything. Raises McastdError above MAX_JOINS if ``is_limited``, and then nothing
        has changed.
        """
        found = self._groups.get(group, _Origins())
        before = {source for source, origins in found.sources.items() if origin in origins}
        had_any = origin in found.any_source
        # What another origin desires too takes no room: after a restart everything is desired twice for a while.
        more = sum(source not in found.sources for source in desired.sources)
        more += desired.any_source and not found.any_source
        fewer = sum(found.sources[source] == (origin,) for source in before - desired.sources)
        fewer += not desired.any_source and tuple(found.any_source) == (origin,)
        if is_limited and more > fewer:
            self._require_room(group, more - fewer)
        changed = [self.leave(group, source, origin) for source in before - desired.sources]
        if had_any and not desired.any_source:
            changed.append(self.leave(group, None, origin))
        changed += [self._add(group, source, origin, NONE, now) for source in desired.sources - before]
        if desired.any_source:
            changed.append(self._add(group, None, origin, desired.excluded, now))
        return any(changed)

    def _require_room(self, group: IPv4Address, entries: int) -> None:
        if self._entries + entries > MAX_JOINS:
            self.refused += 1
            raise McastdError(f"{group}: {MAX_JOINS} joins on one interface is the most; leave others first")

    def _add(
        self, group: IPv4Address, source: IPv4Address | None, origin: str, excluded: frozenset[IPv4Address], now: float
    ) -> bool:
        found = self._groups.get(group)
        if found is None:
            found = self._groups[group] = _Origins()
        entries = self._by_origin.setdefault(origin, {})
        is_new = (group, source) not in entries
        if is_new:
            entries[group, source] = now
            self._entries += not found.of(source)
        if source is None:
            is_new |= found.any_source.get(origin) != excluded
            found.any_source[origin] = excluded
        elif is_new:
            found.sources[source] = (*found.sources.get(source, ()), origin)
        return is_new

    def leave(self, group: IPv4Address, source: IPv4Address | None, origin: str) -> bool:
        """Remove a join of ``origin``; returns False if there was none."""
        entries = self._by_origin.get(origin, {})
        if (group, source) not in entries:
            return False
        del entries[group, source]
        found = self._groups[group]
        if source is None:
            del found.any_source[origin]
        else:
            found.sources[source] = tuple(other for other in found.sources[source] if other != origin)
            if not found.sources[source]:
                del found.sources[source]
        self._entries -= not found.of(source)
        if not found.any_source and not found.sources:
            del self._groups[group]
        return True

    def add(self, origin: str, entries: Iterable[GroupSource], now: float = 0.0) -> list[IPv4Address]:
        """``origin`` desires these entries, of any number, as well; returns the groups that this changed."""
        known = self._by_origin.setdefault(origin, {})
        new = [entry for entry in dict.fromkeys(entries) if entry not in known]
        return list(dict.fromkeys(group for group, source in new if self._add(group, source, origin, NONE, now)))

    def remove(self, origin: str, entries: Iterable[GroupSource]) -> list[IPv4Address]:
        """``origin`` no longer desires these; returns the groups that this changed."""
        return list(dict.fromkeys(group for group, source in entries if self.leave(group, source, origin)))

    def desired(self, group: IPv4Address, without: str | None = None) -> DesiredGroup:
        """What all origins together desire, or all but ``without``.

        A source is excluded if all exclude it (RFC 3376, section 3.2).
        """
        found = self._groups.get(group)
        if found is None:
            return NOTHING
        any_source: dict[str, frozenset[IPv4Address]] = found.any_source
        sources = frozenset(found.sources) or NONE
        if without is not None:
            any_source = {origin: excluded for origin, excluded in any_source.items() if origin != without}
            sources = frozenset(source for source, origins in found.sources.items() if origins != (without,))
        if any_source and not sources and not any(any_source.values()):
            return ANY_SOURCE
        excluded = frozenset.intersection(*any_source.values()) - sources if any_source else NONE
        return DesiredGroup(bool(any_source), sources, excluded or NONE)
