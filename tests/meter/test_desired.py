"""Which elements of the map are of feeds that have changed."""

from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from mcastd.config.feed_formats import FORMATS
from mcastd.config.model import Feed
from mcastd.config.value_types import GroupPort
from mcastd.meter.desired import FeedKey, of_any, sequences_of, sides_of
from mcastd.meter.packet import KEY, PairSide

addresses = st.integers(0, 20).map(lambda number: IPv4Address("239.1.1.0") + number)
ports = st.integers(1, 3)
feeds = st.builds(
    lambda address, length, port: FeedKey(IPv4Network((address, length), strict=False), port),
    addresses, st.sampled_from([8, 28, 30, 32]), st.just(0) | ports,
)  # fmt: skip


@given(st.lists(feeds, max_size=8), addresses, ports)
def test_an_element_is_of_a_feed_by_its_group_and_port(changed: list[FeedKey], group: IPv4Address, port: int) -> None:
    key = KEY.pack(3, IPv4Address("10.0.0.1").packed, group.packed, port, 7)
    expected = any(group in feed.groups and feed.port in (0, port) for feed in changed)
    assert of_any(changed)(key, b"") is expected


def test_of_two_feeds_for_the_same_groups_and_port_the_first_holds() -> None:
    groups, ranges = IPv4Network("239.1.1.1/32"), IPv4Network("239.1.0.0/16")
    feeds = (
        Feed(label="a", groups=(groups, ranges), sequence=FORMATS["rtp"]),
        Feed(label="b", groups=(groups,), sequence=FORMATS["pitch"]),
        Feed(label="c", groups=(groups,), port=5, sequence=FORMATS["moldudp64"]),
        Feed(label="d", groups=(groups,), port=6),
    )
    assert sequences_of(feeds) == {
        FeedKey(groups, 5): FORMATS["moldudp64"],
        FeedKey(groups): FORMATS["rtp"],
        FeedKey(ranges): FORMATS["rtp"],
    }


def test_a_pair_is_two_groups_of_the_feed_with_their_ports() -> None:
    a, b = IPv4Address("239.1.1.1"), IPv4Address("239.2.1.1")
    sides = GroupPort(a, 7), GroupPort(b, 8)
    ported = Feed(label="x", groups=(IPv4Network("239.3.0.0/16"),), sequence=FORMATS["rtp"], pair=sides)
    keys = FeedKey(IPv4Network(a), 7), FeedKey(IPv4Network(b), 8)
    assert sequences_of([ported]).keys() == {*keys, FeedKey(IPv4Network("239.3.0.0/16"))}
    assert sides_of([ported]) == {keys[0]: PairSide(1, a, 7), keys[1]: PairSide(2, a, 7)}
    ports = Feed(label="z", sequence=FORMATS["rtp"], pair=(GroupPort(a, 7), GroupPort(a, 8)))
    keys = FeedKey(IPv4Network(a), 7), FeedKey(IPv4Network(a), 8)
    assert sequences_of([ports]).keys() == sides_of([ports]).keys() == set(keys)
    plain = Feed(
        label="y", groups=(IPv4Network(a),), port=9, sequence=FORMATS["rtp"], pair=(GroupPort(a), GroupPort(b))
    )
    keys = FeedKey(IPv4Network(a), 9), FeedKey(IPv4Network(b), 9)
    assert sequences_of([plain]).keys() == set(keys)
    assert sides_of([plain]) == {keys[0]: PairSide(1, a, 9), keys[1]: PairSide(2, a, 9)}
