"""Which groups and sources are desired on one interface, counted by origin: the last origin to leave prunes.

An origin is whose request it is: ``file`` (the configuration), ``command`` (``mcastd join``).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final, NamedTuple, TypeAlias

from mcastd.config.model import MAX_JOINS
from mcastd.errors import McastdError

NONE: Final[frozenset[IPv4Address]] = frozenset()
GroupSource: TypeAlias = tuple[IPv4Address, IPv4Address | None]
"""(*,G), as source None, or (S,G)."""


class DesiredGroup(NamedTuple):
    """What is desired of one group: any source (``any_source``) except ``excluded``, and, or only, ``sources``."""

    any_source: bool = False
    sources: frozenset[IPv4Address] = NONE
    excluded: frozenset[IPv4Address] = NONE


_NOTHING: Final = DesiredGroup()
_ANY_SOURCE: Final = DesiredGroup(any_source=True)


@dataclass(slots=True)
class _Origins:
    """The origins of one group's entries; those of (*,G) each with the sources that it excludes."""

    any_source: dict[str, frozenset[IPv4Address]] = field(default_factory=dict)
    sources: dict[IPv4Address, tuple[str, ...]] = field(default_factory=dict)

    def of(self, source: IPv4Address | None) -> Collection[str]:
        return self.any_source if source is None else self.sources.get(source, ())


class Membership:
    """The desired groups of one interface."""

    def __init__(self) -> None:
        self._groups: dict[IPv4Address, _Origins] = {}
        self._by_origin: dict[str, dict[GroupSource, None]] = {}  # the entries of each origin, in the order they came
        self._joins = 0  # the number of entries of all origins together
        self._entries = 0  # the number of different entries

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
        return [
            (group, source, tuple(found.of(source)))
            for group, found in self._groups.items()
            for source in ((None, *found.sources) if found.any_source else found.sources)
        ]

    def join(
        self, group: IPv4Address, source: IPv4Address | None, origin: str, excluded: frozenset[IPv4Address] = NONE
    ) -> None:
        """``origin`` desires ``group`` from ``source``, or from any (None) that it does not exclude.

        Raises McastdError above MAX_JOINS.
        """
        if self._joins >= MAX_JOINS and (group, source) not in self._by_origin.get(origin, ()):
            raise McastdError(f"{group}: {MAX_JOINS} joins on one tunnel is the most; leave others first")
        self._add(group, source, origin, excluded)

    def _add(
        self, group: IPv4Address, source: IPv4Address | None, origin: str, excluded: frozenset[IPv4Address] = NONE
    ) -> None:
        found = self._groups.get(group)
        if found is None:
            found = self._groups[group] = _Origins()
        entries = self._by_origin.setdefault(origin, {})
        before = len(entries)
        entries[group, source] = None
        is_new = len(entries) > before
        self._joins += is_new
        self._entries += not found.of(source)
        if source is None:
            found.any_source[origin] = excluded
        elif is_new:
            found.sources[source] = (*found.sources.get(source, ()), origin)

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
        self._joins -= 1
        self._entries -= not found.of(source)
        if not found.any_source and not found.sources:
            del self._groups[group]
        return True

    def replace(self, origin: str, desired: Iterable[GroupSource]) -> list[IPv4Address]:
        """Make ``desired``, of any number, the entries of ``origin``; returns the groups that this changed."""
        target = dict.fromkeys(desired)
        changed: dict[IPv4Address, None] = {}
        for group, source in self.of_origin(origin):
            if (group, source) in target:
                del target[group, source]
            else:
                self.leave(group, source, origin)
                changed[group] = None
        for group, source in target:
            self._add(group, source, origin)
            changed[group] = None
        return list(changed)

    def desired(self, group: IPv4Address) -> DesiredGroup:
        """What all origins together desire; a source is excluded if all exclude it (RFC 3376, section 3.2)."""
        found = self._groups.get(group)
        if found is None:
            return _NOTHING
        if not found.sources and not any(found.any_source.values()):
            return _ANY_SOURCE
        excluded = NONE
        if found.any_source:
            excluded = frozenset.intersection(*found.any_source.values()) - found.sources.keys()
        return DesiredGroup(bool(found.any_source), frozenset(found.sources) or NONE, excluded or NONE)
