"""The upstream machines of one interface: (*,G), (S,G) and (S,G,rpt) (RFC 7761, sections 4.5.4 to 4.5.7).

JoinDesired is what ``desire`` was last called with; an entry is in state Joined when the upstream neighbour RPF' has
been sent a Join of it. ``flush`` sends the difference. The link is point-to-point: no other router suppresses our
Joins, or sends Prunes that need an override. So all entries share one Join Timer, and a refresh is one series of full
messages whose bytes are kept. The Join of a new entry is repeated, each time after twice as long, because it, or our
first Hello, may have been lost; and every few seconds of its first minute while no packet of it has come. When all
streams have fallen silent, a refresh is sent at once: the neighbour may have lost the joins and kept its Generation ID.
A Prune may have been lost as well, with the path that groups moved away from: where everything is sent again, so are
the Prunes of the last holdtime, after which the neighbour has forgotten their Joins.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from ipaddress import IPv4Address
from itertools import islice
from math import inf
from typing import Final, NamedTuple

import msgspec

from mcastd.membership import NONE
from mcastd.pim.awaited import Awaited
from mcastd.pim.effects import Entry
from mcastd.pim.join_prune_packing import FOR_RP, FOR_RPT, GROUP_HEAD, SOURCE, messages, records, room_for_groups
from mcastd.pim.packet import SPARSE, encode_source
from mcastd.pim.settings import PimInterface

SILENCE_INTERVAL: Final = 10.0  # between two refreshes because of silences: the source may have stopped
MERGE_WINDOW: Final = 0.02  # joins and leaves this close together share a message
_AT_ONCE: Final = 544  # groups that one flush looks at, 8 messages at an MTU of 1400: some milliseconds
_MERGE_REPEATS: Final = 0.2  # repeats due within this part of the repeat interval are sent together


class Entries(NamedTuple):
    """The entries of one group: (*,G) at ``rp`` (None: not) without the excluded sources, and (S,G) of ``sources``."""

    rp: IPv4Address | None = None
    sources: frozenset[IPv4Address] = NONE
    excluded: frozenset[IPv4Address] = NONE


_NOTHING: Final = Entries()


@dataclass(slots=True, order=True)
class _Repetition:
    """New Joins that are sent again together; ordered by when."""

    at: float  # when they are sent next; infinite after the last time
    groups: list[IPv4Address] = field(default_factory=list, compare=False)
    sent: int = field(default=0, compare=False)  # how often they have been repeated


class _Group(msgspec.Struct):
    """The state of one group."""

    desired: Entries = _NOTHING
    advertised: Entries = _NOTHING  # what RPF' has been sent Joins of, and not Prunes since
    joined: int = 0  # how many entries are desired and advertised
    records: tuple[bytes, ...] = ()  # the advertised entries, as a refresh sends them
    since: float = 0.0  # when the group was first advertised
    repetition: _Repetition | None = None  # the last one that it was made part of


class Update(NamedTuple):
    """A change for RPF': messages to send, and the entries that they join and prune."""

    messages: list[bytes]
    joined: list[Entry]
    pruned: list[Entry]


