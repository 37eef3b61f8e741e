"""IGMP on one interface, the router's side: election, queries, and the groups that hosts report (RFC 9776, section 6).

Who queries, and forwards: ``mcastd.igmp.role``.
"""

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Address
from math import inf
from typing import Final

from msgspec.structs import replace

from mcastd.config.model import SSM_RANGE
from mcastd.config.value_types import LINK_LOCAL_GROUPS
from mcastd.igmp.effects import Effect, GroupChanged, LimitReached, OlderQuerier, QuerierChanged, SendQuery
from mcastd.igmp.group import Group
from mcastd.igmp.members import Hosts, Member
from mcastd.igmp.role import FORWARDING, OtherQuerier, Role
from mcastd.igmp.settings import RESPONSE_GRACE, Election, IgmpInterface, Timing
from mcastd.membership import NOTHING, DesiredGroup
from mcastd.net.igmp import (
    ALL_SYSTEMS,
    UNSPECIFIED,
    Leave,
    Message,
    Query,
    Record,
    RecordType,
    Report,
    V3Report,
    encode_query,
)

MAX_QUERIERS: Final = 16
"""Other queriers that are kept for status."""
SOURCES: Final = 4
"""Sources that one host may list, for each of the groups that it may join: as many for one, none for another."""
SLICE: Final = 100
"""Groups whose timers are looked at by one ``advance``; a call takes some milliseconds at most."""
_ANSWER_INTERVAL: Final = 1.0  # seconds between queries that answer those of a router with a higher address
_COMPACT: Final = 1000  # deadlines that may be superseded before they are removed
_JOINS: Final = (RecordType.IS_EX, RecordType.TO_EX)
_LINK_LOCAL: Final = int(LINK_LOCAL_GROUPS.network_address) >> 8
_SSM: Final = int(SSM_RANGE.network_address) >> 24


