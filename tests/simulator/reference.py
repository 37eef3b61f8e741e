"""An upstream PIM router for one link, written from RFC 7761's downstream state tables (sections 4.5.1 to 4.5.3).

It is the judge of mcastd's machine, so it shares nothing with it: no import of mcastd, and a codec of its own. It is
slow and plain on purpose. The link is point-to-point, with one neighbour: J/P_Override_Interval is 0, so that a Prune
takes effect at once, without the PrunePending states (section 4.5.1).
"""

import random
import struct
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import TypeVar

ALL_ROUTERS = IPv4Address("224.0.0.13")
HELLO_PERIOD = 30.0
HELLO_HOLDTIME = 105
TRIGGERED_HELLO_DELAY = 5.0

JOIN, PRUNE, PRUNE_TMP = "Join", "Prune", "PruneTmp"

Star = IPv4Address
Pair = tuple[IPv4Address, IPv4Address]
Entry = tuple[IPv4Address, IPv4Address | None]
Key = TypeVar("Key")


@dataclass
class Downstream:
    """One downstream machine that is not in state NoInfo: its state and Expiry Timer."""

    state: str
    expires: float
    rp: IPv4Address | None = None


@dataclass
class ParsedSet:
    """One group of a Join/Prune as read from the wire: (address, flags) of each source."""

    group: IPv4Address
    joins: list[tuple[IPv4Address, int]] = field(default_factory=list)
    prunes: list[tuple[IPv4Address, int]] = field(default_factory=list)


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
    """The router. ``outbox`` collects the messages that it sends to all PIM routers."""

    def __init__(self, address: IPv4Address, seed: int) -> None:
        self.address = address
        self.random = random.Random(seed)
        self.outbox: list[bytes] = []
        self.acts_at = 0.0  # until then it takes no Join/Prune, as troglobit's pimd after its start
        self.discarded = 0
        self.restart(0.0)

    def restart(self, now: float) -> None:
        """Lose all state; a new generation id, and the first Hello within Triggered_Hello_Delay."""
        self.generation_id = self.random.getrandbits(32)
        self.neighbors: dict[IPv4Address, tuple[float, int | None]] = {}
        self.star: dict[Star, Downstream] = {}
        self.pair: dict[Pair, Downstream] = {}
        self.rpt: dict[Pair, Downstream] = {}
        self.hello_at = now + self.random.uniform(0, TRIGGERED_HELLO_DELAY)

    def forget_joins(self) -> None:
        """Lose the downstream state and keep the generation id, as FRR does at ``clear ip mroute``."""
        self.star, self.pair, self.rpt = {}, {}, {}

    def next_deadline(self) -> float:
        """When ``advance`` must be called at the latest."""
        times = [machine.expires for machine in (*self.star.values(), *self.pair.values(), *self.rpt.values())]
        return min([self.hello_at, *times, *(expires for expires, _ in self.neighbors.values())])

    def advance(self, now: float) -> None:
        """Expire what is due, and say Hello when it is time."""
        if now >= self.hello_at:
            self.outbox.append(make_hello(HELLO_HOLDTIME, self.generation_id))
            self.hello_at = now + HELLO_PERIOD
        self.neighbors = {a: known for a, known in self.neighbors.items() if known[0] > now}
        self.star = {group: machine for group, machine in self.star.items() if machine.expires > now}
        self.pair = {pair: machine for pair, machine in self.pair.items() if machine.expires > now}
        self.rpt = {pair: machine for pair, machine in self.rpt.items() if machine.expires > now}

    def receive(self, source: IPv4Address, data: bytes, now: float) -> None:
        """A PIM message from the link."""
        self.advance(now)
        assert rfc1071(data) == 0, "wrong checksum"
        assert data[0] >> 4 == 2
        if data[0] & 15 == 0:
            self._hello(source, read_hello(data), now)
        elif data[0] & 15 == 3:
            upstream, holdtime, groups = read_join_prune(data)
            if source not in self.neighbors:
                self.discarded += 1  # section 4.3.1: not from a neighbour
            elif upstream == self.address and now >= self.acts_at:
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
        if known is None or known[1] != generation_id:
            self.hello_at = min(self.hello_at, now + self.random.uniform(0, TRIGGERED_HELLO_DELAY))

    def _group(self, parsed: ParsedSet, holdtime: int, now: float) -> None:
        group, until = parsed.group, now + holdtime
        entries = [(a, f & 3) for a, f in parsed.joins] + [(a, f & 3) for a, f in parsed.prunes]
        assert len(entries) == len(set(entries)), "Join and Prune of one entry in one message"
        for address, flags in parsed.joins:
            if flags & 3 == 3:
                self._join(self.star, group, until).rp = address
                for (_, of), machine in self.rpt.items():
                    if of == group:
                        machine.state = PRUNE_TMP
            elif flags & 3 == 1:
                self.rpt.pop((address, group), None)
            else:
                self._join(self.pair, (address, group), until)
        for address, flags in parsed.prunes:
            if flags & 3 == 3:
                self.star.pop(group, None)
            elif flags & 3 == 1:
                machine = self.rpt.setdefault((address, group), Downstream(PRUNE, until))
                machine.state, machine.expires = PRUNE, max(machine.expires, until)
            else:
                self.pair.pop((address, group), None)
        # End of message: what Join(*,G) did not repeat is off the list.
        self.rpt = {pair: m for pair, m in self.rpt.items() if pair[1] != group or m.state != PRUNE_TMP}

    def _join(self, machines: dict[Key, Downstream], key: Key, until: float) -> Downstream:
        machine = machines.setdefault(key, Downstream(JOIN, until))
        machine.expires = max(machine.expires, until)
        return machine

    def joined(self) -> set[Entry]:
        """(group, None) of each (*,G) and (group, source) of each (S,G) that would be forwarded to the link."""
        stars: set[Entry] = {(group, None) for group in self.star}
        return stars | {(group, source) for source, group in self.pair}

    def pruned(self) -> set[Pair]:
        """(source, group) of each (S,G,rpt) that is kept off the shared tree."""
        return set(self.rpt)
