"""The names of groups: those of their feeds."""

from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from mcastd.config.feed_formats import FORMATS
from mcastd.config.feed_names import FeedNames
from mcastd.config.model import Feed
from mcastd.config.value_types import GroupPort
from mcastd.listed import with_names

A, B = GroupPort(IPv4Address("239.1.1.1")), GroupPort(IPv4Address("239.1.1.2"), 5000)
FEEDS = (
    Feed(label="all", groups=(IPv4Network("239.1.0.0/16"),)),
    Feed(label="pair", pair=(A, B), sequence=FORMATS["pitch"]),
    Feed(label="quotes", groups=(IPv4Network("239.1.1.1/32"), IPv4Network("239.1.2.0/24")), port=7),
)


def test_of_a_group_those_that_name_it_else_those_with_the_smallest_range() -> None:
    names = FeedNames(FEEDS)
    assert names.of(A.group) == ("pair", "quotes")
    assert names.of(B.group) == ("pair",)
    assert names.of(IPv4Address("239.1.2.9")) == ("quotes",)
    assert names.of(IPv4Address("239.1.3.1")) == ("all",)
    assert names.of(IPv4Address("239.2.1.1")) == ()
    assert FeedNames().of(A.group) == ()


def test_a_text_gets_the_names_beside_its_groups() -> None:
    names = FeedNames(FEEDS)
    assert names.beside("join (*, 239.1.1.1), 239.1.1.2:5000; 1239.1.1.1 239.1.1.1/32 239.1.1.1.1 239.1.1.256") == (
        "join (*, 239.1.1.1 (pair, quotes)), 239.1.1.2 (pair):5000; 1239.1.1.1 239.1.1.1/32 239.1.1.1.1 239.1.1.256"
    )


def test_a_group_with_its_names() -> None:
    assert with_names(A.group, ("pair", "quotes")) == "239.1.1.1 (pair, quotes)"
    assert with_names(A.group, ()) == "239.1.1.1"


@given(ranges=st.lists(st.tuples(st.integers(0, 255), st.integers(24, 32)), max_size=8), last=st.integers(0, 255))
def test_the_smallest_range_is_found(ranges: list[tuple[int, int]], last: int) -> None:
    networks = [IPv4Network((f"239.1.1.{first}", length), strict=False) for first, length in ranges]
    group = IPv4Address(f"239.1.1.{last}")
    found = FeedNames(Feed(label=str(number), groups=(one,)) for number, one in enumerate(networks)).of(group)
    smallest = max((one.prefixlen for one in networks if group in one), default=None)
    assert found == tuple(
        str(number) for number, one in enumerate(networks) if group in one and one.prefixlen == smallest
    )
