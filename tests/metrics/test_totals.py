"""Sums over streams that come, go and begin again."""

from msgspec.structs import replace

from mcastd.metrics.totals import Totals, TunnelTotals
from mcastd.stream_status import StreamCount
from tests.metrics.samples import MEASURE, STREAM

OTHER = replace(STREAM, port=5001)


def summed(totals: Totals, *streams: StreamCount) -> TunnelTotals:
    totals.begin()
    for one in streams:
        totals.add(one)
    totals.end()
    return totals.of("gre1")


def test_nothing_is_summed_up_of_no_stream() -> None:
    assert summed(Totals()) == TunnelTotals(packets=0, bytes=0, dropped=0)


def test_what_is_not_measured_is_not_known() -> None:
    found = summed(Totals(), replace(STREAM, measured=()))
    assert (found.packets, found.bytes, found.dropped) == (100, 9000, 3)
    assert (found.fragments, found.missing, found.gaps) == (None, None, {})


def test_it_grows_by_what_each_stream_grows() -> None:
    totals = Totals()
    assert summed(totals, STREAM, OTHER).packets == 200
    assert summed(totals, replace(STREAM, packets=110), OTHER).packets == 210


def test_a_stream_that_is_gone_is_not_taken_back_and_counts_when_it_comes_again() -> None:
    totals = Totals()
    summed(totals, STREAM, OTHER)
    assert summed(totals, STREAM).packets == 200
    assert summed(totals, STREAM, replace(OTHER, packets=5)).packets == 205


def test_a_reset_is_not_taken_back() -> None:
    totals = Totals()
    summed(totals, STREAM)
    found = summed(totals, replace(STREAM, packets=7, bytes=70, dropped=0, measured=()))
    assert (found.packets, found.bytes, found.dropped, found.missing) == (107, 9070, 3, 5)


def test_what_is_not_measured_for_a_while_counts_once() -> None:
    totals = Totals()
    before = summed(totals, STREAM)
    assert summed(totals, replace(STREAM, packets=101, measured=())) == replace(before, packets=101)
    assert summed(totals, replace(STREAM, packets=102)) == replace(before, packets=102)


def test_what_is_measured_later_counts_from_then_on() -> None:
    totals = Totals()
    summed(totals, replace(STREAM, measured=()))
    assert summed(totals, STREAM).missing == 5


def test_units_are_summed_up() -> None:
    found = summed(Totals(), replace(STREAM, measured=(MEASURE, replace(MEASURE, unit=2, numbers=None))))
    assert (found.unnumbered, found.missing, found.gaps["+Inf"]) == (4, 5, 12)


def test_a_page_that_is_not_finished_counts_once() -> None:
    totals = Totals()
    totals.begin()
    totals.add(STREAM)
    assert summed(totals, STREAM, OTHER).packets == 200


def test_fragments_are_of_a_source_in_a_group_and_count_once_for_all_its_ports() -> None:
    totals, twice = Totals(), (replace(STREAM, fragments=2), replace(OTHER, fragments=2))
    assert summed(totals, *twice).fragments == 2
    assert summed(totals, replace(STREAM, fragments=5), replace(OTHER, fragments=5)).fragments == 5
    assert summed(totals, replace(STREAM, fragments=1), replace(OTHER, fragments=1)).fragments == 6  # after a reset


def test_what_was_measured_and_dropped_of_the_last_packets_counts_also_where_no_other_comes() -> None:
    totals, numbers = Totals(), MEASURE.numbers
    assert numbers is not None
    summed(totals, STREAM)
    later = replace(MEASURE, packets=MEASURE.packets + 1, numbers=replace(numbers, missing=numbers.missing + 45))
    found, before = summed(totals, replace(STREAM, dropped=9, measured=(later,))), STREAM
    assert (found.packets, found.dropped) == (before.packets, 9)
    assert found.missing == numbers.missing + 45
