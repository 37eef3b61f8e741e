"""The program in this machine's kernel, packet by packet (BPF_PROG_TEST_RUN), against a model."""

import os
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mcastd.config.feed_formats import FORMATS, Field, Sequence
from mcastd.meter import maps
from mcastd.meter.packet import BUCKETS, StreamKey, StreamRecord, decode, decode_key, encode_feed, feed_key
from mcastd.meter.program import program
from mcastd.net import ebpf
from mcastd.system import bpf
from tests.meter.feeds import BUILDERS, GROUP, PORT, SOURCE, Packet, custom, frame
from tests.meter.model import Model
from tests.meter.runs import run

pytestmark = pytest.mark.root
LOOPBACK = 1  # what the kernel takes a test's packet for


class Meter:
    """The program, loaded, with its maps."""

    def __init__(self, entries: int = 64) -> None:
        kinds = maps.kinds(entries)
        self._streams = kinds["streams"]
        self.maps = {name: bpf.create_map(kind) for name, kind in kinds.items()}
        self.descriptor = bpf.load("mcastd_meter", ebpf.assemble(program("packet"), self.maps))
        self.now = 10**9

    def close(self) -> None:
        for descriptor in (self.descriptor, *self.maps.values()):
            os.close(descriptor)

    def clear(self) -> None:
        for key in self.raw():
            bpf.delete(self.maps["streams"], key)

    def feed(self, sequence: Sequence, group: IPv4Address | IPv4Network = GROUP, port: int = PORT) -> None:
        bpf.update(self.maps["feeds"], feed_key(IPv4Network(group), port), encode_feed(sequence))

    def receive(self, packet: bytes, after: int = 1_000_000, merged: int = 0) -> None:
        self.now += after
        ran = run(self.descriptor, packet, at=self.now, merged=merged)
        assert ran.result == 0xFFFFFFFF  # TC_ACT_UNSPEC

    def raw(self) -> dict[bytes, bytes]:
        return {key: value for part in bpf.elements(self.maps["streams"], self._streams, 16) for key, value in part}

    def streams(self) -> dict[StreamKey, StreamRecord]:
        return {decode_key(key): decode(value) for key, value in self.raw().items()}

    def only(self) -> StreamRecord:
        (found,) = self.streams().values()
        return found


@pytest.fixture(scope="module")
def loaded() -> Iterator[Meter]:
    made = Meter()
    yield made
    made.close()


@pytest.fixture
def meter(loaded: Meter) -> Meter:
    loaded.clear()
    return loaded


def test_a_stream_is_known_by_interface_source_group_and_port(meter: Meter) -> None:
    meter.receive(frame(b"abcd"))
    meter.receive(frame(b"abcd", port=5001))
    meter.receive(frame(b"abcdef", options=bytes(8)))
    assert meter.streams().keys() == {
        StreamKey(LOOPBACK, SOURCE, GROUP, PORT),
        StreamKey(LOOPBACK, SOURCE, GROUP, 5001),
    }
    found = meter.streams()[StreamKey(LOOPBACK, SOURCE, GROUP, PORT)]
    assert (found.packets, found.numbers) == (2, None)


def test_only_multicast_of_udp_is_counted_and_what_is_cut_off_is_left(meter: Meter) -> None:
    for packet in (
        frame(b"", group=IPv4Address("10.1.1.1")),
        frame(b"", group=IPv4Address("224.0.0.13")),
        frame(b"", protocol=6),
        frame(b"abcd")[:36],
        frame(bytes(40)).replace(b"\x08\0", b"\x86\xdd", 1),
    ):
        meter.receive(packet)
    assert meter.streams() == {}


def test_fragments_are_counted_apart(meter: Meter) -> None:
    meter.feed(FORMATS["cme-mdp3"])
    for fragment in (0x2001, 0x2002, 0x0003):
        meter.receive(frame(b"abcd", fragment=fragment))
    meter.receive(frame(b"abcd", fragment=0x4000))  # may not be fragmented
    assert {key.port: one.packets for key, one in meter.streams().items()} == {0: 3, PORT: 1}
    assert [one.numbers is None for key, one in sorted(meter.streams().items())] == [True, False]


def test_the_first_fragment_has_the_number_of_its_datagram(meter: Meter) -> None:
    meter.feed(FORMATS["cme-mdp3"])
    for number, fragment in ((1, 0x4000), (2, 0x2000), (0, 0x0001), (3, 0x4000)):
        meter.receive(frame(struct.pack("<I", number), fragment=fragment))
    found = {key.port: one for key, one in meter.streams().items()}
    assert {port: one.packets for port, one in found.items()} == {0: 1, PORT: 3}
    numbers = found[PORT].numbers
    assert numbers is not None
    assert (numbers.seen, numbers.open, numbers.gap_size) == (3, 0, 0)