class Upstream:
    """All entries of an interface, towards RPF': ``neighbor``, None if there is none."""

    def __init__(self, settings: PimInterface) -> None:
        self.neighbor: IPv4Address | None = None
        self.joined = 0  # how many entries are desired and advertised
        self._settings = settings
        self._room = room_for_groups(settings.mtu)  # bytes of records in one message
        self._groups: dict[IPv4Address, _Group] = {}
        self._changed: dict[IPv4Address, _Group] = {}  # the groups to compare at the next flush
        self._flush_at = inf  # when it is due
        self._flushed_at = -inf  # when the last one that sent something was
        self._refresh_at = inf  # the Join Timer of all entries
        self._silence_at = -inf  # when the next refresh because of a silence may be sent
        self._awaited = Awaited()
        self._repetitions: list[_Repetition] = []  # a heap of those that are still to be sent
        # What was pruned last, by group, and until when RPF' may have it: its Prune may have been lost.
        self._pruned: dict[IPv4Address, tuple[Entries, float]] = {}
        self._refresh_messages: list[bytes] | None = None  # of the last refresh; None: something has changed

    def reconfigure(self, settings: PimInterface) -> None:
        """Use other periods, or another MTU, from now on."""
        before, self._settings = self._settings, settings
        if before.mtu != settings.mtu or before.join_prune_holdtime != settings.join_prune_holdtime:
            self._refresh_messages = None
        if before.mtu != settings.mtu:
            before_room, self._room = self._room, room_for_groups(settings.mtu)
            most = (min(before_room, self._room) - GROUP_HEAD) // SOURCE
            for group, state in self._groups.items():
                _, sources, excluded = state.advertised
                if 1 + len(sources) + len(excluded) > most:  # else it is one record, of all
                    state.records = self._records(group, state.advertised)

    # What is desired

    def desire(self, group: IPv4Address, desired: Entries) -> None:
        """Set JoinDesired of a group."""
        state = self._groups.get(group)
        if state is None:
            if desired == _NOTHING:
                return
            state = self._groups[group] = _Group()
        state.desired = desired
        self._changed[group] = state
        if state.advertised != _NOTHING:
            self._count(state)

    def _count(self, state: _Group) -> None:
        desired, advertised = state.desired, state.advertised
        both = desired.rp is not None and advertised.rp is not None
        joined = both + len(desired.sources & advertised.sources)
        self.joined += joined - state.joined
        state.joined = joined

    def schedule_flush(self, now: float) -> None:
        """Send what has changed now, or when the last change is long enough ago."""
        if self.has_changes:
            self._flush_at = min(self._flush_at, max(now, self._flushed_at + MERGE_WINDOW))

    @property
    def has_changes(self) -> bool:
        """Whether there is something to send RPF' at the next flush."""
        return self.neighbor is not None and bool(self._changed)

    def is_flush_due(self, now: float) -> bool:
        """Whether it is time for a flush."""
        return now >= self._flush_at

    def flush(self, now: float) -> Update:
        """Send RPF' what differs from what it was sent before; of many groups some now, others at the next flush."""
        update = Update([], [], [])
        self._flush_at = inf
        if self.neighbor is None:
            return update
        while self._pruned and self._pruned[oldest := next(iter(self._pruned))][1] <= now:
            del self._pruned[oldest]
        found: list[bytes] = []
        config = self._settings.config
        repetition = _Repetition(now + config.join_repeat_interval if config.join_repeats else inf)
        for group in tuple(islice(self._changed, _AT_ONCE)):
            found += self._difference(group, self._changed.pop(group), update, repetition, now)
        if self._changed:
            self._flush_at = now
        update.messages.extend(self._messages(found))
        if update.messages:
            self._flushed_at = now
        if repetition.groups and config.join_repeats:
            heappush(self._repetitions, repetition)
        if self._settings.has_arrived is not None and config.join_repeats:
            self._awaited.add(repetition.groups, now)
        if self._groups and self._refresh_at == inf:
            self._refresh_at = now + config.join_prune_period
        return update

    def _difference(
        self, group: IPv4Address, state: _Group, update: Update, repetition: _Repetition, now: float
    ) -> tuple[bytes, ...]:
        """The records to send of one group, and in ``update`` what they join and prune."""
        new, old = state.desired, state.advertised
        star: tuple[list[bytes], list[bytes]] = ([], [])
        joined: list[bytes] = []
        pruned: list[bytes] = []
        if new.rp is not None and new.rp != old.rp:
            # RPF'(*,G) is the same neighbour for every RP, so a new RP takes the old one's place without a Prune:
            # routers obey a Prune(*,G) whatever RP it names, and it would take the new state away.
            star = _star(new)
            update.joined.append(Entry(group, None, new.rp))
        elif new.rp is None and old.rp is not None:
            pruned.append(encode_source(old.rp, FOR_RP))
            update.pruned.append(Entry(group, None, old.rp))
        elif new.excluded != old.excluded:
            joined += _encoded(old.excluded - new.excluded, FOR_RPT)
            pruned += _encoded(new.excluded - old.excluded, FOR_RPT)
        if new.sources != old.sources:
            joins, prunes = sorted(new.sources - old.sources), sorted(old.sources - new.sources)
            joined += _encoded(joins, SPARSE)
            pruned += _encoded(prunes, SPARSE)
            update.joined.extend([Entry(group, source) for source in joins])
            update.pruned.extend([Entry(group, source) for source in prunes])
        self._pruned.pop(group, None)
        if new == _NOTHING != old:
            self._pruned[group] = old, now + self._settings.join_prune_holdtime
        is_first = old == _NOTHING
        found = records(group, self._room, star, joined, pruned)
        state.advertised = new
        if is_first:
            state.since = now
        if found or new == _NOTHING:
            self._refresh_messages = None
            state.records = found if is_first else self._records(group, new)
        if star[0] or joined:
            repetition.groups.append(group)
            state.repetition = repetition
        if new == _NOTHING:
            del self._groups[group]
        self._count(state)
        return found

    def _records(self, group: IPv4Address, entries: Entries) -> tuple[bytes, ...]:
        return records(group, self._room, _star(entries), _encoded(entries.sources, SPARSE))

    def _messages(self, found: list[bytes]) -> list[bytes]:
        if self.neighbor is None:
            return []
        return messages(found, self.neighbor, self._settings.join_prune_holdtime, self._settings.mtu)

    # RPF' changes

    def set_neighbor(self, neighbor: IPv4Address | None, old_is_alive: bool) -> Update:
        """RPF' changes: Prunes for the old one if it is up; the new one has been sent nothing (section 4.5.4)."""
        update = self.prune_all() if old_is_alive else Update([], [], [])
        self.neighbor = neighbor
        self._pruned.clear()
        self.forget()
        return update

    def forget(self) -> None:
        """RPF' has no state of ours (its GenID changed, or the path was down): everything is to be sent again."""
        self._groups = {group: state for group, state in self._groups.items() if state.desired != _NOTHING}
        for state in self._groups.values():
            state.advertised, state.joined = _NOTHING, 0
        for group, (gone, _) in self._pruned.items():
            if group not in self._groups:
                self._groups[group] = _Group(advertised=gone)  # so that the next flush prunes it
        self.joined = 0
        self._changed = dict(self._groups)
        self._repetitions.clear()
        self._awaited.clear()
        self._refresh_messages = None
        self._refresh_at = inf

    def prune_all(self) -> Update:
        """Prunes for all that is advertised; what is desired stays."""
        update = Update([], [], [])
        found: list[bytes] = []
        for group, state in self._groups.items():
            entries = state.advertised
            pruned = _encoded(entries.sources, SPARSE)
            if entries.rp is not None:
                pruned.insert(0, encode_source(entries.rp, FOR_RP))
                update.pruned.append(Entry(group, None, entries.rp))
            update.pruned.extend([Entry(group, source) for source in sorted(entries.sources)])
            found += records(group, self._room, pruned=pruned)
        update.messages.extend(self._messages(found))
        return update

    def stop(self) -> None:
        """Nothing is due any more."""
        self.forget()
        self._flush_at = inf

    # Timers

    def next_deadline(self) -> float:
        """When a flush, a refresh or a repetition is due; infinite if never."""
        repetition_at = self._repetitions[0].at if self._repetitions else inf
        return min(self._flush_at, self._refresh_at, repetition_at, self._awaited.deadline)

    def fell_silent(self, now: float) -> None:
        """All streams are silent: a refresh now, or when the last one for that reason is long enough ago."""
        if self._groups:
            self._refresh_at = min(self._refresh_at, max(now, self._silence_at))
            self._silence_at = self._refresh_at + SILENCE_INTERVAL

    def due(self, now: float) -> list[bytes]:
        """The Joins whose time has come: the periodic refresh, and repetitions of new ones."""
        repeated = dict.fromkeys([*self._repeated(now), *self._awaited.due(now, self._is_missing)])
        if now >= self._refresh_at:
            self._refresh_at = now + self._settings.config.join_prune_period if self._groups else inf
            return self._refresh()
        if len(repeated) == len(self._groups):
            return self._refresh()
        return self._messages([record for group in repeated for record in self._groups[group].records])

    def _repeated(self, now: float) -> list[IPv4Address]:
        """The groups of the repetitions that are due, which are scheduled again."""
        config, waiting = self._settings.config, self._repetitions
        if not waiting or now < waiting[0].at:
            return []
        due = []
        while waiting and waiting[0].at <= now + _MERGE_REPEATS * config.join_repeat_interval:
            due.append(heappop(waiting))
        for repetition in due:
            repetition.groups = [group for group in repetition.groups if self._is_part(group, repetition)]
            repetition.sent += 1
            is_last = not repetition.groups or repetition.sent >= config.join_repeats
            repetition.at = inf if is_last else now + config.join_repeat_interval * 2**repetition.sent
            if not is_last:
                heappush(waiting, repetition)
        return [group for repetition in due for group in repetition.groups]

    def _is_missing(self, group: IPv4Address) -> bool:
        """Whether a packet of any of a group's entries has yet to come."""
        state, has_arrived = self._groups.get(group), self._settings.has_arrived
        if state is None or has_arrived is None:
            return False
        star = state.advertised.rp is not None and not has_arrived(None, group)
        return star or any(not has_arrived(source, group) for source in state.advertised.sources)

    def _is_part(self, group: IPv4Address, repetition: _Repetition) -> bool:
        state = self._groups.get(group)
        return state is not None and state.repetition is repetition

    def _refresh(self) -> list[bytes]:
        if self._refresh_messages is None:
            self._refresh_messages = self._messages([r for state in self._groups.values() for r in state.records])
        return self._refresh_messages

    # Questions

    def since(self, group: IPv4Address, source: IPv4Address | None) -> float | None:
        """Since when the entry's group is Joined; None if the entry is not."""
        state = self._groups.get(group)
        if state is None:
            return None
        advertised = state.advertised
        is_joined = advertised.rp is not None if source is None else source in advertised.sources
        return state.since if is_joined else None

    def next_join(self, group: IPv4Address) -> float:
        """When the next Join of a group's advertised entries is due; infinite if never."""
        state = self._groups.get(group)
        return min(self._refresh_at, state.repetition.at if state is not None and state.repetition is not None else inf)


def _star(entries: Entries) -> tuple[list[bytes], list[bytes]]:
    """Join(*,G) with its (S,G,rpt) Prunes, lowest addresses first (section 4.9.5.2)."""
    if entries.rp is None:
        return [], []
    return [encode_source(entries.rp, FOR_RP)], _encoded(entries.excluded, FOR_RPT)


def _encoded(sources: Iterable[IPv4Address], flags: int) -> list[bytes]:
    """Sources in the order of their addresses, encoded."""
    return [encode_source(source, flags) for source in sorted(sources)] if sources else []
