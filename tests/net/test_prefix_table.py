"""Values by range of addresses: the longest range decides."""

from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from mcastd.net.prefix_table import in_ranges, longest_match, prefix_table

GROUP = IPv4Address("239.1.2.3")
NETWORKS = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(lambda pair: IPv4Network(pair, strict=False))


def test_of_two_values_for_a_range_the_first_counts() -> None:
    ranges = [IPv4Network("239.0.0.0/8"), IPv4Network("239.1.0.0/16"), IPv4Network("239.1.0.0/16")]
    table = prefix_table(zip(ranges, "abc", strict=True))
    assert longest_match(table, GROUP) == "b"
    assert longest_match(table, IPv4Address("239.2.0.0")) == "a"
    assert longest_match(table, IPv4Address("238.255.255.255")) is None


def test_a_value_of_none_hides_shorter_ranges() -> None:
    table = prefix_table([(IPv4Network("239.0.0.0/8"), "a"), (IPv4Network("239.1.0.0/16"), None)])
    assert longest_match(table, GROUP) is None


@given(st.lists(NETWORKS, max_size=20), st.integers(0, 2**32 - 1).map(IPv4Address))
def test_it_finds_what_a_search_through_all_ranges_finds(networks: list[IPv4Network], address: IPv4Address) -> None:
    holding = [network for network in networks if address in network]
    found = longest_match(prefix_table((network, network) for network in networks), address)
    assert found == max(holding, key=lambda network: network.prefixlen, default=None)
    assert in_ranges(address, networks) == bool(holding)
