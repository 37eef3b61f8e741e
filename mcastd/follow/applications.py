"""What the applications of this host want on one tunnel, and what of it is joined upstream. Sans-IO.

    observed, reported      what the kernel shows of a group; the group is to be looked at
    step                    looks at a slice of such groups: what is followed of each now?

    an entry, (*,G) or (S,G)     wanted by sockets ------ the last one leaves ------> lingers
                                       ^                                             |      |
                                       +-------------- joined again -----------------+      | linger is over, or
                                                                                            v no longer in scope
                                                                                         not wanted

What is more than the limit waits until others have left; what lingers takes no room.
"""

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from ipaddress import IPv4Address
from itertools import islice
from math import inf
from typing import Final, NamedTuple, TypeAlias

import msgspec

from mcastd.follow import members, scope
from mcastd.follow.members import is_open
from mcastd.follow.settings import FollowedTunnel
from mcastd.membership import NONE, NOTHING, DesiredGroup
from mcastd.net.memberships import NO_MEMBERS, Members
from mcastd.status import NotFollowedReason

SLICE: Final = 50
"""Groups that one step looks at, so that other work has a turn."""
LOST_FOR: Final = 3600.0
"""Seconds for which memberships that were lost with an interface are remembered."""

_MOST_ASKED: Final = 16  # groups that are asked for one by one; of more, all are asked for


def _nothing(_group: IPv4Address) -> DesiredGroup:
    return NOTHING


class Want(NamedTuple):
    """This is all that applications desire of a group now."""

    group: IPv4Address
    desired: DesiredGroup


class Ask(NamedTuple):
    """Let the kernel report the filters of a group, or (None) of all."""

    group: IPv4Address | None


Effect: TypeAlias = Want | Ask


class _Group(msgspec.Struct):
    """One group that sockets have joined, or had until just now."""

    members: Members = NO_MEMBERS
    any_source: bool = False  # whether any of the sockets wants every source, as far as is known
    answered: bool = False  # whether a report said so, of the sockets that there are now
    live: DesiredGroup = NOTHING  # what of their desire is followed
    counted: int = 0  # how many entries of it take room
    wanted: DesiredGroup = NOTHING  # that, and what lingers
    lingers: dict[IPv4Address | None, float] = msgspec.field(default_factory=dict)  # until when, by source


