"""The upstream machines of one interface: (*,G), (S,G) and (S,G,rpt) (RFC 7761, sections 4.5.4 to 4.5.7).

JoinDesired is what ``want`` was last called with; an entry is in state Joined when the upstream neighbour RPF' has been
told so. ``flush`` tells it the difference. Most entries share one Join Timer, ``refresh_at``, so that a refresh is one
series of full messages whose bytes are kept. An entry has a Join Timer of its own only while another router's Join
suppresses it, or another router's Prune must be overridden. The Join of a new entry is repeated, each time after twice
as long, because it, or our first Hello, may have been lost.
"""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from math import inf
from typing import Final

from mcastd.pim.assemble import messages, records, room_for_groups
from mcastd.pim.effects import Entry
from mcastd.pim.entries import GroupState, Key, Timing, Told, entries_of
from mcastd.pim.membership import NONE
from mcastd.pim.packet import RPT, SPARSE, WILDCARD, JoinPrune, SourceEntry, encode_source
from mcastd.pim.timers import Timers

FOR_RP: Final = SPARSE | WILDCARD | RPT
FOR_RPT: Final = SPARSE | RPT
MAX_OWN_TIMERS: Final = 50_000
_MERGE: Final = 0.2  # repeats due within this part of the repeat interval go together


