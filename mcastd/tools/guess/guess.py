"""Where the packets of a stream have their sequence number. Pure.

A number that is one is the last one and one more, or as many more as the packet before had messages, in nearly all
packets: some are lost, or come in another order. Of a format that is known the rest of the header has to be right too.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from mcastd.config.feed_formats import FORMATS, Field
from mcastd.config.feed_formats import Sequence as Numbers
from mcastd.tools.numbers import read, value_of

ENOUGH: Final = 600
"""Packets that are looked at; after 256 the low byte of a number has begun again, which shows its byte order."""

_FIRST: Final = 64  # packets that most places for a number are excluded by
_LEAST: Final = 20  # steps of a known format
_LEAST_UNKNOWN: Final = 300  # packets for any other
_AS_EXPECTED: Final = 0.7  # the share of steps that is, at least
_NEAR: Final = 0.98  # the share of steps that may be losses or another order, at least
_FAR: Final = 1024  # more than that is neither
_WITHIN_A_BYTE: Final = 128  # a step further than that has not changed the byte above as it should
_READABLE: Final = 0.98  # the share of packets that have the number
_REACH: Final = 128  # bytes of a payload in which a number is looked for
_NANOSECONDS: Final = range(10**18, 42 * 10**17)  # since 1970, of the years 2001 to 2103


@dataclass(frozen=True, slots=True)
class Guess:
    """A number: the name of its format if that is known, and how many of its steps are as expected."""

    name: str | None
    numbers: Numbers
    exact: int
    steps: int


@dataclass(slots=True)
class _Score:
    """What the steps from packet to packet are like. A carry is one in which more than the low byte changes."""

    steps: int = 0
    exact: int = 0
    near: int = 0
    moved: int = 0
    exact_moved: int = 0
    carries: int = 0
    right_carries: int = 0
    unread: int = 0

    def is_sequence(self, packets: int) -> bool:
        return (
            self.unread <= (1 - _READABLE) * packets
            and self.moved >= _LEAST
            and self.exact_moved >= _AS_EXPECTED * self.moved
            and self.exact >= _AS_EXPECTED * self.steps
            and self.near >= _NEAR * self.steps
        )

    @property
    def carries_over(self) -> bool:
        return self.carries > 0 and 2 * self.right_carries >= self.carries


def guess(payloads: Sequence[bytes]) -> Guess | None:
    """Where the number is in these payloads, in the order in which they came; None if none is found."""
    packets = [one for place, one in enumerate(payloads) if one not in payloads[max(0, place - 8) : place]]
    for name, looks_right in _KNOWN.items():
        found = _score(FORMATS[name], packets)
        if found.is_sequence(len(packets)) and sum(map(looks_right, packets)) >= _READABLE * len(packets):
            return Guess(name, FORMATS[name], found.exact, found.steps)
    if len(packets) < _LEAST_UNKNOWN:
        return None
    return _best(_of_packets(packets), packets) or _best(_of_messages(packets), packets)


def _score(numbers: Numbers, packets: Sequence[bytes]) -> _Score:
    found, half = _Score(), 1 << 8 * numbers.number.size - 1
    last: dict[tuple[int, bytes], tuple[int, int]] = {}  # the number, and the one that is expected then
    for packet in packets:
        reading = read(numbers, packet)
        if reading is None:
            found.unread += 1
            continue
        number, count, stream = reading.number, reading.count, (reading.unit, reading.session)
        if numbers.zero_is_unsequenced and not number:
            continue
        before, expected = last.get(stream, (number, number))
        ahead = (number - expected + half) % (2 * half) - half
        if stream in last:
            found.steps += 1
            found.exact += ahead == 0
            found.near += abs(ahead) <= _FAR
            if number != before or expected != before:
                found.moved += 1
                found.exact_moved += ahead == 0
            if not before >> 8 == expected >> 8 == number >> 8:
                found.carries += 1
                found.right_carries += abs(ahead) < _WITHIN_A_BYTE
        if not -_FAR <= ahead < 0:  # else it came late
            last[stream] = number, (number + count) % (2 * half)
    return found


def _best(candidates: Iterator[Numbers], packets: Sequence[bytes]) -> Guess | None:
    """The candidate with the most steps as expected, of equal ones the first."""
    best: Guess | None = None
    for one in candidates:
        found = _score(one, packets)
        if found.is_sequence(len(packets)) and found.carries_over and (best is None or found.exact > best.exact):
            best = Guess(None, one, found.exact, found.steps)
    return None if best is None else _widened(best, packets)


def _widened(found: Guess, packets: Sequence[bytes]) -> Guess:
    """With 4 bytes instead of 2 if the upper ones are not 0 and fit; where they are 0 it may have just 2."""
    number = found.numbers.number
    wide = Field(number.offset - 2 if number.big else number.offset, 4, number.big)
    if wide.offset < 0 or not any((value_of(wide, packet) or 0) >> 16 for packet in packets):
        return found
    numbers = Numbers(wide, found.numbers.count)
    score = _score(numbers, packets)
    is_right = score.is_sequence(len(packets)) and score.exact >= found.exact
    return Guess(None, numbers, score.exact, score.steps) if is_right else found


def _fields(packets: Sequence[bytes], size: int) -> Iterator[Field]:
    shortest = sorted(map(len, packets))[int((1 - _READABLE) * len(packets))]
    for offset in range(min(shortest, _REACH) - size + 1):
        yield Field(offset, size)
        yield Field(offset, size, big=True)


def _of_packets(packets: Sequence[bytes]) -> Iterator[Numbers]:
    """Every place for a number that each packet has one of."""
    first = packets[:_FIRST]
    for number in _fields(packets, 2):
        if _may_be(_values(number, first), [1] * len(first)):
            yield Numbers(number)


def _of_messages(packets: Sequence[bytes]) -> Iterator[Numbers]:
    """Every place for a number, with every place for a count that is not always the same."""
    first = packets[:_FIRST]
    counts = {field: _values(field, first) for size in (1, 2) for field in _fields(packets, size)}
    counts = {field: values for field, values in counts.items() if len(set(values)) > 1}
    for number in _fields(packets, 2):
        values = _values(number, first)
        if len(set(values)) < _LEAST:
            continue
        for count, counted in counts.items():
            if count.big == number.big and _may_be(values, counted):
                yield Numbers(number, count)


def _values(field: Field, packets: Sequence[bytes]) -> list[int]:
    return [value_of(field, packet) or 0 for packet in packets]


def _may_be(numbers: list[int], counts: list[int]) -> bool:
    """Whether half of some packets are as expected: it excludes most places without a look at all packets."""
    steps = zip(numbers, numbers[1:], counts, strict=False)
    return 2 * sum((after - before - count) & 0xFFFF == 0 for before, after, count in steps) >= len(numbers) - 1


def _is_time(packet: bytes, offset: int) -> bool:
    return (value_of(Field(offset, 8), packet) or 0) in _NANOSECONDS


_KNOWN: Final[dict[str, Callable[[bytes], bool]]] = {
    "moldudp64": lambda packet: packet[:10].isascii() and packet[:10].decode("ascii").isprintable(),
    "pitch": lambda packet: value_of(Field(0, 2), packet) == len(packet),
    "moex-simba": lambda packet: (
        value_of(Field(4, 2), packet) in (len(packet), len(packet) - 16) and _is_time(packet, 8)
    ),
    "cme-mdp3": lambda packet: _is_time(packet, 4),
    "rtp": lambda packet: packet[:1].hex() in ("80", "90", "a0", "b0") and len(packet) > 11,
}
"""Of each known format what else there is in a packet of it."""
