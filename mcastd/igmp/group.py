"""The router's state of one group on one interface, and how records change it (RFC 9776, sections 6.2 to 6.6).

The state is INCLUDE (A), the sources with running timers; or EXCLUDE (X,Y), where X are the sources with running timers
and Y those without, which all hosts exclude. In section 6.4's tables, with GMI the Group Membership Interval:

    state          record      new state               actions
    INCLUDE (A)    IS_IN (B)   INCLUDE (A+B)           (B)=GMI
    INCLUDE (A)    IS_EX (B)   EXCLUDE (A*B,B-A)       (B-A)=0, Delete (A-B), Group Timer=GMI
    EXCLUDE (X,Y)  IS_IN (A)   EXCLUDE (X+A,Y-A)       (A)=GMI
    EXCLUDE (X,Y)  IS_EX (A)   EXCLUDE (A-Y,Y*A)       (A-X-Y)=GMI, Delete (X-A), Delete (Y-A), Group Timer=GMI
    INCLUDE (A)    ALLOW (B)   INCLUDE (A+B)           (B)=GMI
    INCLUDE (A)    BLOCK (B)   INCLUDE (A)             Send Q(G,A*B)
    INCLUDE (A)    TO_EX (B)   EXCLUDE (A*B,B-A)       (B-A)=0, Delete (A-B), Send Q(G,A*B), Group Timer=GMI
    INCLUDE (A)    TO_IN (B)   INCLUDE (A+B)           (B)=GMI, Send Q(G,A-B)
    EXCLUDE (X,Y)  ALLOW (A)   EXCLUDE (X+A,Y-A)       (A)=GMI
    EXCLUDE (X,Y)  BLOCK (A)   EXCLUDE (X+(A-Y),Y)     (A-X-Y)=Group Timer, Send Q(G,A-Y)
    EXCLUDE (X,Y)  TO_EX (A)   EXCLUDE (A-Y,Y*A)       (A-X-Y)=Group Timer, Delete (X-A), Delete (Y-A), Send Q(G,A-Y),
                                                       Group Timer=GMI
    EXCLUDE (X,Y)  TO_IN (A)   EXCLUDE (X+A,Y-A)       (A)=GMI, Send Q(G,X-A), Send Q(G)
"""

from collections.abc import Iterator
from ipaddress import IPv4Address
from math import inf
from typing import Final, NamedTuple

import msgspec

from mcastd.igmp.members import Hosts, Members
from mcastd.igmp.settings import Timing
from mcastd.membership import ANY_SOURCE, NOTHING, DesiredGroup
from mcastd.net.igmp import Query, RecordType

MAX_SOURCES: Final = 128
"""Sources of a group that are kept; with all of them a query fits into any MTU."""

_Sources = frozenset[IPv4Address]
_NONE: Final[_Sources] = frozenset()
_EXCLUDE: Final = (RecordType.IS_EX, RecordType.TO_EX)


class Outcome(NamedTuple):
    """What follows from a record: whether to query for the group, and for which sources.

    ``is_cut`` is that some of its sources were left out.
    """

    for_group: bool = False
    sources: _Sources = _NONE
    is_cut: bool = False


_NO_QUERIES: Final = Outcome()


class _Asked(msgspec.Struct):
    """The retransmission state of a query: how often it is sent yet, when next, and when an answer is no longer due."""

    left: int
    at: float
    until: float