def test_times_gaps_and_bursts(meter: Meter) -> None:
    begin = meter.now + 5
    gaps = [5, 0, 500_000, 400_000, 200_000, 3_000_000_000, 1023, 1024, 2048, 1 << 55, 2_000_000, 7_000_000, 999_999, 1]
    for gap in gaps:
        meter.receive(frame(b""), gap)
    found = meter.only()
    assert (found.packets, found.last) == (14, meter.now)
    assert (found.longest_gap, found.longest_gap_at) == (1 << 55, begin + sum(gaps[1:10]))
    buckets = [min(gap >> 10, (1 << 31) - 1).bit_length() for gap in gaps[1:]]
    assert found.gaps == tuple(buckets.count(bucket) for bucket in range(BUCKETS))
    assert (found.burst_1ms, found.burst_10ms) == (4, 5)


def test_datagrams_that_the_kernel_has_merged_are_packets_and_no_gap(meter: Meter) -> None:
    meter.feed(FORMATS["cme-mdp3"])
    meter.receive(frame(struct.pack("<I", 1)))
    meter.receive(frame(struct.pack("<I", 3)))
    meter.receive(frame(struct.pack("<I", 4)), merged=6)
    assert (meter.only().packets, meter.only().unnumbered, meter.only().burst_10ms) == (8, 6, 8)
    meter.receive(frame(struct.pack("<I", 10)))
    meter.receive(frame(struct.pack("<I", 12)))
    found = meter.only()
    assert found.numbers is not None
    assert (found.packets, found.unnumbered, sum(found.gaps)) == (10, 6, 4)
    assert (found.numbers.seen, found.numbers.missing, found.numbers.open, found.numbers.resets) == (4, 1, 1, 0)


def test_merged_datagrams_at_the_begin_are_no_gap(meter: Meter) -> None:
    meter.feed(FORMATS["cme-mdp3"])
    for number, merged in ((1, 3), (4, 0), (5, 1), (6, 2), (8, 2), (10, 0)):
        meter.receive(frame(struct.pack("<I", number)), merged=merged)
    found = meter.only()
    assert found.numbers is not None
    assert (found.packets, found.unnumbered, found.longest_gap) == (10, 7, 1_000_000)
    assert (found.numbers.seen, found.numbers.missing, found.numbers.open, found.numbers.resets) == (3, 0, 0, 0)


def test_packets_of_two_cpus_in_another_order_make_no_gap(meter: Meter) -> None:
    for after in (5, 3_000, -1_000, 2_000):
        meter.receive(frame(b""), after)
    found = meter.only()
    assert (found.packets, found.longest_gap, sum(found.gaps)) == (4, 3_000, 2)


def test_what_the_map_has_no_room_for_is_counted() -> None:
    small = Meter(entries=4)
    for port in range(1, 30):
        small.receive(frame(b"", port=port))
    kept = small.streams()
    total = bpf.lookup(small.maps["totals"], bytes(4), 8)
    assert total is not None
    assert int.from_bytes(total, "little") == 29 - len(kept) > 0
    small.close()


def test_a_feed_may_be_for_every_port_of_a_group(meter: Meter) -> None:
    group = IPv4Address("239.9.9.9")
    meter.feed(Sequence(Field(0, 4)), group, 0)
    meter.feed(Sequence(Field(4, 4)), group, 7)
    for port in (6, 7):
        for number in (3, 5):
            meter.receive(frame(bytes((number, 0, 0, 0, number + port, 0, 0, 0)), group=group, port=port))
    numbers = {key.port: one.numbers for key, one in meter.streams().items()}
    assert {port: one and (one.next, one.open, one.gap_size) for port, one in numbers.items()} == {
        6: (6, 1, 1), 7: (13, 1, 1),
    }  # fmt: skip


def test_a_feed_may_be_a_range_and_the_smallest_range_is_found(meter: Meter) -> None:
    for groups, offset in (("239.8.0.0/16", 4), ("239.8.8.0/24", 0), ("239.8.8.8/32", 8)):
        meter.feed(Sequence(Field(offset, 4)), IPv4Network(groups), 0)
    for group in ("239.8.8.8", "239.8.8.9", "239.8.9.1", "239.9.1.1"):
        meter.receive(frame(struct.pack("<III", 5, 7, 9), group=IPv4Address(group)))
    found = {str(key.group): one.numbers and one.numbers.next for key, one in meter.streams().items()}
    assert found == {"239.8.8.8": 10, "239.8.8.9": 6, "239.8.9.1": 8, "239.9.1.1": None}


