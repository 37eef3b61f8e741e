"""Values by range of addresses, as a routing table has them: the longest range that holds an address decides."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import TypeAlias, TypeVar

Value = TypeVar("Value")
PrefixTable: TypeAlias = dict[int, dict[int, Value]]
"""By netmask, the longest first, then by network address; as integers, since ``address in network`` is much slower."""


def prefix_table(entries: Iterable[tuple[IPv4Network, Value]]) -> PrefixTable[Value]:
    """A table of ranges and their values; of two values for one range the first one counts."""
    table: PrefixTable[Value] = {}
    for network, value in sorted(entries, key=lambda entry: -entry[0].prefixlen):
        table.setdefault(int(network.netmask), {}).setdefault(int(network.network_address), value)
    return table


def longest_match(table: PrefixTable[Value], address: IPv4Address) -> Value | None:
    """The value of the longest range that holds the address; None if no range does."""
    number = int(address)
    for mask, networks in table.items():
        if number & mask in networks:
            return networks[number & mask]
    return None


def in_ranges(address: IPv4Address, ranges: Iterable[IPv4Network]) -> bool:
    """Whether any of the ranges holds the address."""
    return any(address in network for network in ranges)
