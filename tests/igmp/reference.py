"""Hosts of IGMPv3, v2 and v1 and a querier, written from RFC 9776 (sections 5, 6.6.2 and 7.2), RFC 2236 and RFC 1112.

They judge mcastd's machine, so they share nothing with it: no import of mcastd, and a codec of their own. They are slow
and plain on purpose. ``outbox`` collects (destination, payload).
"""

import random
import struct
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from math import inf

ALL_SYSTEMS, ALL_ROUTERS, V3_ROUTERS = (IPv4Address(f"224.0.0.{n}") for n in (1, 2, 22))
NOTHING = (False, frozenset[IPv4Address]())
State = tuple[bool, frozenset[IPv4Address]]
"""Whether the filter mode is EXCLUDE, and the source list."""

MODE_IS_INCLUDE, MODE_IS_EXCLUDE, TO_INCLUDE, TO_EXCLUDE, ALLOW, BLOCK = range(1, 7)


def rfc1071(data: bytes) -> int:
    """The Internet checksum, word by word."""
    if len(data) % 2:
        data += b"\0"
    total = sum(data[at] << 8 | data[at + 1] for at in range(0, len(data), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def sealed(data: bytes) -> bytes:
    return data[:2] + struct.pack("!H", rfc1071(data)) + data[4:]


def floating(code: int) -> int:
    return code if code < 128 else ((code & 15) + 16) * 2 ** ((code >> 4 & 7) + 3)


@dataclass
class ParsedQuery:
    """A query as read from the wire; times in seconds."""

    version: int
    response: float
    group: IPv4Address
    suppress: bool = False
    robustness: int = 0
    interval: int = 0
    sources: list[IPv4Address] = field(default_factory=list)


def read_query(data: bytes) -> ParsedQuery:
    assert rfc1071(data) == 0, "wrong checksum"
    group = IPv4Address(data[4:8])
    if len(data) == 8:
        return ParsedQuery(2, data[1] / 10, group) if data[1] else ParsedQuery(1, 10.0, group)
    count = int.from_bytes(data[10:12])
    assert len(data) == 12 + 4 * count, "bytes behind the sources"
    sources = [IPv4Address(data[at : at + 4]) for at in range(12, len(data), 4)]
    return ParsedQuery(3, floating(data[1]) / 10, group, bool(data[8] & 8), data[8] & 7, floating(data[9]), sources)


class Host:
    """A host of IGMPv3 that falls back to the version of older queriers, or one that knows an older version alone."""

    def __init__(self, address: IPv4Address, seed: int, version: int = 3, robustness: int = 2) -> None:
        self.address = address
        self.version = version
        self.robustness = robustness
        self.random = random.Random(seed)
        self.outbox: list[tuple[IPv4Address, bytes]] = []
        self.state: dict[IPv4Address, State] = {}
        self.older_until = {1: -inf, 2: -inf}  # the Older Version Querier Present timers
        # What is to be sent again: of a group, how often its mode, and each of its sources; and when next.
        self._modes: dict[IPv4Address, int] = {}
        self._sources: dict[IPv4Address, dict[IPv4Address, int]] = {}
        self._again: dict[IPv4Address, float] = {}
        self._interface_at = inf  # the answer to a general query
        self._answers: dict[IPv4Address, tuple[float, set[IPv4Address] | None]] = {}  # those to others
        self._is_last: set[IPv4Address] = set()  # of versions 1 and 2: the groups that we reported last

    def mode(self, now: float) -> int:
        """The Host Compatibility Mode."""
        return min([self.version, *(version for version, until in self.older_until.items() if until > now)])

    def wanted(self, group: IPv4Address, source: IPv4Address) -> bool:
        exclude, sources = self.state.get(group, NOTHING)
        return (source in sources) is not exclude

    # The application

    def change(self, group: IPv4Address, exclude: bool, sources: frozenset[IPv4Address], now: float) -> None:
        """The interface state of a group becomes this (section 5.1)."""
        before, after = self.state.get(group, NOTHING), (exclude, sources)
        if before == after:
            return
        if after == NOTHING:
            self.state.pop(group)
        else:
            self.state[group] = after
        if self.mode(now) < 3:
            self._set_older(group, before, after, now)
        elif before[0] is not exclude:
            self._modes[group] = self.robustness
            self._sources.pop(group, None)
            self._report_change(group, now)
        else:
            again = self._sources.setdefault(group, {})
            again.update(dict.fromkeys(before[1] ^ sources, self.robustness))
            self._report_change(group, now)

    def join(self, group: IPv4Address, now: float) -> None:
        self.change(group, True, frozenset(), now)

    def leave(self, group: IPv4Address, now: float) -> None:
        self.change(group, *NOTHING, now)

    def _set_older(self, group: IPv4Address, before: State, after: State, now: float) -> None:
        if after == NOTHING:
            self._answers.pop(group, None)
            self._again.pop(group, None)
            if self.mode(now) == 2 and group in self._is_last:
                self._send(ALL_ROUTERS, sealed(struct.pack("!BBH", 0x17, 0, 0) + group.packed))
            self._is_last.discard(group)
        elif before == NOTHING:
            self._report_older(group, now)
            self._again[group] = now + self.random.uniform(0, 10.0)

    # Messages

    def receive(self, source: IPv4Address, data: bytes, now: float) -> None:
        self.advance(now)
        if data[0] == 0x11:
            self._query(read_query(data), now)
        elif data[0] in (0x12, 0x16) and self.mode(now) < 3:
            group = IPv4Address(data[4:8])
            self._answers.pop(group, None)  # suppressed
            self._is_last.discard(group)

    def _query(self, query: ParsedQuery, now: float) -> None:
        general = query.group == IPv4Address(0) or query.version == 1
        if query.version < self.version and general:
            before = self.mode(now)
            self.older_until[query.version] = now + 2 * 125 + 10 * query.response
            if self.mode(now) != before:
                self._modes.clear()
                self._sources.clear()
                self._again.clear()
                self._answers.clear()
                self._interface_at = inf
        if self.mode(now) < 3:
            for group in self.state if general else {query.group} & self.state.keys():
                at = now + self.random.uniform(0, query.response)
                if group not in self._answers or self._answers[group][0] > at:
                    self._answers[group] = (at, None)
            return
        at = now + self.random.uniform(0, query.response)
        if self._interface_at <= at or not self.state:
            return
        if general:
            self._interface_at = at
        elif query.group not in self._answers:
            self._answers[query.group] = (at, set(query.sources) or None)
        else:
            pending, asked = self._answers[query.group]
            both = asked | set(query.sources) if asked and query.sources else None
            self._answers[query.group] = (min(pending, at), both)

    # Time

    def next_deadline(self) -> float:
        return min([self._interface_at, *self._again.values(), *(at for at, _ in self._answers.values())], default=inf)

    def advance(self, now: float) -> None:
        for group in [group for group, at in self._again.items() if at <= now]:
            del self._again[group]
            if self.mode(now) < 3:
                self._report_older(group, now)
            else:
                self._report_change(group, now)
        if self._interface_at <= now:
            self._interface_at = inf
            if self.state:
                self._send_records([self._current(group, state) for group, state in self.state.items()])
        for group in [group for group, (at, _) in self._answers.items() if at <= now]:
            _, asked = self._answers.pop(group)
            if group not in self.state:
                continue
            exclude, sources = self.state[group]
            if self.mode(now) < 3:
                self._report_older(group, now)
            elif asked is None:
                self._send_records([self._current(group, self.state[group])])
            elif found := (asked - sources if exclude else asked & sources):
                self._send_records([(MODE_IS_INCLUDE, group, found)])

    def _report_change(self, group: IPv4Address, now: float) -> None:
        exclude, sources = self.state.get(group, NOTHING)
        again = self._sources.get(group, {})
        if group in self._modes:
            self._send_records([(TO_EXCLUDE if exclude else TO_INCLUDE, group, set(sources))])
            self._modes[group] -= 1
            if not self._modes[group]:
                del self._modes[group]
        else:
            forwarded = {source for source in again if (source in sources) is not exclude}
            blocked = again.keys() - forwarded
            self._send_records(
                [(kind, group, found) for kind, found in ((ALLOW, forwarded), (BLOCK, blocked)) if found]
            )
        for source in list(again):
            again[source] -= 1
            if not again[source]:
                del again[source]
        if group in self._modes or again:
            self._again[group] = now + self.random.uniform(0, 1.0)

    def _current(self, group: IPv4Address, state: State) -> tuple[int, IPv4Address, set[IPv4Address]]:
        return MODE_IS_EXCLUDE if state[0] else MODE_IS_INCLUDE, group, set(state[1])

    def _report_older(self, group: IPv4Address, now: float) -> None:
        if group in self.state:
            kind = 0x16 if self.mode(now) == 2 else 0x12
            self._send(group, sealed(struct.pack("!BBH", kind, 0, 0) + group.packed))
            self._is_last.add(group)

    def _send_records(self, records: list[tuple[int, IPv4Address, set[IPv4Address]]]) -> None:
        body = b"".join(
            struct.pack("!BBH", kind, 0, len(sources)) + group.packed + b"".join(one.packed for one in sources)
            for kind, group, sources in records
        )
        if records:
            self._send(V3_ROUTERS, sealed(struct.pack("!BBHHH", 0x22, 0, 0, 0, len(records)) + body))

    def _send(self, destination: IPv4Address, data: bytes) -> None:
        self.outbox.append((destination, data))


class OtherRouter:
    """A querier that takes part in the election (section 6.6.2); it keeps no groups, and sends no specific queries."""

    def __init__(self, address: IPv4Address, version: int, robustness: int, interval: int, response: float) -> None:
        self.address = address
        self.version, self.robustness, self.interval, self.response = version, robustness, interval, response
        self.outbox: list[tuple[IPv4Address, bytes]] = []
        self.is_querier = False
        self.query_at = self.present_until = inf
        self._startup = 0

    def start(self, now: float) -> None:
        self.is_querier, self.query_at, self._startup = True, now, self.robustness
        self.advance(now)

    def stop(self) -> None:
        self.is_querier, self.query_at, self.present_until = False, inf, inf

    def receive(self, source: IPv4Address, data: bytes, now: float) -> None:
        self.advance(now)
        if data[0] != 0x11 or (query := read_query(data)).group != IPv4Address(0) or source >= self.address:
            return
        if self.query_at == self.present_until == inf:
            return  # stopped
        self.is_querier, self.query_at = False, inf
        robustness, interval = query.robustness or self.robustness, query.interval or self.interval
        self.present_until = now + robustness * interval + query.response / 2

    def next_deadline(self) -> float:
        return min(self.query_at, self.present_until)

    def advance(self, now: float) -> None:
        if self.present_until <= now:
            self.is_querier, self.present_until, self.query_at = True, inf, now
        if self.query_at <= now:
            self.outbox.append((ALL_SYSTEMS, self._query()))
            self._startup = max(0, self._startup - 1)
            self.query_at = now + (self.interval / 4 if self._startup else self.interval)

    def _query(self) -> bytes:
        code = round(self.response * 10) if self.version > 1 else 0
        assert code < 128
        assert self.interval < 128
        tail = struct.pack("!BBH", self.robustness, self.interval, 0) if self.version == 3 else b""
        return sealed(struct.pack("!BBH", 0x11, code, 0) + bytes(4) + tail)