class Group:
    """One group. ``due`` is when ``advance`` is to be called for it at the latest."""

    __slots__ = ("_asked", "_sources", "_timer", "_v1_until", "_v2_until", "address", "due", "members", "reported")

    def __init__(self, address: IPv4Address, hosts: Hosts) -> None:
        self.address = address
        self.members = Members(hosts, address)
        self.due = inf  # the time of its entry among the querier's deadlines
        self.reported = NOTHING  # what is desired of it, as passed on last
        self._timer = 0.0  # the Group Timer: the mode is EXCLUDE until then
        self._sources: dict[IPv4Address, float] = {}  # the Source Timers; of sources in Y they have run out
        self._v1_until = self._v2_until = 0.0  # the Older Host Present timers
        self._asked: dict[IPv4Address | None, _Asked] = {}  # queries for sources, and (None) for the group

    # State

    @property
    def is_exclude(self) -> bool:
        """Whether the Router Filter Mode is EXCLUDE."""
        return self._timer > 0.0

    @property
    def is_empty(self) -> bool:
        """Whether there is no state left."""
        return not (self._timer or self._sources)

    def mode(self, now: float) -> int:
        """The Group Compatibility Mode (section 7.3.2): 1, 2 or 3."""
        return 1 if self._v1_until > now else 2 if self._v2_until > now else 3

    def older_host(self, version: int, until: float) -> None:
        """A host reported with version 1 or 2; hosts that heard it keep quiet."""
        if version == 1:
            self._v1_until = until
        else:
            self._v2_until = until
        self.members.untracked_until = max(self.members.untracked_until, until)

    def desired(self, now: float) -> DesiredGroup:
        """What is to be forwarded (section 6.3)."""
        if not self._sources:
            return ANY_SOURCE if self._timer > now else NOTHING
        running = frozenset(source for source, until in self._sources.items() if until > now)
        if self._timer > now:
            return DesiredGroup(any_source=True, excluded=frozenset(self._sources) - running)
        return DesiredGroup(sources=running)

    def next_deadline(self) -> float:
        """When a timer or the time of a member ends, or a query is to be sent."""
        times = [self.members.due, *(until for until in self._sources.values() if until > 0.0)]
        if self._timer:
            times.append(self._timer)
        return min([*times, *(asked.at if asked.left else asked.until for asked in self._asked.values())])

    # Records

    def receive(self, kind: RecordType, listed: _Sources, now: float, gmi: float, version: int = 3) -> Outcome:
        """A record. ``gmi`` is in seconds, ``version`` is the one that the interface is limited to."""
        self.expire(now)
        mode, until, known = min(version, self.mode(now)), now + gmi, self._sources
        if (mode < 3 and kind is RecordType.BLOCK) or (mode == 1 and kind is RecordType.TO_IN):
            return _NO_QUERIES  # section 7.3.2
        if mode < 3 and kind is RecordType.TO_EX:
            listed = _NONE
        running = frozenset(source for source, end in known.items() if end > now) if known else _NONE
        blocked = listed & known.keys() - running  # Y*A
        if kind in _EXCLUDE:
            fitting = self._fitting(listed, 0)
            fresh = 0.0 if not self._timer else self._timer if kind is RecordType.TO_EX else until
            asked = listed & running if not self._timer else fitting - blocked
            self._sources = {source: known.get(source, fresh) for source in fitting}
            self._timer = until
            return Outcome(False, asked if kind is RecordType.TO_EX else _NONE, fitting != listed)
        if kind is RecordType.BLOCK and not self._timer:
            return Outcome(False, listed & running)
        fitting = self._fitting(listed, len(known.keys() - listed))
        if kind is RecordType.BLOCK:
            for source in fitting:
                known.setdefault(source, self._timer)
            return Outcome(False, fitting - blocked, fitting != listed)
        known |= dict.fromkeys(fitting, until)
        is_leave = kind is RecordType.TO_IN
        return Outcome(is_leave and bool(self._timer), running - listed if is_leave else _NONE, fitting != listed)

    def track(
        self, host: IPv4Address, version: int, kind: RecordType, listed: _Sources, now: float, timing: Timing
    ) -> bool:
        """Note whose record was received; returns whether there was room."""
        if version < 3 and kind is RecordType.TO_IN:  # hosts that heard its reports kept quiet, and are asked now
            self.members.leave(host, now + timing.last_member_query_time)
            return True
        gmi = timing.group_membership_interval
        return self.members.report(host, version, kind, listed, self._sources.keys(), now, gmi)

    def _fitting(self, listed: _Sources, others: int) -> _Sources:
        """Of the sources those for which there is room beside others: ones that are known, then the lowest."""
        room = MAX_SOURCES - others
        if len(listed) <= room:
            return listed
        known = listed & self._sources.keys()
        return known | frozenset(sorted(listed - known)[: max(0, room - len(known))])

    def expire(self, now: float) -> None:
        """Timers have run out (sections 6.2.3 and 6.5)."""
        if self._timer > now:
            for source, until in self._sources.items():
                if 0.0 < until <= now:
                    self._sources[source] = 0.0
        elif self._timer or any(until <= now for until in self._sources.values()):
            self._timer = 0.0
            self._sources = {source: until for source, until in self._sources.items() if until > now}
        if self._asked:
            self._asked = {of: asked for of, asked in self._asked.items() if self._is_asked(of, asked, now)}

    def _is_asked(self, of: IPv4Address | None, asked: _Asked, now: float) -> bool:
        return (asked.left > 0 or asked.until > now) and (of in self._sources if of is not None else self._timer > 0)

    # Queries

    def ask(self, for_group: bool, sources: _Sources, now: float, timing: Timing) -> None:
        """Send Q(G) and Q(G,X) of the tables: lower the timers, and send each ``robustness`` times (section 6.6.3).

        What is being asked already is not asked again before an answer has come, or could have.
        """
        limit = now + timing.last_member_query_time
        pending = self._asked.get(None)
        if for_group and self._timer > (pending.until if pending is not None else 0.0):
            self._timer = min(self._timer, limit)
            self._asked[None] = _Asked(timing.robustness, now, limit)
        for source in sources:
            if self._sources.get(source, 0.0) > limit:
                self._sources[source] = limit
                self._asked[source] = _Asked(timing.robustness, now, limit)

    def queried(self, sources: tuple[IPv4Address, ...], limit: float) -> None:
        """Another router sent a query for the group, or for sources of it, that does not suppress this (6.6.1)."""
        if not sources and self._timer:
            self._timer = min(self._timer, limit)
        for source in sources:
            if source in self._sources:
                self._sources[source] = min(self._sources[source], limit)

    def queries(self, now: float, timing: Timing) -> Iterator[Query]:
        """The queries that are due, by version 3 (sections 6.6.3.1 and 6.6.3.2)."""
        due = [(of, asked) for of, asked in self._asked.items() if asked.left and asked.at <= now]
        for _, asked in due:
            asked.left -= 1
            asked.at = now + timing.last_member_query_interval
        sources = sorted(of for of, _ in due if of is not None)
        limit, response = now + timing.last_member_query_time, timing.last_member_query_interval
        values = (timing.robustness, timing.query_interval)
        for_group = len(sources) < len(due)
        if for_group:
            yield Query(3, response, self.address, (), self._timer > limit, *values)
        for suppress in (True, False):
            chosen = tuple(source for source in sources if (self._sources[source] > limit) is suppress)
            if chosen and not (suppress and for_group):
                yield Query(3, response, self.address, chosen, suppress, *values)

    # Fast leave

    def follow_members(self, now: float) -> None:
        """Keep only what a tracked member desires; there are no others."""
        members = [member for _, member in self.members.of(now)]
        desired = frozenset[IPv4Address]().union(*(member.sources for member in members if not member.is_exclude))
        excluding = [member.sources for member in members if member.is_exclude]
        if not excluding:
            self._timer = 0.0
            self._sources = {of: until for of, until in self._sources.items() if until > now and of in desired}
        elif blocked := frozenset.intersection(*excluding) - desired:
            self._sources |= dict.fromkeys(blocked & self._sources.keys(), 0.0)
        self.expire(now)