class Applications:
    """The groups of one tunnel. Times are monotonic, in seconds."""

    def __init__(self, tunnel: FollowedTunnel, others: Callable[[IPv4Address], DesiredGroup] = _nothing) -> None:
        """``others`` says what others than applications desire of a group: that takes no room."""
        self.tunnel = tunnel
        self.live = 0  # how many entries are followed, without those that linger
        self._others = others
        self._counted = 0  # those of them that take room
        self.refused: dict[IPv4Address, NotFollowedReason] = {}  # the groups that are not, or not wholly, followed
        self.waiting: dict[IPv4Address, None] = {}  # those of them that are too many
        self.lost: dict[IPv4Address, float] = {}  # groups whose memberships went with the interface, and when
        self._groups: dict[IPv4Address, _Group] = {}
        self._changed: dict[IPv4Address, None] = {}  # the groups that are to be looked at
        self._unanswered: dict[IPv4Address, None] = {}  # the groups that the kernel is to be asked for
        self._deadlines: list[tuple[float, IPv4Address]] = []  # a heap: when lingering of a group may end

    def __iter__(self) -> Iterator[IPv4Address]:
        """The groups that sockets have joined, as of the last look."""
        return (group for group, state in self._groups.items() if state.members.users)

    def configure(self, tunnel: FollowedTunnel, now: float) -> None:
        """Follow what is in scope now. With another interface of that name, all memberships are lost."""
        before, self.tunnel = self.tunnel, tunnel
        if before.ifindex != tunnel.ifindex:
            self._relinked(now)
        if before != tunnel:
            self._changed.update(dict.fromkeys(self._groups))

    def _relinked(self, now: float) -> None:
        for group, state in self._groups.items():
            if state.members.users and not scope.is_local(group):
                self.lost[group] = now
            state.members = NO_MEMBERS

    def observed(self, group: IPv4Address, found: Members) -> None:
        """These sockets have joined the group now."""
        state = self._groups.get(group)
        if state is None:
            if not found.users:
                return
            state = self._groups[group] = _Group()
        if found.users:
            self.lost.pop(group, None)
        if found != state.members:
            state.members, state.answered = found, False
            self._changed[group] = None
        elif group in self.waiting:
            self._changed[group] = None  # others may have left room, or desire it now
        if is_open(found) and not state.answered:
            self._unanswered[group] = None

    def reported(self, group: IPv4Address, *, any_source: bool) -> None:
        """The kernel reports that the sockets together want every source of the group, or not."""
        state = self._groups.get(group)
        if state is None or not is_open(state.members):
            return
        state.answered = True
        self._unanswered.pop(group, None)
        if any_source != state.any_source:
            state.any_source = any_source
            self._changed[group] = None

    def step(self, now: float) -> list[Effect]:
        """Look at some of the groups that have changed, or whose lingering is over."""
        while len(self._changed) < SLICE and self._deadlines and self._deadlines[0][0] <= now:
            self._changed[heappop(self._deadlines)[1]] = None
        effects: list[Effect] = []
        for group in tuple(islice(self._changed, SLICE)):
            del self._changed[group]
            if (state := self._groups.get(group)) is None:
                continue
            before = state.wanted
            self._settle(group, state, now)
            if state.wanted != before:
                effects.append(Want(group, state.wanted))
            if not state.members.users and state.wanted == NOTHING:
                del self._groups[group]
        while self.lost and self._lost_until() <= now:
            del self.lost[next(iter(self.lost))]
        return effects + self._asks()

    def next_deadline(self) -> float:
        """When ``step`` has something to do; infinite if never."""
        if self._changed or self._unanswered:
            return -inf
        return min(self._deadlines[0][0] if self._deadlines else inf, self._lost_until())

    def wanted(self, group: IPv4Address) -> DesiredGroup:
        """The last ``Want`` of a group."""
        state = self._groups.get(group)
        return state.wanted if state is not None else NOTHING

    def _lost_until(self) -> float:
        """When the group that was lost first is forgotten; infinite if none was."""
        return next(iter(self.lost.values()), inf) + LOST_FOR

    def _asks(self) -> list[Effect]:
        asked, self._unanswered = self._unanswered, {}
        return [Ask(None)] if len(asked) > _MOST_ASKED else [Ask(group) for group in asked]

    def _settle(self, group: IPv4Address, state: _Group, now: float) -> None:
        """Bring a group up to date."""
        found = members.desired(state.members, any_source=state.any_source)
        state.any_source = found.any_source
        allowed = scope.followed(self.tunnel, group, found)
        live = self._within_limit(group, state, allowed)
        reason = scope.refusal(self.tunnel, group, found) if live == allowed else "limit"
        if reason is None:
            self.refused.pop(group, None)
        else:
            self.refused[group] = reason
        lingering: dict[IPv4Address | None, float] = {}
        # What sockets want, and is not followed any more, goes at once.
        for source in _entries(state.wanted) - _entries(live) - _entries(found):
            until = state.lingers.get(source, now + self.tunnel.linger)
            if until > now:
                lingering[source] = until
                if source not in state.lingers:
                    heappush(self._deadlines, (until, group))
        state.lingers = lingering
        sources = live.sources | {source for source in lingering if source is not None}
        excluded = live.excluded if live.any_source else state.wanted.excluded if None in lingering else NONE
        state.wanted = DesiredGroup(live.any_source or None in lingering, sources, excluded - sources)

    def _within_limit(self, group: IPv4Address, state: _Group, allowed: DesiredGroup) -> DesiredGroup:
        """What of it is followed: what has been before, and more as far as there is room."""
        before, free = _entries(state.live), _entries(self._others(group))
        target = _entries(allowed)
        kept, room = sorted(target - free, key=lambda one: (one not in before, int(one or 0))), self._room(state)
        live = allowed
        if len(kept) > room:
            del kept[max(room, 0) :]
            entries = target & free | set(kept)
            any_source, sources = None in entries, frozenset(source for source in entries if source is not None)
            live = DesiredGroup(any_source, sources, allowed.excluded if any_source else NONE)
            self.waiting[group] = None
        else:
            self.waiting.pop(group, None)
        freed = state.counted - len(kept)
        self.live += len(_entries(live)) - len(before)
        self._counted -= freed
        state.live, state.counted = live, len(kept)
        if freed > 0:
            self._changed.update(dict.fromkeys(islice(self.waiting, freed)))
        return live

    def _room(self, state: _Group) -> int:
        return self.tunnel.limit - (self._counted - state.counted)


def _entries(desired: DesiredGroup) -> set[IPv4Address | None]:
    """The sources, and None for every source."""
    return {None, *desired.sources} if desired.any_source else set(desired.sources)
