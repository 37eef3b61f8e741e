"""An upstream PIM router for one link, written from RFC 7761's downstream state tables (sections 4.5.1 to 4.5.3).

It is the judge of mcastd's machine, so it shares nothing with it: no import of mcastd, and a codec of its own. It is
slow and plain on purpose. State is kept for the link, as in the RFC, whoever of its neighbours sent the Join.
"""

import random
import struct
from dataclasses import dataclass, field
from ipaddress import IPv4Address

ALL_ROUTERS = IPv4Address("224.0.0.13")
HELLO_PERIOD = 30.0
HELLO_HOLDTIME = 105
TRIGGERED_HELLO_DELAY = 5.0
OVERRIDE_INTERVAL = 3.0  # J/P_Override_Interval with the default delays
ASSERT_TIME, ASSERT_OVERRIDE_INTERVAL = 180.0, 3.0
INFINITE = 0x7FFFFFFF, 0xFFFFFFFF

NO_INFO, JOIN, PRUNE_PENDING = "NoInfo", "Join", "PrunePending"
PRUNE, PRUNE_TMP, PENDING_TMP = "Prune", "PruneTmp", "PrunePendingTmp"

Star = IPv4Address
Pair = tuple[IPv4Address, IPv4Address]
Entry = tuple[IPv4Address, IPv4Address | None]


@dataclass
class Downstream:
    """One downstream machine: its state, Expiry Timer and PrunePending Timer."""

    state: str = NO_INFO
    expires: float = 0.0
    pending_until: float = 0.0
    rp: IPv4Address | None = None


@dataclass
class ParsedSet:
    """One group of a Join/Prune as read from the wire: (address, flags) of each source."""

    group: IPv4Address
    joins: list[tuple[IPv4Address, int]] = field(default_factory=list)
    prunes: list[tuple[IPv4Address, int]] = field(default_factory=list)


@dataclass
class Asserting:
    """One Assert machine that is not in NoInfo: who won with which metric, and its Assert Timer."""

    winner: IPv4Address
    metric: tuple[int, int]
    until: float


