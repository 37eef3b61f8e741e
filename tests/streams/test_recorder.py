"""What streams carried in each second, against a model of all readings; what is recorded where there are too many."""

from ipaddress import IPv4Address
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from mcastd.stream_status import StreamCount, StreamHistory
from mcastd.streams.recorder import SECONDS, STREAMS, Recorder
from mcastd.streams.table import element_key
from tests.streams.counts import count

START = 5000


def key(number: int) -> bytes:
    group = IPv4Address("239.1.0.0") + number
    return element_key("gre1", IPv4Address("100.15.30.5").packed, group.packed, 5000)


class Host:
    """A recorder, and what it was told: ``known`` are the streams that were seen, ``named`` those of feeds."""

    def __init__(self) -> None:
        self.known = set[bytes]()
        self.named = set[bytes]()
        self.counted = dict[int, tuple[int, float]]()  # the packets of each stream, and when the last one came
        self.recorder = Recorder(self.known.__contains__, self.named.__contains__)

    def read(
        self,
        now: float,
        counts: dict[int, int],
        numbers: dict[int, tuple[int, int]] | None = None,
        *,
        late: float = 0.0,
    ) -> None:
        """A reading: the packets of each stream, of 100 bytes; how many of its numbers came and did not."""
        self.recorder.begin(now)
        for number, packets in counts.items():
            if self.counted.get(number, (-1, now))[0] != packets:
                self.counted[number] = packets, now
            self.recorder.take(key(number), packets, packets * 100, now - self.counted[number][1])
            self.known.add(key(number))
        for number, (seen, lost) in (numbers or {}).items():
            self.recorder.numbered(key(number), seen, lost)
        self.recorder.end(now + late)

    def history(self, number: int, seconds: int, now: float) -> StreamHistory | None:
        one = count(group=str(IPv4Address("239.1.0.0") + number))
        found = self.recorder.window(seconds, now).add(one).history
        return None if found is UNSET else found

    def packets(self, number: int, seconds: int, now: float) -> list[int | None]:
        found = self.history(number, seconds, now)
        assert found is not None
        assert found.bytes == tuple(None if one is None else one * 100 for one in found.packets)
        return list(found.packets)


class Reading(NamedTuple):
    """Some seconds after the one before; ``counts``: what came meanwhile, None: the kernel's answer leaves it out."""

    after: int
    delay: float
    late: float
    came: tuple[int, int]
    left_out: frozenset[int]
    reset: bool


READINGS = st.lists(
    st.builds(
        Reading,
        st.sampled_from([1, 1, 1, 1, 1, 2, 7]),
        st.sampled_from([0.0, -0.05, 0.1, 0.6]),
        st.sampled_from([0.0, 0.1, 0.1, 0.4]),
        st.tuples(st.integers(0, 3), st.integers(0, 3)),
        st.frozensets(st.integers(0, 1), max_size=1) | st.just(frozenset[int]()),
        st.sampled_from([False] * 6 + [True]),
    ),
    max_size=40,
)  # fmt: skip


@given(READINGS)
def test_a_second_is_known_if_it_was_read_at_both_its_ends(readings: list[Reading]) -> None:
    host, second, totals = Host(), START, [0, 0]
    read: dict[int, dict[int, int]] = {}  # what was read in time, at the end of a second
    first: dict[int, int] = {}  # when each stream was read first
    resets = set[int]()  # the seconds with one in them
    counted_from_0 = set[int]()  # the streams of which nothing has been seen since
    for one in readings:
        second += one.after
        if one.reset:
            host.recorder.reset()
            totals, resets, counted_from_0 = [0, 0], resets | {second}, {0, 1}
        totals = [total + came for total, came in zip(totals, one.came, strict=True)]
        counts = {number: total for number, total in enumerate(totals) if total and number not in one.left_out}
        counted_from_0 -= counts.keys()
        for number in counts:
            first.setdefault(number, second)
        host.read(second + one.delay, counts, late=one.late)
        if one.delay + one.late <= 0.25:
            read[second] = {**dict.fromkeys(counted_from_0 & first.keys(), 0), **counts}
    for number in first:
        expected: list[int | None] = []
        for at in range(second - 59, second + 1):
            before, after = read.get(at - 1), read.get(at, {}).get(number)
            if before is None or after is None or at in resets:
                expected.append(None)
            elif at <= first[number]:
                expected.append(after if at == first[number] else None)
            else:
                expected.append(after - before[number] if number in before else None)
        assert host.packets(number, 60, second + 0.5) == expected


def test_ten_minutes_are_known_and_what_is_older_gives_way_to_them() -> None:
    host = Host()
    for second in range(START, START + 2000):
        host.read(second + 0.01, {1: 7 * second})
    now = START + 1999.5
    assert host.packets(1, SECONDS, now) == [7] * SECONDS
    assert host.packets(1, 10**6, now) == [7] * SECONDS
    assert host.packets(1, 0, now) == []


@pytest.mark.parametrize("pause", [2, 30, SECONDS - 1, SECONDS, SECONDS + 39, SECONDS + 41, 5000])
def test_what_was_not_read_is_not_known_however_long_ago(pause: int) -> None:
    host = Host()
    for second in range(START, START + 700):
        host.read(second, {1: 7 * second})
    end = START + 699 + pause
    host.read(end, {1: 7 * end})
    expected = [*[7] * SECONDS, *[None] * pause][-SECONDS:]
    assert host.packets(1, SECONDS, end) == expected


