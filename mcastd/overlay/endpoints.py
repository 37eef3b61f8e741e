"""Which endpoints may take part in an overlay, which our queries go to, and by which each host is reached. Pure."""

from collections.abc import Iterable
from ipaddress import IPv4Address

from mcastd.config.downstream import ASKED_UNSEEN, Overlay
from mcastd.net.prefix_table import in_ranges
from mcastd.net.vxlan import Forwarding


class Endpoints:
    """``learned`` has by the Ethernet address of each host the endpoint behind which it is."""

    def __init__(self, config: Overlay) -> None:
        self._config = config
        self._asked = frozenset(
            address
            for prefix in config.members
            if prefix.num_addresses <= ASKED_UNSEEN
            for address in (prefix.hosts() if prefix.prefixlen < 31 else prefix)
            if address != config.local
        )
        self.learned: dict[bytes, IPv4Address] = {}

    def admits(self, endpoint: IPv4Address) -> bool:
        """Whether an endpoint may take part."""
        return in_ranges(endpoint, self._config.members) and endpoint != self._config.local

    def learn(self, mac: bytes, endpoint: IPv4Address) -> bool:
        """A host is behind an endpoint; returns whether it may take part there."""
        if self.admits(endpoint):
            self.learned[mac] = endpoint
            return True
        return False

    def replace(self, entries: Iterable[Forwarding]) -> bool:
        """All that the kernel has learned; returns whether that differs from what was known."""
        found = {one.mac: one.endpoint for one in entries if one.learned and self.admits(one.endpoint)}
        has_changed, self.learned = found != self.learned, found
        return has_changed

    @property
    def asked(self) -> frozenset[IPv4Address]:
        """The endpoints that our queries go to."""
        return self._asked | frozenset(self.learned.values())