def rfc1071(data: bytes) -> int:
    """The Internet checksum, word by word."""
    if len(data) % 2:
        data += b"\0"
    total = sum(data[at] << 8 | data[at + 1] for at in range(0, len(data), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def make_hello(holdtime: int, generation_id: int) -> bytes:
    body = struct.pack("!BBHHHHHHI", 0x20, 0, 0, 1, 2, holdtime, 20, 4, generation_id)
    return body[:2] + struct.pack("!H", rfc1071(body)) + body[4:]


def make_assert(group: IPv4Address, source: IPv4Address | None, metric: tuple[int, int], rpt: bool) -> bytes:
    body = b"\x25\0\0\0\1\0\0\x20" + group.packed + b"\1\0" + (source or IPv4Address(0)).packed
    body += struct.pack("!II", metric[0] | (0x80000000 if rpt else 0), metric[1])
    return body[:2] + struct.pack("!H", rfc1071(body)) + body[4:]


def read_assert(data: bytes) -> tuple[IPv4Address, IPv4Address, tuple[int, int]]:
    assert len(data) == 26
    preference, metric = struct.unpack_from("!II", data, 18)
    return IPv4Address(data[8:12]), IPv4Address(data[14:18]), (preference & 0x7FFFFFFF, metric)


def read_hello(data: bytes) -> dict[int, bytes]:
    options, at = {}, 4
    while at < len(data):
        kind, length = struct.unpack_from("!HH", data, at)
        options[kind] = data[at + 4 : at + 4 + length]
        at += 4 + length
    return options


def read_join_prune(data: bytes) -> tuple[IPv4Address, int, list[ParsedSet]]:
    assert data[4:6] == b"\x01\x00"
    upstream = IPv4Address(data[6:10])
    count, holdtime = data[11], int.from_bytes(data[12:14])
    at, found = 14, []
    for _ in range(count):
        family, encoding, _, mask = data[at : at + 4]
        assert (family, encoding, mask) == (1, 0, 32)
        parsed = ParsedSet(IPv4Address(data[at + 4 : at + 8]))
        joins, prunes = struct.unpack_from("!HH", data, at + 8)
        at += 12
        for number in range(joins + prunes):
            family, encoding, flags, mask = data[at : at + 4]
            assert (family, encoding, mask) == (1, 0, 32)
            (parsed.joins if number < joins else parsed.prunes).append((IPv4Address(data[at + 4 : at + 8]), flags))
            at += 8
        found.append(parsed)
    assert at == len(data), "bytes after the last group"
    return upstream, holdtime, found


class Reference:
    """The router. ``outbox`` collects the messages that it sends to all PIM routers.

    Where several are on the link they contend by Assert (section 4.6) for what they forward to it; ``metric`` is what
    this one says of every entry, the lower wins.
    """

    def __init__(self, address: IPv4Address, seed: int, metric: tuple[int, int] = (100, 10)) -> None:
        self.metric = metric
        self.address = address
        self.random = random.Random(seed)
        self.outbox: list[bytes] = []
        self.discarded = 0
        self.restart(0.0)

    def restart(self, now: float) -> None:
        """Lose all state; a new generation id, and the first Hello within Triggered_Hello_Delay."""
        self.generation_id = self.random.getrandbits(32)
        self.neighbors: dict[IPv4Address, tuple[float, int | None]] = {}
        self.star: dict[Star, Downstream] = {}
        self.pair: dict[Pair, Downstream] = {}
        self.rpt: dict[Pair, Downstream] = {}
        self.asserts: dict[Entry, Asserting] = {}
        self.hello_at = now + self.random.uniform(0, TRIGGERED_HELLO_DELAY)

    def next_deadline(self) -> float:
        """When ``advance`` must be called at the latest."""
        machines = [*self.star.values(), *self.pair.values(), *self.rpt.values()]
        times = [machine.expires for machine in machines]
        times += [m.pending_until for m in machines if m.state == PRUNE_PENDING]
        times += [expires for expires, _ in self.neighbors.values()]
        times += [machine.until for machine in self.asserts.values()]
        return min([self.hello_at, *times])

    def advance(self, now: float) -> None:
        """Expire what is due, and say Hello when it is time."""
        if now >= self.hello_at:
            self.outbox.append(make_hello(HELLO_HOLDTIME, self.generation_id))
            self.hello_at = now + HELLO_PERIOD
        self.neighbors = {a: known for a, known in self.neighbors.items() if known[0] > now}
        for machine in [*self.star.values(), *self.pair.values()]:
            if machine.state == PRUNE_PENDING and machine.pending_until <= now:
                machine.state = NO_INFO
        self.star = {k: m for k, m in self.star.items() if m.expires > now and m.state != NO_INFO}
        self.pair = {k: m for k, m in self.pair.items() if m.expires > now and m.state != NO_INFO}
        for pair, machine in list(self.rpt.items()):
            if machine.state == PRUNE_PENDING and machine.pending_until <= now:
                machine.state = PRUNE
            if machine.expires <= now or machine.state == NO_INFO:
                del self.rpt[pair]
        self._advance_asserts(now)

    def _advance_asserts(self, now: float) -> None:
        """CouldAssert -> FALSE cancels; the winner's timer says its Assert again, the loser's ends the matter."""
        for entry, machine in list(self.asserts.items()):
            if machine.winner != self.address:
                if machine.until <= now or machine.winner not in self.neighbors:
                    del self.asserts[entry]
            elif entry not in self.joined():
                self.outbox.append(make_assert(*entry, INFINITE, rpt=True))
                del self.asserts[entry]
            elif machine.until <= now:
                self._assert(entry, now)

    def _assert(self, entry: Entry, now: float) -> None:
        self.outbox.append(make_assert(*entry, self.metric, rpt=entry[1] is None))
        self.asserts[entry] = Asserting(self.address, self.metric, now + ASSERT_TIME - ASSERT_OVERRIDE_INTERVAL)

    def hear_data(self, entry: Entry, now: float) -> None:
        """A packet of an entry that is forwarded to the link arrives from it: somebody else forwards, too."""
        if entry in self.forwarded() and entry not in self.asserts:
            self._assert(entry, now)

    def _assert_received(self, source: IPv4Address, data: bytes, now: float) -> None:
        group, about, metric = read_assert(data)
        entry: Entry = (group, None if about == IPv4Address(0) else about)
        machine = self.asserts.get(entry)
        mine = [-part for part in self.metric], self.address
        theirs = [-part for part in metric], source
        if metric == INFINITE:
            if machine is not None and machine.winner == source:
                del self.asserts[entry]
        elif entry not in self.joined():
            return
        elif machine is None or machine.winner == self.address:
            if mine > theirs:
                self._assert(entry, now)
            else:
                self.asserts[entry] = Asserting(source, metric, now + ASSERT_TIME)
        elif source == machine.winner or theirs > ([-part for part in machine.metric], machine.winner):
            self.asserts[entry] = Asserting(source, metric, now + ASSERT_TIME)

    def receive(self, source: IPv4Address, data: bytes, now: float) -> None:
        """A PIM message from the link."""
        self.advance(now)
        assert rfc1071(data) == 0, "wrong checksum"
        assert data[0] >> 4 == 2
        if data[0] & 15 == 0:
            self._hello(source, read_hello(data), now)
        elif data[0] & 15 == 5:
            if source in self.neighbors:
                self._assert_received(source, data, now)
        elif data[0] & 15 == 3:
            upstream, holdtime, groups = read_join_prune(data)
            if source not in self.neighbors:
                self.discarded += 1  # section 4.3.1: not from a neighbour
            elif upstream == self.address:
                for parsed in groups:
                    self._group(parsed, holdtime, now)
        self.advance(now)

    def _hello(self, source: IPv4Address, options: dict[int, bytes], now: float) -> None:
        holdtime = int.from_bytes(options.get(1, b"\0\x69"))
        generation_id = int.from_bytes(options[20]) if 20 in options else None
        known = self.neighbors.get(source)
        if holdtime == 0:
            self.neighbors.pop(source, None)
            return
        self.neighbors[source] = (now + holdtime, generation_id)
        if known is not None and known[1] != generation_id:
            self.asserts = {entry: found for entry, found in self.asserts.items() if found.winner != source}
        if known is None or known[1] != generation_id:
            self.hello_at = min(self.hello_at, now + self.random.uniform(0, TRIGGERED_HELLO_DELAY))

    def _override(self) -> float:
        return OVERRIDE_INTERVAL if len(self.neighbors) > 1 else 0.0

    def _group(self, parsed: ParsedSet, holdtime: int, now: float) -> None:
        group, until = parsed.group, now + holdtime
        entries = [(a, f & 3) for a, f in parsed.joins] + [(a, f & 3) for a, f in parsed.prunes]
        assert len(entries) == len(set(entries)), "Join and Prune of one entry in one message"
        for address, flags in parsed.joins:
            if flags & 3 == 3:
                self._join(self.star.setdefault(group, Downstream()), until).rp = address
                self._joined_a_loser((group, None))
                for (_, of), machine in self.rpt.items():
                    if of == group:
                        tmp = {PRUNE: PRUNE_TMP, PRUNE_PENDING: PENDING_TMP}
                        machine.state = tmp.get(machine.state, machine.state)
            elif flags & 3 == 1:
                self.rpt.pop((address, group), None)
            else:
                self._join(self.pair.setdefault((address, group), Downstream()), until)
                self._joined_a_loser((group, address))
        for address, flags in parsed.prunes:
            if flags & 3 == 3:
                self._prune(self.star.get(group), now)
            elif flags & 3 == 1:
                self._prune_rpt(self.rpt.setdefault((address, group), Downstream()), until, now)
            else:
                self._prune(self.pair.get((address, group)), now)
        for pair in [p for p, m in self.rpt.items() if p[1] == group and m.state in (PRUNE_TMP, PENDING_TMP)]:
            del self.rpt[pair]  # end of message

    def _joined_a_loser(self, entry: Entry) -> None:
        """Receive Join on interface I, state Loser: back to NoInfo, and to forwarding (section 4.6.2)."""
        machine = self.asserts.get(entry)
        if machine is not None and machine.winner != self.address:
            del self.asserts[entry]

    def _join(self, machine: Downstream, until: float) -> Downstream:
        machine.state = JOIN
        machine.expires = max(machine.expires, until)
        return machine

    def _prune(self, machine: Downstream | None, now: float) -> None:
        if machine is not None and machine.state == JOIN:
            machine.state = PRUNE_PENDING
            machine.pending_until = now + self._override()

    def _prune_rpt(self, machine: Downstream, until: float, now: float) -> None:
        if machine.state == NO_INFO:
            machine.state, machine.expires = PRUNE_PENDING, until
            machine.pending_until = now + self._override()
        else:
            machine.state = {PRUNE_TMP: PRUNE, PENDING_TMP: PRUNE_PENDING}.get(machine.state, machine.state)
            machine.expires = max(machine.expires, until)

    def forwarded(self) -> set[Entry]:
        """What is joined and not lost to another router by Assert."""
        lost = {entry for entry, machine in self.asserts.items() if machine.winner != self.address}
        return self.joined() - lost

    def joined(self) -> set[Entry]:
        """(group, None) of each (*,G) and (group, source) of each (S,G) that would be forwarded to the link."""
        stars: set[Entry] = {(group, None) for group in self.star}
        return stars | {(group, source) for source, group in self.pair}

    def pruned(self) -> set[Pair]:
        """(source, group) of each (S,G,rpt) that is kept off the shared tree."""
        return {pair for pair, machine in self.rpt.items() if machine.state == PRUNE}