def test_where_readings_have_ended_the_last_seconds_are_not_known() -> None:
    host = Host()
    for second in range(START, START + 10):
        host.read(second, {1: 7 * second})
    assert host.packets(1, 3, START + 9.9) == [7, 7, 7]
    host.recorder.begin(START + 10.0)
    assert host.packets(1, 3, START + 10.0) == [7, 7, 7]  # its reading goes on
    assert host.packets(1, 3, START + 12.5) == [7, None, None]


def test_what_is_missing_and_comes_late_was_not_missing() -> None:
    host = Host()
    found = [(10, 0), (20, 0), (30, 5), (40, 5), (50, 6), (61, 4), (70, 4), (80, 3), (5, 2), (10, 3)]
    for second, numbers in enumerate(found, START):
        host.read(second, {1: second, 2: second}, {1: numbers})
    history = host.history(1, 10, START + 9.5)
    assert history is not None
    # Of the 6 two came in the sixth second, another in the eighth; then measuring began again.
    assert history.missing == (None, 0, 3, 0, 0, 0, 0, 0, None, 1)
    without = host.history(2, 10, START + 9.5)
    assert without is not None
    assert without.missing == ()


def test_of_a_stream_that_begins_with_a_gap_that_is_seen() -> None:
    host = Host()
    host.read(START, {})
    host.read(START + 1, {1: 9}, {1: (9, 4)})
    history = host.history(1, 2, START + 1.5)
    assert history == StreamHistory(packets=(None, 9), bytes=(None, 900), missing=(None, 4))


def test_of_too_many_those_of_feeds_are_recorded_and_then_the_first_ones() -> None:
    host = Host()
    host.named |= {key(3), key(600)}
    streams = dict.fromkeys(range(STREAMS + 10), 1)
    host.read(START, streams)
    host.read(START + 1, streams)
    assert (host.recorder.refused, host.history(STREAMS, 1, START + 1)) == (10, None)
    host.read(START + 2, {**streams, 600: 5})
    assert host.recorder.refused == 11
    assert host.packets(600, 2, START + 2) == [None, 5]
    assert host.history(STREAMS - 1, 1, START + 2) is None  # the last of the others
    assert host.packets(STREAMS - 2, 2, START + 2) == [0, 0]
    host.named.add(key(STREAMS + 5))
    host.recorder.renamed()
    host.read(START + 3, {**streams, 600: 5})
    host.read(START + 4, {**streams, 600: 6})
    assert host.packets(STREAMS + 5, 2, START + 4) == [None, 0]  # how much of it had come before is not known
    assert host.packets(600, 2, START + 4) == [0, 1]
    assert host.history(STREAMS - 2, 1, START + 4) is None


def test_where_all_are_of_feeds_none_gives_way() -> None:
    host = Host()
    host.named |= {key(number) for number in range(STREAMS + 1)}
    for second in range(START, START + 3):
        host.read(second, dict.fromkeys(range(STREAMS + 1), 1))
    assert host.recorder.refused == 1
    assert host.packets(STREAMS - 1, 2, START + 2) == [0, 0]


def test_a_stream_that_was_silent_for_ten_minutes_gives_way_and_not_before() -> None:
    host = Host()
    for second in (START, *range(START + SECONDS - 2, START + SECONDS + 3)):
        host.read(second, {0: 1, **dict.fromkeys(range(1, STREAMS + 1), second)})
        assert (host.history(0, 1, second) is None) == (second > START + SECONDS)
    assert host.recorder.refused == 1
    assert host.packets(STREAMS, 2, second) == [None, 1]


def test_five_hundred_streams_take_four_megabytes() -> None:
    host = Host()
    host.read(START, dict.fromkeys(range(STREAMS + 100), 1))
    assert sum(row.values.itemsize * len(row.values) for row in host.recorder._rows.values()) < 4_000_000


@pytest.mark.parametrize(("seconds", "most"), [(SECONDS, 13), (60, 136), (1, 200)])
def test_what_many_streams_carried_comes_in_parts(seconds: int, most: int) -> None:
    host = Host()
    host.read(START, {1: 1})
    streams = [count(group=f"239.1.0.{number}") for number in range(200)]
    parts = list(host.recorder.window(seconds, START).parts(iter([streams[:0], streams])))
    assert max(map(len, parts)) == most
    found = [one for part in parts for one in part]
    assert [one.group for one in found] == [one.group for one in streams]
    assert [one.group for one in found if one.history is not UNSET] == ["239.1.0.1"]


def test_what_is_counted_of_a_stream_is_bounded() -> None:
    host = Host()
    for second, packets in enumerate((0, 2**40)):
        host.read(START + second, {1: packets})
    assert host.history(1, 1, START + 1) == StreamHistory(packets=(2**32 - 2,), bytes=(2**32 - 2,))


def test_a_stream_keeps_its_key() -> None:
    one: StreamCount = count(group="239.1.0.1")
    assert Recorder(lambda _: False, lambda _: False).window(5, START).add(one) is one