class Querier:
    """The machine of one interface. Every input takes ``now`` (seconds, monotonic) and returns effects in order."""

    def __init__(self, settings: IgmpInterface, now: float, *, allowed: bool = True) -> None:
        self.settings = settings
        self.role = Role.WAITING
        self.other: IPv4Address | None = None  # the querier, while it is another router
        self.others: dict[IPv4Address, OtherQuerier] = {}  # all whose queries were received
        self.groups: dict[IPv4Address, Group] = {}
        self.hosts = Hosts()
        self.received: Counter[str] = Counter()  # messages by type
        self.sent: Counter[str] = Counter()  # queries by type
        self.dropped: Counter[str] = Counter()  # messages and records by reason
        self.complete_at = now + settings.timing.group_membership_interval  # when every host has had time to report
        self.is_complete = False  # whether that has passed
        self._allowed = allowed  # whether we may take over from another querier
        self._gives_way = False  # whether another router is to take over
        self._adopted: Timing | None = None  # the values of the other querier
        self._other_until = now + self.timing.other_querier_present_interval  # when it is gone, or never was
        self._query_at = inf  # when the next general query is sent
        self._startup = 0  # queries at the startup interval that are left
        self._sent_at = -inf  # when the last general query was sent
        self._older_until = {1: -inf, 2: -inf}  # until when queries of an older version count (section 6.6.2)
        self._full: dict[str, float] = {}  # limits that hosts go beyond, each until when that is taken to be so
        self._limited: set[tuple[str, IPv4Address]] = set()  # the limits and hosts that were reported
        self._due: list[tuple[float, int, Group]] = []  # a heap of deadlines; one that is not its group's counts not
        self._count = 0  # keeps entries of the same time in order
        self._effects: list[Effect] = []
        self._begin(now)

    # Values

    @property
    def timing(self) -> Timing:
        """The values in effect: those of the elected querier (sections 4.1.6 and 4.1.7)."""
        return self._adopted or self.settings.timing

    @property
    def is_querier(self) -> bool:
        """Whether no other router is the querier: then we forward."""
        return self.other is None

    @property
    def full(self) -> Collection[str]:
        """The limits that hosts go beyond, as they have said within the last query interval."""
        return self._full.keys()

    @property
    def election(self) -> Election:
        """How the election stands."""
        is_contending = self.other is not None and not self._allowed and self.settings.address < self.other
        return Election(self.is_querier, self.is_complete, is_contending)

    def heard(self, now: float) -> IPv4Address | None:
        """The router that queried last, if it is there still."""
        last = max(self.others, key=self._heard, default=None)
        is_there = last is not None and self._heard(last) + self.timing.other_querier_present_interval > now
        return last if is_there else None

    def version(self, now: float) -> int:
        """The version of our queries: the oldest of the routers on the link, if ours is not older (section 6.6.2)."""
        return min([self.settings.version, *(version for version, until in self._older_until.items() if until > now)])

    def members(self, group: IPv4Address, now: float) -> Iterator[tuple[IPv4Address, Member]]:
        """The hosts that are known to receive a group."""
        found = self.groups.get(group)
        return found.members.of(now) if found is not None else iter(())

    def desired(self, group: IPv4Address) -> DesiredGroup:
        """What is desired of a group, as passed on last."""
        found = self.groups.get(group)
        return found.reported if found is not None else NOTHING

    # Configuration

    def configure(self, settings: IgmpInterface, now: float) -> list[Effect]:
        """Apply other values, in place."""
        before, self.settings = self.settings, settings
        if before.querier != settings.querier:
            self._begin(now)
        elif self.role is Role.QUERIER and before != settings:
            self._query_at = now  # hosts and other routers are to know the new values
        elif self.role is Role.NON_QUERIER and self._allowed:
            self._contend(now)
        return self._collect()

    def allow_queries(self, now: float) -> list[Effect]:
        """What we forward arrives: we may take over from another querier from now on."""
        if not self._allowed:
            self._allowed = True
            if self.role not in FORWARDING:
                self._contend(now)
        return self._collect()

    def give_way(self, now: float, *, gives_way: bool) -> None:
        """While we can forward nothing, another router that there may be is to take over."""
        self._allowed &= not gives_way
        if gives_way and not self._gives_way:
            self._query_at = max(self._query_at, self._sent_at + self.timing.rare_query_interval)
        elif self._gives_way and not gives_way:
            self.ask_again(now)
        self._gives_way = gives_way

    def ask_again(self, now: float) -> None:
        """Reports may have been missed: a querier asks at once."""
        if self.role is Role.QUERIER:
            self._query_at = now

    def stop(self) -> list[Effect]:
        """The interface is gone: so are all groups."""
        effects: list[Effect] = [GroupChanged(group, NOTHING) for group in self.groups]
        self.groups.clear()
        self._due.clear()
        return effects

    # Time

    def next_deadline(self) -> float:
        """When ``advance`` is to be called next."""
        waits = self._other_until if self.role not in FORWARDING else inf
        complete = inf if self.is_complete else self.complete_at
        return min(self._query_at, waits, complete, *self._full.values(), self._due[0][0] if self._due else inf)

    def advance(self, now: float) -> list[Effect]:
        """Do what is due, of at most SLICE groups: while ``next_deadline`` is not later than ``now``, there is more."""
        self.is_complete |= self.complete_at <= now
        self._full = {limit: until for limit, until in self._full.items() if until > now}
        if self.role not in FORWARDING and self._other_until <= now:
            self._take_over(now, startup=self.role is Role.WAITING)
        if self._query_at <= now:
            self._general_query(now)
        for _ in range(SLICE):
            if not self._due or self._due[0][0] > now:
                break
            when, _, group = heapq.heappop(self._due)
            if when == group.due and self.groups.get(group.address) is group:
                group.due = inf
                group.members.expire(now)
                self._settle(group, now)
        return self._collect()

    def _begin(self, now: float) -> None:
        if not self.settings.querier:
            if self.other is not None:
                self._effects.append(QuerierChanged(None))
            self.role, self.other, self._adopted, self._query_at = Role.LISTENER, None, None, inf
        elif self._allowed:
            self._take_over(now)
        else:
            self.role = Role.WAITING
            self._other_until = now + self.timing.other_querier_present_interval

    def _contend(self, now: float) -> None:
        if self.other is None or self.settings.address < self.other:
            self._take_over(now)

    def _take_over(self, now: float, *, startup: bool = True) -> None:
        if self.other is not None:
            self._effects.append(QuerierChanged(None))
        self.role, self.other, self._adopted, self._query_at = Role.QUERIER, None, None, now
        self._startup = self.timing.robustness if startup else 0
        if startup:
            asked_until = now + (self.timing.robustness - 1) * self.timing.startup_query_interval
            answered_at = asked_until + self.timing.query_response_interval + RESPONSE_GRACE
            self.complete_at = min(self.complete_at, answered_at)

    def _general_query(self, now: float) -> None:
        timing = self.timing
        values = (timing.robustness, timing.query_interval)
        self._send(Query(3, timing.query_response_interval, None, (), False, *values), now)
        self._startup = max(0, self._startup - 1)
        self._sent_at = now
        often = timing.startup_query_interval if self._startup else timing.query_interval
        self._query_at = now + (timing.rare_query_interval if self._gives_way else often)

    def _send(self, query: Query, now: float) -> None:
        version = self.version(now)
        if version < 3:
            if query.suppress or (version == 1 and query.group is not None):
                return  # what cannot be said in that version; without the S flag other routers would lower timers
            query = replace(query, version=version, sources=())
        kind = "general_query" if query.group is None else "source_query" if query.sources else "group_query"
        self.sent[kind] += 1
        self._effects.append(SendQuery(query.group or ALL_SYSTEMS, encode_query(query)))

    # Messages

    def receive(self, source: IPv4Address, message: Message, now: float) -> list[Effect]:
        """A message arrived from ``source``."""
        if isinstance(message, Query):
            self._query_received(source, message, now)
            return self._collect()
        version, records = _records(message)
        self.received[f"v{version}_leave" if isinstance(message, Leave) else f"v{version}_report"] += 1
        touched: dict[Group, None] = {}
        for record in records:
            group = self._record(source, version, record, now)
            if group is not None:
                touched[group] = None
        for group in touched:
            self._settle(group, now)
        return self._collect()

    def _query_received(self, source: IPv4Address, query: Query, now: float) -> None:
        if source == self.settings.address:
            return  # our own, looped back for the hosts on this machine
        self.received[f"v{query.version}_query"] += 1
        if query.group is None:
            self._general_received(source, query, now)
        elif query.version > 1 and not query.suppress and (group := self.groups.get(query.group)) is not None:
            interval = max(query.max_response, self.timing.last_member_query_interval)
            limits = replace(self.timing, last_member_query_interval=interval)
            group.queried(query.sources, now + limits.last_member_query_time)
            self._settle(group, now)

    def _general_received(self, source: IPv4Address, query: Query, now: float) -> None:
        if query.version < self.settings.version and (
            source not in self.others or self.others[source].version != query.version
        ):
            self._effects.append(OlderQuerier(source, query.version))
        if source in self.others or len(self.others) < MAX_QUERIERS:
            self.others[source] = OtherQuerier(query.version, now)
        if self.role is Role.LISTENER:
            return
        if source == UNSPECIFIED:
            self.dropped["query_without_source"] += 1
            return
        if query.version < self.settings.version:
            self._older_until[query.version] = now + self.timing.older_host_present_interval
        if self._allowed and source > self.settings.address:
            if self.role is Role.QUERIER and now >= self._sent_at + _ANSWER_INTERVAL:
                self._query_at = now
            return
        silent = self.other is None or self._heard(self.other) + self.timing.other_querier_present_interval <= now
        if silent or self.other is None or source <= self.other:
            if source != self.other:
                self._effects.append(QuerierChanged(source))
            self.role, self.other, self._query_at = Role.NON_QUERIER, source, inf
            self._adopted = self._values_of(query)
        self._other_until = now + self.timing.other_querier_present_interval

    def _heard(self, querier: IPv4Address) -> float:
        return self.others[querier].heard_at if querier in self.others else -inf

    def _values_of(self, query: Query) -> Timing:
        """The querier's values where it states them, else ours; bounded, since any host can send a query."""
        own = self.settings.timing
        return Timing(
            query.robustness or own.robustness,
            query.interval or own.query_interval,
            query.max_response or own.query_response_interval,
            own.last_member_query_interval,
        ).bounded(own)

    def _record(self, host: IPv4Address, version: int, record: Record, now: float) -> Group | None:
        """The group that a record has changed, or refreshed."""
        address, kind, number = record.group, record.kind, int(record.group)
        if number >> 8 == _LINK_LOCAL:
            return None
        if number >> 24 == _SSM and (version < 3 or kind in _JOINS):
            self.dropped["any_source_in_ssm_range"] += 1  # section 6.4
            return None
        timing, group = self.timing, self.groups.get(address)
        is_join = kind in _JOINS or (bool(record.sources) and kind is not RecordType.BLOCK)
        if group is None and not is_join:
            return None
        if is_join and (group is None or host not in group.members):
            if self.hosts.groups_of(host) >= self.settings.max_groups_per_host:
                self._refuse("too_many_groups_of_host", host, now)
                return None
            if group is None and len(self.groups) >= self.settings.max_groups:
                self._refuse("too_many_groups", host, now)
                return None
        listed = frozenset(record.sources)
        if is_join and listed:
            more = len(listed - group.members.sources_of(host)) if group is not None else len(listed)
            if self.hosts.sources_of(host) + more > SOURCES * self.settings.max_groups_per_host:
                self._refuse("too_many_sources_of_host", host, now)
                return None
        if group is None:
            group = self.groups[address] = Group(address, self.hosts)
        interval = timing.group_membership_interval
        if version < 3 and is_join:
            group.older_host(version, now + timing.older_host_present_interval)
        if host == UNSPECIFIED:  # any number of hosts
            group.members.untracked_until = max(group.members.untracked_until, now + interval)
        outcome = group.receive(kind, listed, now, interval, self.version(now))
        if not group.track(host, version, kind, listed, now, timing):
            self._refuse("too_many_hosts", host, now)
        if outcome.is_cut:
            self._refuse("too_many_sources", host, now)
        if outcome.for_group or outcome.sources:
            if self._is_tracked(group, now):
                group.follow_members(now)
            elif self.role is Role.QUERIER:
                group.ask(outcome.for_group, outcome.sources, now, timing)
        return group

    def _is_tracked(self, group: Group, now: float) -> bool:
        """Whether the group's members are known so well that one which leaves may be the last one."""
        return self.settings.fast_leave and self.is_complete and group.members.untracked_until <= now

    def _refuse(self, limit: str, host: IPv4Address, now: float) -> None:
        self.dropped[limit] += 1
        self._full[limit] = now + self.timing.query_interval + self.timing.query_response_interval
        if (limit, host) not in self._limited and len(self._limited) < MAX_QUERIERS:
            self._limited.add((limit, host))
            self._effects.append(LimitReached(limit, host))

    # Groups

    def _settle(self, group: Group, now: float) -> None:
        """Send what is due of a group, pass on what has changed, and note when it is to be looked at again."""
        group.expire(now)
        for query in group.queries(now, self.timing):
            self._send(query, now)
        desired = group.desired(now)
        if desired != group.reported:
            group.reported = desired
            self._effects.append(GroupChanged(group.address, desired))
        if group.is_empty:
            group.members.clear()
            del self.groups[group.address]
            return
        deadline = group.next_deadline()
        if deadline < group.due:
            group.due = deadline
            self._count += 1
            heapq.heappush(self._due, (deadline, self._count, group))
            if len(self._due) > 2 * len(self.groups) + _COMPACT:
                self._compact()

    def _compact(self) -> None:
        kept = {group: (when, count, group) for when, count, group in self._due
                if when == group.due and self.groups.get(group.address) is group}  # fmt: skip
        self._due = sorted(kept.values())

    def _collect(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects


def _records(message: Report | Leave | V3Report) -> tuple[int, Iterable[Record]]:
    """The version of a report or leave, and what it means as records (section 7.3.2)."""
    match message:
        case V3Report(records):
            return 3, records
        case Report(version, group):
            return version, (Record(RecordType.IS_EX, group),)
        case Leave(group):
            return 2, (Record(RecordType.TO_IN, group),)
