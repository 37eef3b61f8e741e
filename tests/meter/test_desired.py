"""Which elements of the map are of feeds that have changed."""

from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from mcastd.meter.desired import FeedKey, of_any
from mcastd.meter.packet import KEY

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
