"""PIM routers on a segment where only hosts are expected. Pure."""

from ipaddress import IPv4Address
from typing import Final

HOLDTIME: Final = 105.0
"""Seconds for which a router counts as there after its last message (RFC 7761, section 4.11)."""
_MAX: Final = 16  # routers that are kept


class PimRouters:
    """Those whose PIM was heard."""

    def __init__(self) -> None:
        self._heard: dict[IPv4Address, float] = {}  # when last

    def heard(self, router: IPv4Address, now: float) -> bool:
        """A message of a router arrived; returns whether it was not there before."""
        is_new = router not in self.there(now)
        if router in self._heard or len(self._heard) < _MAX:
            self._heard[router] = now
            return is_new
        return False

    def there(self, now: float) -> tuple[IPv4Address, ...]:
        """The routers that are there."""
        return tuple(router for router, heard in self._heard.items() if heard + HOLDTIME > now)