class Upstream:
    """All entries towards the one upstream neighbour of an interface; ``neighbor`` None is none known."""

    def __init__(self, timing: Timing) -> None:
        self.neighbor: IPv4Address | None = None
        self.refresh_at = inf
        self._timing = timing
        self._room = room_for_groups(timing.mtu)
        self._groups: dict[IPv4Address, GroupState] = {}
        self._changed: dict[IPv4Address, GroupState] = {}
        self._repeats: Timers[IPv4Address] = Timers()
        self._join_timers: Timers[Key] = Timers()
        self._pages: list[bytes] | None = None

    def retime(self, timing: Timing) -> None:
        """Use other periods, or another MTU, from now on."""
        if timing != self._timing:
            self._timing = timing
            self._room = room_for_groups(timing.mtu)
            self._pages = None
            for group, state in self._groups.items():
                state.records = self._full(group, state)

    # What is wanted

    def want(
        self,
        group: IPv4Address,
        rp: IPv4Address | None,
        sources: frozenset[IPv4Address] = NONE,
        excluded: frozenset[IPv4Address] = NONE,
    ) -> None:
        """Set JoinDesired of a group: (*,G) at ``rp`` less the excluded sources, and (S,G) for each source."""
        state = self._groups.get(group)
        if state is None:
            if rp is None and not sources:
                return
            state = self._groups[group] = GroupState()
        state.rp, state.sources, state.excluded = rp, sources, excluded if rp is not None else NONE
        self._changed[group] = state

    @property
    def unsaid(self) -> bool:
        """Whether there is something that RPF' should be told."""
        return self.neighbor is not None and bool(self._changed)

    def flush(self, now: float) -> Told:
        """Tell RPF' what has changed since it was last told (JoinDesired, PruneDesired; RP and source changes)."""
        told = Told([], [], [])
        if self.neighbor is None:
            return told
        found: list[bytes] = []
        for group, state in self._changed.items():
            found += self._difference(group, state, told, now)
        self._changed.clear()
        told.messages.extend(self._messages(found))
        if self._groups and self.refresh_at == inf:
            self.refresh_at = now + self._timing.period
        return told

    def _difference(self, group: IPv4Address, state: GroupState, told: Told, now: float) -> tuple[bytes, ...]:
        """Tell of one group: the records to send, and in ``told`` what they join and prune."""
        new_rp = state.rp if state.rp != state.told_rp else None
        joined: list[bytes] = []
        pruned: list[bytes] = []
        together: tuple[list[bytes], list[bytes]] = ([], [])
        if new_rp is not None:
            # RPF'(*,G) is the same neighbour for every RP, so a new RP takes the old one's place without a Prune:
            # routers obey a Prune(*,G) whatever RP it names, and it would take the new state away.
            together = self._star(state)
            told.joined.append(Entry(group, None, new_rp))
        elif state.rp is None and state.told_rp is not None:
            pruned.append(encode_source(state.told_rp, FOR_RP))
            told.pruned.append(Entry(group, None, state.told_rp))
        elif state.rp is not None and state.excluded != state.told_excluded:
            joined += _encoded(state.told_excluded - state.excluded, FOR_RPT)
            pruned += _encoded(state.excluded - state.told_excluded, FOR_RPT)
        if state.sources != state.told_sources:
            joins, prunes = sorted(state.sources - state.told_sources), sorted(state.told_sources - state.sources)
            joined += _encoded(joins, SPARSE)
            pruned += _encoded(prunes, SPARSE)
            told.joined.extend([Entry(group, source) for source in joins])
            told.pruned.extend([Entry(group, source) for source in prunes])
        has_joins = bool(joined or together[0])
        found = records(group, self._room, together, joined, pruned) if has_joins or pruned else ()
        is_first = not state.is_told()
        if is_first:
            state.since = now
        state.told_rp, state.told_sources, state.told_excluded = state.rp, state.sources, state.excluded
        if found or not state.is_told():
            self._keep(group, state, found if is_first else None)
        if has_joins and self._timing.repeats:
            state.repeats = 0
            self._repeats.set(group, now + self._timing.repeat_interval)
        return found

    def _keep(self, group: IPv4Address, state: GroupState, all_records: tuple[bytes, ...] | None) -> None:
        """Keep what a refresh will send of a group that has just been told of; None: to be encoded."""
        self._pages = None
        if state.is_told():
            state.records = self._full(group, state) if all_records is None else all_records
        else:
            del self._groups[group]
            self._repeats.cancel(group)

    def _star(self, state: GroupState) -> tuple[list[bytes], list[bytes]]:
        """Join(*,G) with its (S,G,rpt) prunes, lowest addresses first (section 4.9.5.2)."""
        if state.rp is None:
            return [], []
        return [encode_source(state.rp, FOR_RP)], _encoded(state.excluded, FOR_RPT)

    def _full(self, group: IPv4Address, state: GroupState) -> tuple[bytes, ...]:
        return records(group, self._room, self._star(state), _encoded(state.sources, SPARSE))

    def _messages(self, found: list[bytes]) -> list[bytes]:
        if self.neighbor is None:
            return []
        return messages(found, self.neighbor, self._timing.holdtime, self._timing.mtu)

    # RPF' changes

    def told(self, group: IPv4Address) -> tuple[IPv4Address | None, frozenset[IPv4Address]]:
        """What RPF' has been sent Joins of: (*,G) by its RP, and sources."""
        state = self._groups.get(group)
        return (None, NONE) if state is None else (state.told_rp, state.told_sources)

    def release(self, group: IPv4Address, star: bool, sources: frozenset[IPv4Address]) -> None:
        """Entries whose RPF' is another one now by an Assert: no Prune says so (sections 4.5.4 and 4.5.5)."""
        state = self._groups[group]
        if star:
            state.rp = state.told_rp = None
            state.excluded = state.told_excluded = NONE
        state.sources -= sources
        state.told_sources -= sources
        self._changed.pop(group, None)
        self._keep(group, state, None)

    def __bool__(self) -> bool:
        """Whether there is anything to tell, or that was told."""
        return bool(self._groups)

    def set_neighbor(self, neighbor: IPv4Address | None, old_is_alive: bool) -> Told:
        """RPF' changes: Prunes for the old one if it lives; the new one has been told nothing (section 4.5.4)."""
        told = self.prune_all() if old_is_alive else Told([], [], [])
        self.neighbor = neighbor
        self.forget()
        return told

    def forget(self) -> None:
        """RPF' knows nothing of us (its GenID changed, or the link was away): everything is to be said again."""
        for group in [group for group, state in self._groups.items() if not state.is_wanted()]:
            del self._groups[group]
        for state in self._groups.values():
            state.told_rp, state.told_sources, state.told_excluded = None, NONE, NONE
        self._changed = dict(self._groups)
        self._repeats.clear()
        self._join_timers.clear()
        self._pages = None
        self.refresh_at = inf

    def prune_all(self) -> Told:
        """Prunes for all that RPF' was told; what is wanted stays."""
        told = Told([], [], [])
        found: list[bytes] = []
        for group, state in self._groups.items():
            if not state.is_told():
                continue
            pruned = [encode_source(state.told_rp, FOR_RP)] if state.told_rp is not None else []
            found += records(group, self._room, pruned=pruned + _encoded(state.told_sources, SPARSE))
            told.pruned.extend(entries_of(group, state.told_rp, state.told_sources))
        told.messages.extend(self._messages(found))
        return told

    # Timers

    def next_deadline(self) -> float:
        """When ``due`` has something to say."""
        return min(self.refresh_at, self._repeats.next(), self._join_timers.next())

    def due(self, now: float) -> list[bytes]:
        """The Joins whose time has come: the periodic refresh, repeats of new ones, and own Join Timers."""
        if now < self.next_deadline():
            return []
        repeated = self._repeats.due(now + _MERGE * self._timing.repeat_interval)
        for group in repeated:
            self._repeat_again(group, now)
        timers = [key for key in self._join_timers.due(now) if self._holds(key)]
        if now >= self.refresh_at:
            self.refresh_at = now + self._timing.period if self._groups else inf
            return self._rpt_overrides(timers) + self._refresh()
        if len(repeated) == len(self._groups) and not timers:
            return self._refresh()
        found = [record for group in repeated for record in self._groups[group].records]
        return self._messages(found) + self._own(timers)

    def _repeat_again(self, group: IPv4Address, now: float) -> None:
        state = self._groups[group]
        state.repeats += 1
        if state.repeats < self._timing.repeats:
            self._repeats.set(group, now + self._timing.repeat_interval * 2**state.repeats)

    def _refresh(self) -> list[bytes]:
        if self._join_timers:
            return self._refresh_but(set(self._join_timers.keys()))
        if self._pages is None:
            self._pages = self._messages([r for state in self._groups.values() for r in state.records])
        return self._pages

    def _refresh_but(self, own: set[Key]) -> list[bytes]:
        """A refresh without the entries that have a Join Timer of their own."""
        found: list[bytes] = []
        for group, state in self._groups.items():
            joined = _encoded((s for s in state.told_sources if Key(group, s) not in own), SPARSE)
            together = ([], []) if Key(group, None) in own else self._star(state)
            if joined or together[0]:
                found += records(group, self._room, together, joined)
        return self._messages(found)

    def _own(self, timers: Iterable[Key]) -> list[bytes]:
        """Join Timers, and Override Timers of (S,G,rpt), that have run out."""
        by_group: dict[IPv4Address, list[Key]] = {}
        for key in timers:
            by_group.setdefault(key.group, []).append(key)
        found: list[bytes] = []
        for group, keys in by_group.items():
            state = self._groups[group]
            star = any(key.source is None for key in keys)
            joined = [
                encode_source(key.source, FOR_RPT if key.rpt else SPARSE)
                for key in keys
                if key.source is not None and not (key.rpt and star)  # Join(*,G) says it already
            ]
            found += records(group, self._room, self._star(state) if star else ((), ()), joined)
        return self._messages(found)

    def _rpt_overrides(self, timers: Iterable[Key]) -> list[bytes]:
        return self._own([key for key in timers if key.rpt])

    # Other routers on the link

    def seen(self, message: JoinPrune, now: float, suppress: float, override: Callable[[], float]) -> None:
        """Another router's Join/Prune to our RPF' ("See Join", "See Prune" in sections 4.5.4 to 4.5.7).

        ``suppress`` is t_suppressed (0: no suppression) and ``override`` draws a t_override, in seconds.
        """
        hold = min(suppress, message.holdtime)
        for entry in message.groups:
            state = self._groups.get(entry.group)
            if state is None or not state.is_told() or entry.mask_len != 32:
                continue
            for source in entry.joined:
                self._see_join(entry.group, state, source, now + hold)
            for source in entry.pruned:
                self._see_prune(entry.group, state, source, now, override)

    def _see_join(self, group: IPv4Address, state: GroupState, source: SourceEntry, until: float) -> None:
        kind = source.flags & (WILDCARD | RPT)
        if kind == RPT:
            self._join_timers.cancel(Key(group, source.address, True))
        elif kind == WILDCARD | RPT and source.address == state.told_rp:
            self._later(Key(group, None), until)
        elif not kind and source.address in state.told_sources:
            self._later(Key(group, source.address), until)

    def _see_prune(
        self, group: IPv4Address, state: GroupState, source: SourceEntry, now: float, override: Callable[[], float]
    ) -> None:
        if source.flags & WILDCARD:
            keys = [Key(group, None)] if state.told_rp is not None else []
            keys += [Key(group, told) for told in state.told_sources]
        else:
            keys = [Key(group, source.address)] if source.address in state.told_sources else []
            if state.told_rp is not None and source.address not in state.told_excluded:
                keys.append(Key(group, source.address, True))
        for key in keys:
            self._sooner(key, now + override())

    def _holds(self, key: Key) -> bool:
        """Whether the machine of ``key`` is still in the state in which its timer was set."""
        state = self._groups.get(key.group)
        if state is None:
            return False
        if key.source is None or key.rpt:
            return state.told_rp is not None and key.source not in state.told_excluded
        return key.source in state.told_sources

    def _later(self, key: Key, deadline: float) -> None:
        current = self._join_timers.get(key) or self.refresh_at
        if deadline > current:
            self._join_timers.set(key, deadline)

    def _sooner(self, key: Key, deadline: float) -> None:
        current = self._join_timers.get(key) or (inf if key.rpt else self.refresh_at)
        if deadline < current and (not key.rpt or len(self._join_timers) < MAX_OWN_TIMERS):
            self._join_timers.set(key, deadline)

    # Questions

    def since(self, group: IPv4Address, source: IPv4Address | None) -> float | None:
        """Since when the entry's group is Joined; None if the entry is not."""
        state = self._groups.get(group)
        if state is None or (state.told_rp is None if source is None else source not in state.told_sources):
            return None
        return state.since

    def next_join(self, group: IPv4Address, source: IPv4Address | None) -> float:
        """When the entry's Join is sent again."""
        own = self._join_timers.get(Key(group, source))
        return min(self.refresh_at if own is None else own, self._repeats.get(group) or inf)


def _encoded(sources: Iterable[IPv4Address], flags: int) -> list[bytes]:
    """Sources in the order of their addresses, encoded."""
    return [encode_source(source, flags) for source in sorted(sources)] if sources else []
