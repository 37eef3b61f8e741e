"""What the interface of a tunnel receives: all that is known where nftables is missing."""

import pytest

from mcastd.streams.interfaces import Interface
from mcastd.streams.monitor import Monitor
from tests.streams.test_monitor import CONFIG, codes, wanting


def receiving(rate: float, seconds: float, every: float) -> Interface:
    """An interface that receives packets at a rate, read again and again."""
    found = Interface("gre1", 0, 1000.0)
    for number in range(1, int(seconds / every) + 1):
        found.received(int(number * every * rate), 1000.0 + number * every)
    return found


@pytest.mark.parametrize("every", [0.1, 0.3, 0.5, 1.0, 1.5])
def test_how_often_it_is_read_makes_no_difference(every: float) -> None:
    assert receiving(10.0, 20.0, every).stream.busy
    assert 1020.0 - receiving(10.0, 20.0, every).stream.seen < 1.6
    assert not receiving(2.0, 20.0, every).stream.busy


def received(monitor: Monitor, rate: float, begin: float, end: float, already: int = 0) -> int:
    """Packets at a rate, read every second; returns how many there are."""
    packets = already
    for second in range(int(begin), int(end)):
        packets = already + int((second - begin) * rate)
        monitor.received({"gre1": packets}, float(second))
    return packets


@pytest.mark.parametrize(("rate", "expected"), [(0.0, {"nothing_ever_arrived"}), (0.05, set()), (1.0, set())])
def test_where_a_feed_cannot_be_told_from_hellos_any_packet_has_arrived(rate: float, expected: set[str]) -> None:
    monitor = wanting(CONFIG, joins=1)
    received(monitor, rate, 1000.0, 1100.0)
    assert codes(monitor, 1100.0) == expected
    assert monitor.arrivals(1100.0)["gre1"].receiving is bool(rate)


def test_it_is_not_silent_when_it_is_joined_again() -> None:
    monitor = wanting(CONFIG, joins=1)
    packets = received(monitor, 100.0, 1000.0, 1020.0)
    wanting(CONFIG, joins=0, monitor=monitor, now=1020.0)
    received(monitor, 0.0, 1020.0, 1040.0, packets)
    wanting(CONFIG, joins=1, monitor=monitor, now=1040.0)
    received(monitor, 0.0, 1040.0, 1050.0, packets)
    assert codes(monitor, 1050.0) == set()