def test_a_packet_too_short_for_a_number_has_none(meter: Meter) -> None:
    meter.feed(Sequence(Field(2, 4)))
    meter.receive(frame(b"\1\0\0\0\0"))
    meter.receive(frame(b"\1\0\1\0\0\0"))
    found = meter.only()
    assert found.numbers is not None
    assert (found.packets, found.unnumbered, found.numbers.seen) == (2, 1, 1)


def test_the_units_of_pitch_are_sequences_of_their_own(meter: Meter) -> None:
    meter.feed(FORMATS["pitch"])
    for unit, number, count in ((1, 1, 3), (2, 7, 1), (1, 4, 1), (0, 0, 2), (2, 9, 1), (1, 5, 0), (1, 0, 1), (1, 8, 0)):
        meter.receive(frame(BUILDERS["pitch"](Packet(number, count, unit=unit))))
    found = {key.unit: one for key, one in meter.streams().items()}
    assert found[0].numbers is None
    assert found[0].unnumbered == 1
    assert found[1].numbers is not None
    assert found[2].numbers is not None
    assert (found[1].numbers.seen, found[1].numbers.open, found[1].numbers.next, found[1].unnumbered) == (4, 3, 8, 1)
    assert (found[2].numbers.seen, found[2].numbers.open, found[2].numbers.gap_size) == (2, 1, 1)


# How far the next packet's number is from the one that is expected, and how many messages it has.
steps = st.lists(
    st.tuples(
        st.one_of(
            st.just(0),
            st.integers(-5, 5),
            st.integers(-70, 70),
            st.sampled_from([-1025, -1024, -1023, 1023, 1024, 1025, 2049, 64, -64, 63]),
            st.integers(-3000, 3000),
            st.integers(-(1 << 63), 1 << 63),
        ),
        st.one_of(st.just(1), st.integers(0, 5), st.integers(0, 200), st.sampled_from([1023, 1024, 1025, 2500])),
        st.sampled_from([0] * 20 + [1]),
    ),
    max_size=60,
)
fields = st.tuples(st.sampled_from([2, 4, 8]), st.booleans(), st.integers(0, 40))


def compare(meter: Meter, sequence: Sequence, build: object, moves: list[tuple[int, int, int]], largest: int) -> None:
    """Send a feed, and see after each packet that the meter knows what the model knows."""
    meter.clear()
    meter.feed(sequence)
    bits = 8 * sequence.number.size
    model, session = Model(bits), 0
    for move, count, other in moves:
        session += other
        count = 1 if sequence.count is None else min(count, largest)
        number = (model.next + move) % (1 << bits)
        if sequence.zero_is_unsequenced and not number:
            continue
        name = session if sequence.session else 0
        meter.receive(frame(build(Packet(number, count, name))))  # type: ignore[operator]
        model.packet(number, count, str(name).encode(), meter.now)
        found, expected = meter.only().numbers, model.numbers()
        assert found is not None
        assert replace(found, next=found.next % (1 << bits)) == replace(expected, next=expected.next % (1 << bits))


@settings(max_examples=150, deadline=None)
@given(where=fields, count=st.one_of(st.none(), st.tuples(st.sampled_from([1, 2, 4]), st.booleans())), moves=steps)
def test_any_sequence_is_counted_as_the_model_counts_it(
    loaded: Meter, where: tuple[int, bool, int], count: tuple[int, bool] | None, moves: list[tuple[int, int, int]]
) -> None:
    size, big, offset = where
    counts = None if count is None else Field(50, count[0], count[1])
    sequence = Sequence(Field(offset, size, big), counts)
    largest = 0xFFFF if count is None else min((1 << 8 * count[0]) - 1, 2500)
    compare(loaded, sequence, lambda packet: custom(sequence, packet), moves, largest)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60, deadline=None)
@given(moves=steps)
def test_every_format_is_counted_as_the_model_counts_it(
    loaded: Meter, name: str, moves: list[tuple[int, int, int]]
) -> None:
    compare(loaded, FORMATS[name], BUILDERS[name], moves, 250)


def test_the_end_of_a_session_reveals_what_is_missing(meter: Meter) -> None:
    meter.feed(FORMATS["moldudp64"])
    meter.receive(frame(BUILDERS["moldudp64"](Packet(1, 5))))
    meter.receive(frame(BUILDERS["moldudp64"](Packet(9, is_end=True))))
    numbers = meter.only().numbers
    assert numbers is not None
    assert (numbers.seen, numbers.open, numbers.gap_size, numbers.resets) == (5, 3, 3, 0)
