"""Who wants which groups on which interface, and who is called when that changes. Pure; it is given a clock.

The daemon has two of these: what is desired from upstream, by tunnel, and what receivers behind this host desire, by
downstream interface. Those who write name an origin (``mcastd.membership``); those who read listen.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Final, TypeAlias, TypeVar

from mcastd.config.value_types import LINK_LOCAL_GROUPS
from mcastd.errors import McastdError
from mcastd.membership import NONE, DesiredGroup, GroupSource, Membership
from mcastd.net.prefix_table import in_ranges
from mcastd.status import GroupStatus, JoinState

T = TypeVar("T")

FILE: Final = "file"
COMMAND: Final = "command"
APPLICATION: Final = "application"
HOSTS: Final = "hosts"
STATIC: Final = "static"
MEMBERS: Final = "members"
_STEP: Final = 100  # groups that listeners hear of at once: some milliseconds
_COMPARED: Final = 500  # entries that are compared at once with those before: a millisecond

Listener: TypeAlias = Callable[[str, Sequence[IPv4Address]], None]
"""Called with an interface and the groups of it that have changed."""


def can_send(source: IPv4Address) -> bool:
    """Whether packets can come from an address; the kernel lets a socket ask for any."""
    return not (source.is_multicast or source.is_unspecified or source.is_loopback)


def require_joinable(group: IPv4Address, source: IPv4Address | None, ssm_ranges: Sequence[IPv4Network] = ()) -> None:
    """Raise McastdError, with the reason, for what nothing can join."""
    if not group.is_multicast:
        raise McastdError(f"{group} is not a multicast group (224.0.1.0 to 239.255.255.255)")
    if group in LINK_LOCAL_GROUPS:
        raise McastdError(f"{group} is link-local ({LINK_LOCAL_GROUPS}): it is never joined upstream")
    if source is None and in_ranges(group, ssm_ranges):
        raise McastdError(f"{group} is source-specific: name the source to join")
    if source is not None and not can_send(source):
        raise McastdError(f"{source} cannot be a source: a unicast address is needed")


@dataclass(frozen=True, slots=True)
class Rps:
    """The rendezvous points of a tunnel; ``needed`` is that a group is joined there from any source by its one.

    Those of the configuration serve ``ranges``, and of those that were learned ``has`` knows; ``changes`` has grown
    when that may have changed.
    """

    needed: bool = False
    ranges: tuple[IPv4Network, ...] = ()
    changes: int = 0
    has: Callable[[IPv4Address], bool] = field(default=NONE.__contains__, compare=False)

    def serves(self, group: IPv4Address) -> bool:
        """Whether a group can be joined from any source."""
        return not self.needed or in_ranges(group, self.ranges) or self.has(group)


NEEDS_NO_RP: Final = Rps()


class Wanted:
    """What is desired on each interface, whether it exists or not."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` is monotonic, in seconds."""
        self._clock = clock
        self._memberships: dict[str, Membership] = {}  # by the interface's name
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` after each change, before the method that changed it returns.

        It is called where an origin's desire of a group changed, so also where all origins together desire the same.
        """
        self._listeners.append(listener)

    # Questions

    def of(self, name: str) -> Membership:
        """What is desired on an interface; the same object for as long as the daemon runs. Change it here only."""
        return self._memberships.setdefault(name, Membership())

    def memberships(self) -> Mapping[str, Membership]:
        """What is desired, by the interface's name; also on interfaces that the configuration no longer has."""
        return self._memberships

    def counts(self, names: Iterable[str]) -> dict[str, int]:
        """How many entries are desired on each of these interfaces."""
        return {name: len(self._memberships.get(name, ())) for name in names}

    def is_wanted(self, name: str, source: IPv4Address | None, group: IPv4Address) -> bool:
        """Whether what ``source`` sends to ``group`` is desired on an interface."""
        found = self._memberships.get(name)
        return found is not None and bool(found.origins(group, None) or found.origins(group, source))

    def of_origin(self, origin: str) -> tuple[tuple[str, IPv4Address, IPv4Address | None], ...]:
        """The entries of ``origin``, as (interface, group, source)."""
        return tuple((name, *entry) for name, found in self._memberships.items() for entry in found.of_origin(origin))

    def where(self, group: IPv4Address, source: IPv4Address | None) -> tuple[str, ...]:
        """The interfaces on which an entry is desired."""
        return tuple(name for name, found in self._memberships.items() if found.origins(group, source))

    def since(self, name: str, group: IPv4Address) -> float | None:
        """Since when a group is desired on an interface by those that desire it now; None if it is not."""
        found = self._memberships.get(name)
        return None if found is None else found.since_first(group)

    def since_any(self, names: Iterable[str], group: IPv4Address) -> float | None:
        """The same on any of these interfaces."""
        found = (self.since(name, group) for name in names)
        return min((since for since in found if since is not None), default=None)

    def rows(self, name: str, group: IPv4Address, state: JoinState, now: float) -> Iterator[GroupStatus]:
        """The entries of a group on an interface for status, in this state since they are desired."""
        table = self.of(name)
        for _, source, origins in table.entries_of(group):
            since = min(table.since(group, source, origin) or now for origin in origins)
            yield GroupStatus(
                group=str(group),
                source=None if source is None else str(source),
                tunnel=name,
                tunnels=self.where(group, source),
                state=state,
                origins=origins,
                uptime=now - since,
            )

    # Changes

    def join(
        self,
        name: str,
        group: IPv4Address,
        source: IPv4Address | None,
        origin: str,
        excluded: frozenset[IPv4Address] = NONE,
    ) -> None:
        """``origin`` desires ``group`` from ``source``, or from any (None) but those excluded. Raises McastdError."""
        require_joinable(group, source)
        if self.of(name).join(group, source, origin, excluded, self._clock()):
            self._changed(name, (group,))

    def leave(self, name: str, group: IPv4Address, source: IPv4Address | None, origin: str) -> bool:
        """Remove an entry of ``origin``; returns False if there was none."""
        if not self.of(name).leave(group, source, origin):
            return False
        self._changed(name, (group,))
        return True

    def set_group(self, name: str, group: IPv4Address, origin: str, desired: DesiredGroup) -> None:
        """Make ``desired`` all that ``origin`` desires of one group. Raises McastdError, and then nothing changed."""
        for refused in self.set_groups(name, origin, {group: desired}).values():
            raise refused

    def set_groups(
        self, name: str, origin: str, desired: Mapping[IPv4Address, DesiredGroup], *, is_limited: bool = True
    ) -> dict[IPv4Address, McastdError]:
        """``set_group`` for several groups, which listeners hear of together; returns why some have not changed.

        Where that is not ``is_limited``, they may be of any number, as with ``replace``.
        """
        changed: list[IPv4Address] = []
        refused: dict[IPv4Address, McastdError] = {}
        for group, one in desired.items():
            try:
                for source in one.sources or (None,):
                    require_joinable(group, source)
                if self.of(name).set_group(group, origin, one, self._clock(), is_limited=is_limited):
                    changed.append(group)
            except McastdError as error:
                refused[group] = error
        if changed:
            self._changed(name, changed)
        return refused

    def replace(self, name: str, origin: str, entries: Sequence[GroupSource]) -> None:
        """Make ``entries``, of any number, all that ``origin`` desires on an interface; they can all be joined."""
        deque(self.adding(origin, {name: entries}), 0)
        deque(self.keeping(origin, {name: entries}), 0)

    def adding(self, origin: str, desired: Mapping[str, Sequence[GroupSource]]) -> Iterator[int]:
        """``origin`` desires these entries, by interface and of any number, as well.

        In steps, between which other work may have a turn; each says how many groups it has changed.
        """
        for name, entries in desired.items():
            for part in _parts(entries, _COMPARED):
                yield from self._changing(name, self.of(name).add(origin, part, self._clock()))

    def keeping(self, origin: str, desired: Mapping[str, Sequence[GroupSource]]) -> Iterator[int]:
        """``origin`` desires nothing but these entries on these interfaces; in steps, as ``adding``."""
        for name, entries in desired.items():
            kept = set[GroupSource]()
            for part in _parts(entries, _COMPARED):
                kept.update(part)
                yield 0
            for part in _parts(self.of(name).of_origin(origin), _COMPARED):
                yield from self._changing(name, self.of(name).remove(origin, [one for one in part if one not in kept]))

    def _changing(self, name: str, groups: Sequence[IPv4Address]) -> Iterator[int]:
        for part in _parts(groups, _STEP):
            self._changed(name, part)
            yield len(part)
        if not groups:
            yield 0

    def _changed(self, name: str, groups: Sequence[IPv4Address]) -> None:
        for listener in self._listeners:
            listener(name, groups)


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[first : first + size] for first in range(0, len(items), size))
