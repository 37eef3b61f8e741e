"""Which rendezvous point serves a group (RFC 7761, section 4.7): static ranges, or what Bootstrap messages said."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from mcastd.config.model import Pim, RpPreference, RpRange
from mcastd.pim.bsr import RpSet
from mcastd.pim.mapping import MappingCache


class StaticRps:
    """Configured rendezvous points: the longest range that holds the group, then the highest address, as Cisco does."""

    def __init__(self, configured: Iterable[RpRange]) -> None:
        ranges = [(net, rp.address) for rp in configured for net in rp.groups]
        ranges.sort(key=lambda item: (item[0].prefixlen, item[1]), reverse=True)
        self._ranges = [(*_numbers(net), address) for net, address in ranges]

    def rp(self, group: IPv4Address) -> IPv4Address | None:
        """The RP of a group; None if no range holds it."""
        number = int(group)
        for mask, net, address in self._ranges:
            if number & mask == net:
                return address
        return None


class RpMap:
    """RP(G) on one interface: configured, ``learned``, or none for source-specific groups.

    What was ``heard`` of Auto-RP decides nothing.
    """

    def __init__(self, config: Pim) -> None:
        self.learned = RpSet()
        self.heard = MappingCache()
        self.configure(config)

    def configure(self, config: Pim) -> None:
        """Take a changed configuration over; with Bootstrap turned off, what was learned is forgotten."""
        self._static = StaticRps(config.rp)
        self._preference: RpPreference = config.rp_preference
        self._ssm_ranges = [_numbers(net) for net in config.ssm_ranges]
        if not config.bootstrap:
            self.learned.clear()

    def is_ssm(self, group: IPv4Address) -> bool:
        """Whether the group is source-specific here: (S,G) only, no rendezvous point (section 4.8)."""
        number = int(group)
        return any(number & mask == net for mask, net in self._ssm_ranges)

    def rp(self, group: IPv4Address) -> IPv4Address | None:
        """RP(G) (section 4.7.1)."""
        if self.is_ssm(group):
            return None
        return choose_rp(self._static.rp(group), self.learned.rp(group), self._preference)


def choose_rp(
    static: IPv4Address | None, bootstrap: IPv4Address | None, preference: RpPreference
) -> IPv4Address | None:
    """The RP of the preferred kind where there is one, else of the other."""
    first, second = (static, bootstrap) if preference == "static" else (bootstrap, static)
    return first or second


def _numbers(net: IPv4Network) -> tuple[int, int]:
    """A range as mask and address: comparing numbers costs a tenth of asking the range."""
    return int(net.netmask), int(net.network_address)


def in_ranges(group: IPv4Address, ranges: tuple[IPv4Network, ...]) -> bool:
    """Whether any of the ranges holds the group."""
    return any(group in net for net in ranges)
