"""Who wants what on one interface: groups and sources counted by origin; the last to leave prunes."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

from mcastd.config.model import MAX_JOINS
from mcastd.errors import McastdError

NONE: Final[frozenset[IPv4Address]] = frozenset()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of one group: any source except ``excluded``, and, or only, ``sources``."""

    any_source: bool = False
    sources: frozenset[IPv4Address] = NONE
    excluded: frozenset[IPv4Address] = NONE


_NOTHING: Final = Wanted()
_ANY_SOURCE: Final = Wanted(any_source=True)


@dataclass(slots=True)
class _Origins:
    """Origins that want any source, each with the sources that it excludes; and origins by source."""

    any_source: dict[str, frozenset[IPv4Address]] = field(default_factory=dict)
    sources: dict[IPv4Address, tuple[str, ...]] = field(default_factory=dict)


class Membership:
    """The wanted groups of one interface. Methods that change it return the groups that changed."""

    def __init__(self) -> None:
        self._groups: dict[IPv4Address, _Origins] = {}
        self._entries = 0

    def groups(self) -> list[IPv4Address]:
        """The groups of which anything is wanted, in the order they came."""
        return list(self._groups)

    def join(
        self, group: IPv4Address, source: IPv4Address | None, origin: str, excluded: frozenset[IPv4Address] = NONE
    ) -> None:
        """``origin`` wants ``group`` from ``source``, or from any (None) that it does not exclude.

        Raises McastdError above MAX_JOINS.
        """
        if self._entries >= MAX_JOINS and not self._has(group, source, origin):
            raise McastdError(f"{group}: {MAX_JOINS} joins on one tunnel is the most; leave others first")
        self._add(group, source, origin, excluded)

    def _has(self, group: IPv4Address, source: IPv4Address | None, origin: str) -> bool:
        found = self._groups.get(group)
        return found is not None and origin in (found.any_source if source is None else found.sources.get(source, ()))

    def _add(
        self, group: IPv4Address, source: IPv4Address | None, origin: str, excluded: frozenset[IPv4Address] = NONE
    ) -> None:
        known = self._groups.get(group)
        found = known or _Origins()
        before = found.any_source if source is None else found.sources.get(source, ())
        fresh = origin not in before
        if source is None:
            found.any_source[origin] = excluded
        elif fresh:
            found.sources[source] = (*found.sources.get(source, ()), origin)
        if known is None:
            self._groups[group] = found
        self._entries += fresh

    def leave(self, group: IPv4Address, source: IPv4Address | None, origin: str) -> bool:
        """Take a join of ``origin`` back; False if it had none."""
        found = self._groups.get(group)
        if found is None:
            return False
        if source is None:
            if found.any_source.pop(origin, None) is None:
                return False
        else:
            before = found.sources.get(source, ())
            if origin not in before:
                return False
            found.sources[source] = tuple(other for other in before if other != origin)
            if not found.sources[source]:
                del found.sources[source]
        self._entries -= 1
        if not found.any_source and not found.sources:
            del self._groups[group]
        return True

    def replace(self, origin: str, wanted: Iterable[tuple[IPv4Address, IPv4Address | None]]) -> list[IPv4Address]:
        """Make ``wanted``, however much, all that ``origin`` wants; the groups in which that changed something."""
        target = dict.fromkeys(wanted)
        changed: dict[IPv4Address, None] = {}
        for group, source in self._of(origin):
            if (group, source) in target:
                del target[group, source]
            else:
                self.leave(group, source, origin)
                changed[group] = None
        for group, source in target:
            self._add(group, source, origin)
            changed[group] = None
        return list(changed)

    def _of(self, origin: str) -> list[tuple[IPv4Address, IPv4Address | None]]:
        return [(group, source) for group, source, origins in self.entries() if origin in origins]

    def entries(self) -> list[tuple[IPv4Address, IPv4Address | None, tuple[str, ...]]]:
        """Every (*,G), as source None, and (S,G) that is wanted, with its origins."""
        found: list[tuple[IPv4Address, IPv4Address | None, tuple[str, ...]]] = []
        for group, origins in self._groups.items():
            if origins.any_source:
                found.append((group, None, tuple(origins.any_source)))
            found.extend((group, source, names) for source, names in origins.sources.items())
        return found

    def wanted(self, group: IPv4Address) -> Wanted:
        """What all origins together want; a source is excluded if nobody wants it (RFC 3376, section 3.2)."""
        found = self._groups.get(group)
        if found is None:
            return _NOTHING
        if not found.sources and not any(found.any_source.values()):
            return _ANY_SOURCE
        excluded = NONE
        if found.any_source:
            excluded = frozenset.intersection(*found.any_source.values()) - found.sources.keys()
        return Wanted(bool(found.any_source), frozenset(found.sources) or NONE, excluded or NONE)
