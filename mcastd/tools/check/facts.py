"""What the checks know of this host and of the time; collect.py observes it. Pure."""

from collections.abc import Mapping
from datetime import datetime
from ipaddress import IPv4Address
from pathlib import Path

import msgspec


class Interface(msgspec.Struct, frozen=True):
    """A network interface of this host; ``is_ours`` is whether mcastd has made it; ``mtu`` is in bytes, if known."""

    name: str
    addresses: tuple[IPv4Address, ...] = ()
    is_ours: bool = False
    mtu: int | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is not known is at its default, and no rule depends on it then.

    ``is_installed`` is whether the file is the one that the service reads. ``unreadable`` has what the user of the
    service cannot read: by path the first folder on the way, or the file itself, that denies it. ``charon`` is the
    version of strongSwan; ``has_vici`` whether its socket exists.
    """

    now: datetime
    is_installed: bool = False
    interfaces: tuple[Interface, ...] = ()
    unreadable: Mapping[Path, Path] = {}
    hidden: tuple[Path, ...] = ()  # folders that the service does not see
    has_service: bool = False  # whether the user of the service exists
    charon: str | None = None
    has_vici: bool | None = None
    lowest_port: int = 1024  # that a process without privileges may listen on

    @property
    def addresses(self) -> frozenset[IPv4Address]:
        """All addresses of this host."""
        return frozenset(address for one in self.interfaces for address in one.addresses)
