"""What is known of a group beforehand, and what mcastd counted meanwhile."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from msgspec.structs import replace

from mcastd.config.feed_formats import FORMATS
from mcastd.config.model import Feed
from mcastd.config.value_types import GroupPort
from mcastd.stream_status import StreamCount, StreamMeasure, StreamNumbers
from mcastd.tools.listen import known
from mcastd.tools.listen.listener import Side
from mcastd.tools.listen.report import TunnelCount

GROUP, OTHER, THIRD = (IPv4Address(one) for one in ("239.1.1.1", "239.1.1.2", "239.9.1.1"))
FEEDS = (
    Feed(label="all", groups=(IPv4Network("239.1.0.0/16"),), port=4000, sequence=FORMATS["rtp"]),
    Feed(label="any port", groups=(IPv4Network(GROUP),)),
    Feed(label="one", groups=(IPv4Network(GROUP),), port=5000),
    Feed(label="two", groups=(IPv4Network(OTHER),), port=5001),
    Feed(label="three", groups=(IPv4Network(OTHER),), port=5002, sequence=FORMATS["pitch"]),
    Feed(label="pair", pair=(GroupPort(THIRD, 7), GroupPort(IPv4Address("239.9.1.2"))), port=8),
)


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (GROUP, [5000]),
        (OTHER, [5001, 5002]),
        (THIRD, [7]),
        ("239.1.7.7", [4000]),
        ("239.9.1.2", [8]),
        ("239.4.1.1", []),
    ],
)
def test_the_ports_of_a_group(group: IPv4Address | str, expected: list[int]) -> None:
    assert known.ports(FEEDS, IPv4Address(group)) == expected


def test_the_feed_of_a_stream_and_its_format() -> None:
    assert known.name(FEEDS, GROUP, 5000) == "one"
    assert known.name(FEEDS, GROUP, 4000) == "any port"
    assert known.sequence(FEEDS, GROUP, 4000) == FORMATS["rtp"]
    assert known.sequence(FEEDS, GROUP, 5000) is None
    assert known.sequence(FEEDS, OTHER, 5002) == FORMATS["pitch"]
    assert known.name(FEEDS, THIRD, 8) is None
    assert known.name((), GROUP, 5000) is None


def stream(packets: int, missing: int | None = None) -> StreamCount:
    numbers = missing is not None and StreamNumbers(
        seen=packets, missing=missing, awaited=1, duplicate=0, late=0, resets=0
    )
    measure = StreamMeasure(
        unit=0, packets=packets, longest_gap=None, longest_gap_age=None, gaps=(), burst_1ms=0, burst_10ms=0,
        unnumbered=0, numbers=numbers or None,
    )  # fmt: skip
    return StreamCount(
        tunnel="gre1", source="10.1.1.1", group=str(GROUP), port=5000, state="arriving", packets=packets, bytes=0,
        rate=None, last_age=0.0, measured=(measure,),
    )  # fmt: skip


def test_what_arrived_between_two_answers() -> None:
    side = Side(str(GROUP), 5000, "gre1")
    others = (
        replace(stream(9), port=5001), replace(stream(9), tunnel="gre2"), replace(stream(9), source="10.1.1.0"),
    )  # fmt: skip
    found = known.arrived(side, [stream(5, 3)], [stream(25, 5), *others])
    assert found == (
        TunnelCount(tunnel="gre1", source="10.1.1.0", packets=9),
        TunnelCount(tunnel="gre1", source="10.1.1.1", packets=20, missing=2),
    )
    assert known.arrived(replace(side, source="10.1.1.9"), [], others) == ()
    assert known.arrived(side, [stream(5)], [stream(4)]) == ()  # it was reset
    assert known.arrived(side, [], [stream(4, 1)])[0].missing == 2
    (late,) = known.arrived(side, [stream(5, 3)], [stream(25, 1)])  # what was awaited came
    assert (late.packets, late.missing) == (20, 0)
