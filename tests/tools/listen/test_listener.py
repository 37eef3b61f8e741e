"""Packets of one side and of two, and what is reported of them."""

import struct

import pytest
from msgspec.structs import replace

from mcastd.config.feed_formats import FORMATS
from mcastd.tools.listen.listener import Buffer, Listener, Packet, Side, missing
from mcastd.tools.listen.report import ListenReport
from tests.meter.feeds import BUILDERS
from tests.meter.feeds import Packet as Numbered

A = Side("239.1.1.1", 5000, "gre1", None, "trades", FORMATS["cme-mdp3"])
B = replace(A, group="239.2.1.1", port=5001)
BUFFERS = Buffer(1000, 0), Buffer(1000, 0)
SECOND = 1_000_000_000


def heard(
    *numbers: tuple[int, int], sides: tuple[Side, ...] = (A,), buffers: tuple[Buffer, ...] = BUFFERS
) -> ListenReport:
    """The report on packets, each with its side and its number, one a second."""
    listener = Listener(sides)
    for second, (side, number) in enumerate(numbers):
        listener.packet(side, Packet(second * SECOND, "10.1.1.1", 30000, struct.pack("<I", number)))
    return listener.report(10.0, float(len(numbers)), buffers[: len(sides)])


def test_one_side() -> None:
    found = heard((0, 1), (0, 2), (0, 5), (0, 5))
    (side,) = found.sides
    (source,) = side.sources
    (measured,) = source.measured
    assert (found.schema, found.seconds, found.lost, found.pairs) == (1, 10.0, True, ())
    assert (side.group, side.port, side.interface, side.feed) == ("239.1.1.1", 5000, "gre1", "trades")
    assert (side.packets, side.bytes, side.rate, side.bit_rate) == (4, 128, 0.4, 102.4)
    assert (side.receive_buffer, side.dropped, side.others, side.arrived) == (1000, 0, 0, ())
    assert (source.source, source.port, source.jitter, source.first_bytes) == ("10.1.1.1", 30000, 0.0, "05 00 00 00")
    assert (measured.packets, measured.longest_gap, measured.longest_gap_age, measured.burst_1ms) == (4, 1.0, 3.0, 1)
    assert measured.numbers is not None
    assert (measured.numbers.seen, measured.numbers.awaited, measured.numbers.duplicate) == (4, 2, 1)
    assert (measured.numbers.last_gap, measured.numbers.last_gap_age) == (2, 2.0)
    assert missing(side) == 2


@pytest.mark.parametrize(
    ("found", "lost"),
    [
        (heard(), True),
        (heard((0, 1), (0, 2)), False),
        (heard((0, 1), (0, 3)), True),
        (heard((0, 2), (0, 1)), False),  # late
        (heard((0, 1), (0, 3), sides=(replace(A, sequence=None),)), False),
        (heard((0, 1), (0, 2), buffers=(Buffer(1000, 7),)), True),
        (heard((0, 1), (0, 2), sides=(A, B)), True),  # B is silent
        (heard((0, 1), (1, 1), (0, 2), (1, 3), (0, 4), sides=(A, B)), False),  # each has what the other one lost
        (heard((0, 1), (1, 1), (0, 3), (1, 3), sides=(A, B)), True),
        (heard((0, 1), (1, 1), (0, 3), (1, 2), sides=(A, B), buffers=(Buffer(1, 0), Buffer(1, 1))), False),
        (heard((0, 1), (0, 3), (1, 5000), sides=(A, B)), True),  # too far apart to be compared
    ],
)
def test_what_counts_as_lost(found: ListenReport, lost: bool) -> None:
    assert found.lost is lost


def test_a_pair_is_compared_and_named() -> None:
    (pair,) = heard((0, 1), (1, 1), (0, 2), (1, 3), (0, 4), sides=(A, B)).pairs
    assert (pair.feed, pair.a, pair.b, pair.unit) == ("trades", "239.1.1.1:5000", "239.2.1.1:5001", 0)
    assert (pair.compared, pair.awaited_a, pair.awaited_b, pair.awaited_both) == (3, 1, 2, 0)
    (none,) = heard(sides=(replace(A, feed=None), B)).pairs
    assert (none.feed, none.compared) == ("239.1.1.1", 0)


def test_units_are_streams_and_pairs_of_their_own() -> None:
    sides = replace(A, sequence=FORMATS["pitch"]), replace(B, sequence=FORMATS["pitch"])
    listener = Listener(sides)
    for number in range(1, 5):
        for side in (0, 1):
            for unit in (1, 2):
                if (unit, side, number) != (2, 1, 3):
                    payload = BUILDERS["pitch"](Numbered(number + 100 * unit, unit=unit))
                    listener.packet(side, Packet(number, "10.1.1.1", 1, payload))
    found = listener.report(1.0, 1.0, BUFFERS)
    assert [one.unit for one in found.sides[0].sources[0].measured] == [1, 2]
    assert [missing(one) for one in found.sides] == [0, 1]
    assert [(one.unit, one.compared, one.awaited_b, one.lost_b) for one in found.pairs] == [(1, 3, 0, 0), (2, 3, 1, 0)]


def test_sources_are_counted_apart_and_not_without_a_limit() -> None:
    listener = Listener((A,))
    for number in range(300):
        listener.packet(0, Packet(number, f"10.1.{number // 256}.{number % 256}", 1, struct.pack("<I", number)))
    (side,) = listener.report(1.0, 1.0, BUFFERS[:1]).sides
    assert (len(side.sources), side.packets, side.others) == (256, 256, 44)
    assert missing(side) == 0
