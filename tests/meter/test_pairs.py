"""The program that compares two sides, in this machine's kernel, packet by packet, against a model."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcastd.config.feed_formats import FORMATS, Sequence
from mcastd.meter import maps
from mcastd.meter.packet import BUCKETS, WINDOW, PairRecord, PairSide, decode_pair, encode_feed, feed_key
from mcastd.meter.pair_program import pair_program
from mcastd.meter.program import program
from mcastd.net import ebpf
from mcastd.system import bpf
from tests.meter.feeds import BUILDERS, PORT, Packet, frame
from tests.meter.runs import run

pytestmark = pytest.mark.root
SIDES = IPv4Address("239.1.1.1"), IPv4Address("239.2.1.1")
BITS = {"cme-mdp3": 32, "moex-simba": 32, "moldudp64": 64, "pitch": 32, "rtp": 16}
MERGED = -1


@dataclass
class Model:
    """A pair, by the definitions, with sets. A side is 0 or 1."""

    bits: int
    sides: set[int] = field(default_factory=set)
    session: int | None = None
    is_interrupted: bool = False
    next: int = 0
    start: int = 0
    seen: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))
    lost: list[int] = field(default_factory=lambda: [0, 0, 0])
    compared: int = 0
    uncompared: int = 0
    restarts: int = 0
    firsts: dict[int, tuple[int, int]] = field(default_factory=dict)
    timed: set[int] = field(default_factory=set)
    histograms: tuple[list[int], list[int]] = field(default_factory=lambda: ([0] * BUCKETS, [0] * BUCKETS))

    def packet(self, side: int, number: int, count: int, session: int, now: int) -> None:
        half = 1 << self.bits - 1
        ahead = (number - self.next + half) % (2 * half) - half
        other, self.session = self.session not in (None, session), session
        interrupted, self.is_interrupted = self.is_interrupted, False
        if not self.sides or other or interrupted or not -WINDOW < ahead + count < 1 << 63:
            return self._alone(side, number, count)
        if self.sides != {0, 1}:
            if side in self.sides or ahead >= WINDOW:
                return self._alone(side, number, count)
            self.sides, self.uncompared = {0, 1}, self.uncompared + count
            self.start = self.next = max(self.next, self.next + ahead + count)
            self.seen, self.firsts, self.timed = (set(), set()), {}, set()
            return None
        first = self.next + ahead
        known = first % (1 << 62)  # of what begins a packet the meter knows so many bits
        if count and ahead > -WINDOW and known not in self.timed:
            if known not in self.firsts:
                self.firsts[known] = side, now
            elif self.firsts[known][0] != side:
                before, then = self.firsts[known]
                self.histograms[before][min((now - then) >> 10, (1 << 31) - 1).bit_length()] += 1
                self.timed.add(known)
        end = max(self.next, first + count)
        self.compared += end - self.next
        self.lost[2] += max(0, end - WINDOW - self.next)  # never in the window
        for one in range(max(self.start, self.next - WINDOW), min(self.next, end - WINDOW)):
            if (lost := self._lost(one)) is not None:
                self.lost[lost] += 1
        self.next = end
        self.seen[side].update(one for one in range(first, first + count) if one >= max(self.start, end - WINDOW))
        return None

    def record(self) -> PairRecord:
        window = range(max(self.start, self.next - WINDOW), self.next) if self.sides == {0, 1} else range(0)
        lost = [self._lost(one) for one in window]
        unseen = lost.count(0), lost.count(1), lost.count(2)
        a_first, b_first = map(tuple, self.histograms)
        a, b, both = self.lost
        return PairRecord((a, b, both), unseen, self.compared, self.uncompared, self.restarts, a_first, b_first)

    def _lost(self, one: int) -> int | None:
        on = one in self.seen[0], one in self.seen[1]
        return {(True, True): None, (False, True): 0, (True, False): 1, (False, False): 2}[on]

    def _alone(self, side: int, number: int, count: int) -> None:
        self.restarts += self.sides == {0, 1}
        self.sides, self.next, self.uncompared = {side}, number + count, self.uncompared + count


class Pair:
    """Both programs, loaded, with their maps."""

    def __init__(self) -> None:
        self._kinds = maps.kinds(64)
        self.maps = {name: bpf.create_map(kind) for name, kind in self._kinds.items()}
        self.descriptor = bpf.load("mcastd_meter", ebpf.assemble(program("packet"), self.maps))
        pair = bpf.load("mcastd_pair", ebpf.assemble(pair_program("packet"), self.maps))
        bpf.update(self.maps["programs"], bytes(4), pair.to_bytes(4, "little"))
        os.close(pair)
        self.now = 10**9

    def close(self) -> None:
        for descriptor in (self.descriptor, *self.maps.values()):
            os.close(descriptor)

    def begin(self, sequence: Sequence) -> None:
        for name in ("streams", "pairs"):
            for part in list(bpf.elements(self.maps[name], self._kinds[name], 16)):
                for key, _ in part:
                    bpf.delete(self.maps[name], key)
        for number, group in enumerate(SIDES, 1):
            value = encode_feed(sequence, PairSide(number, SIDES[0], 0))
            bpf.update(self.maps["feeds"], feed_key(IPv4Network(group), 0), value)

    def receive(self, side: int, payload: bytes, after: int = 1_000_000, merged: int = 0, port: int = PORT) -> None:
        self.now += after
        assert run(self.descriptor, frame(payload, group=SIDES[side], port=port), at=self.now, merged=merged)

    def records(self) -> dict[bytes, PairRecord]:
        parts = bpf.elements(self.maps["pairs"], self._kinds["pairs"], 16)
        return {key: decode_pair(value) for part in parts for key, value in part}

    def only(self) -> PairRecord:
        (found,) = self.records().values()
        return found


@pytest.fixture(scope="module")
def loaded() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def test_losses_of_one_side_of_the_other_and_of_both_are_distinguished(loaded: Pair) -> None:
    loaded.begin(FORMATS["cme-mdp3"])
    lost = {50: (0,), 51: (0, 1), 60: (1,), 61: (1,), **dict.fromkeys(range(200, 1400), (0,)), 1500: (0, 1), 2900: (1,)}
    for number in range(1, 3001):
        for side in (0, 1):
            if side not in lost.get(number, ()):
                loaded.receive(side, BUILDERS["cme-mdp3"](Packet(number)), after=(5_000_000, 3_000)[side])
    found = loaded.only()
    assert (found.lost, found.open) == ((1201, 2, 2), (0, 1, 0))
    assert (found.compared, found.uncompared, found.restarts) == (2999, 2, 0)
    assert sum(found.b_first) == 0
    assert found.a_first[2] == sum(found.a_first) == 2999 - 1201 - 3 - 2


# Which side, how far its packet is from its own next number or (None) to that of the other side, and how many messages.
moves = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.one_of(
            st.just(0), st.none(), st.integers(-5, 5), st.integers(-70, 70), st.integers(-2500, 2500),
            st.sampled_from([-1025, -1024, -1023, 1023, 1024, 1025]), st.integers(-(1 << 63), 1 << 63),
        ),
        st.one_of(st.just(1), st.integers(0, 5), st.integers(0, 200)),
        st.sampled_from([0] * 20 + [1, MERGED]),
        st.sampled_from([0, 1000, 3000, 10**7, 1 << 45]),
    ),
    max_size=60,
)  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60, deadline=None)
@given(steps=moves)
def test_any_two_sides_are_compared_as_the_model_compares_them(
    loaded: Pair, name: str, steps: list[tuple[int, int | None, int, int, int]]
) -> None:
    sequence, model, own, session = FORMATS[name], Model(BITS[name]), [0, 0], 0
    loaded.begin(sequence)
    for side, move, count, other, after in steps:
        session += other == 1 and sequence.session is not None
        count = 1 if sequence.count is None else count
        number = (own[1 - side] if move is None else own[side] + move) % (1 << BITS[name])
        if sequence.zero_is_unsequenced and not number:
            continue
        own[side] = number + count
        payload = BUILDERS[name](Packet(number, count, session))
        if other == MERGED:
            loaded.receive(side, payload, after, merged=2)
            model.is_interrupted = bool(model.sides)
            continue
        loaded.receive(side, payload, after)
        model.packet(side, number, count, session, loaded.now)
        assert loaded.only() == model.record()
