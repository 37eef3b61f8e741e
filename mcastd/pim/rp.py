"""Which rendezvous point serves a group (RFC 7761, section 4.7): static, from Bootstrap messages, or from Auto-RP."""

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Final

from mcastd.config.model import Pim, RpSource
from mcastd.net.prefix_table import PrefixTable, longest_match, prefix_table
from mcastd.pim.auto_rp_cache import AutoRpCache
from mcastd.pim.bootstrap_rps import RpSet

RP_SOURCES: Final[tuple[RpSource, ...]] = ("static", "bootstrap", "auto_rp")
"""The order of preference where none is configured."""


class RpMap:
    """RP(G) on one interface, out of all sources in the order of preference."""

    def __init__(self, config: Pim) -> None:
        self.bootstrap = RpSet()
        self.auto_rp = AutoRpCache()
        self._static: PrefixTable[IPv4Address] = {}
        self._ssm: PrefixTable[bool] = {}  # the source-specific ranges
        self._order: list[Callable[[IPv4Address], IPv4Address | None]] = []  # the sources, the most preferred first
        self.configure(config)

    def configure(self, config: Pim) -> None:
        """Apply a changed configuration; with Bootstrap turned off, what was learned by it is forgotten."""
        ranges = [(groups, rp.address) for rp in config.rp for groups in rp.groups]
        # Of several for one range the highest address, as Cisco does.
        self._static = prefix_table(sorted(ranges, key=lambda entry: entry[1], reverse=True))
        self._ssm = prefix_table((groups, True) for groups in config.ssm_ranges)
        if not config.bootstrap:
            self.bootstrap.clear()
        self.auto_rp.accept(config.auto_rp_agents)
        sources: dict[RpSource, Callable[[IPv4Address], IPv4Address | None]] = {
            "static": lambda group: longest_match(self._static, group),
            "bootstrap": self.bootstrap.rp,
        }
        if config.auto_rp:
            sources["auto_rp"] = self.auto_rp.rp
        self._order = [sources[name] for name in dict.fromkeys((*config.rp_preference, *RP_SOURCES)) if name in sources]

    def is_ssm(self, group: IPv4Address) -> bool:
        """Whether the group is source-specific here: (S,G) only, no rendezvous point (section 4.8)."""
        return longest_match(self._ssm, group) is not None

    def rp(self, group: IPv4Address) -> IPv4Address | None:
        """RP(G) (section 4.7.1): of the most preferred source that has one."""
        if self.is_ssm(group):
            return None
        for source in self._order:
            if (rp := source(group)) is not None:
                return rp
        return None
