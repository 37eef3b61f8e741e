"""Which rendezvous point serves a group (RFC 7761, section 4.7): static ranges, or what Bootstrap messages said."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from mcastd.config.model import RpPreference, RpRange


class StaticRps:
    """Configured rendezvous points: the longest range that holds the group, then the highest address, as Cisco does."""

    def __init__(self, configured: Iterable[RpRange]) -> None:
        ranges = [(net, rp.address) for rp in configured for net in rp.groups]
        ranges.sort(key=lambda item: (item[0].prefixlen, item[1]), reverse=True)
        self._ranges = [(int(net.netmask), int(net.network_address), address) for net, address in ranges]

    def rp(self, group: IPv4Address) -> IPv4Address | None:
        """The RP of a group; None if no range holds it."""
        number = int(group)
        for mask, net, address in self._ranges:
            if number & mask == net:
                return address
        return None


def choose_rp(
    static: IPv4Address | None, bootstrap: IPv4Address | None, preference: RpPreference
) -> IPv4Address | None:
    """RP(G): the preferred kind where it knows one, else the other."""
    first, second = (static, bootstrap) if preference == "static" else (bootstrap, static)
    return first or second


def in_ranges(group: IPv4Address, ranges: tuple[IPv4Network, ...]) -> bool:
    """Whether any of the ranges holds the group."""
    return any(group in net for net in ranges)
