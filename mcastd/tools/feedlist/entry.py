"""What a list has: one address of a feed, with its side; and what of it is not imported. Pure."""

from ipaddress import AddressValueError, IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

import msgspec

from mcastd.config.report import shown
from mcastd.config.value_types import LINK_LOCAL_GROUPS
from mcastd.errors import ConfigError, ConfigProblem

LARGEST: Final = 16 << 20
"""Bytes of a list."""


class Entry(msgspec.Struct, frozen=True):
    """A multicast address of a feed.

    ``side`` is ``A``, ``B`` or something else that distinguishes it, also empty. ``sequence`` is the name of its
    format; None: not known, or its numbers begin again all the time, as those of snapshots. ``sources`` is empty if not
    known, ``about`` what the list says of it in words.
    """

    name: str
    side: str
    group: IPv4Address
    port: int | None
    sources: tuple[IPv4Address, ...]
    sequence: str | None
    about: str
    line: int


class Source:
    """A file that is imported, and what is not imported of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[ConfigProblem] = []

    def note(self, line: int, what: str, why: str) -> None:
        """Note what is not imported."""
        self.notes.append(ConfigProblem(str(self.path), line, what, why))

    def refused(self, line: int, why: str, what: str = "") -> ConfigError:
        """The error for a file that makes no sense."""
        return ConfigError((ConfigProblem(str(self.path), line, what, why),))

    def group(self, text: str, line: int, what: str) -> IPv4Address | None:
        """A multicast address; None, with a note, for what cannot be joined. Raises ConfigError for nonsense."""
        if not text:
            self.note(line, what, "it has no address")
            return None
        address = self._address(text, line, what)
        if address is None:
            self.note(line, what, f"{text} is IPv6")
        elif not address.is_multicast:
            self.note(line, what, f"{address} is no multicast address")
        elif address in LINK_LOCAL_GROUPS:
            self.note(line, what, f"{address} is in {LINK_LOCAL_GROUPS}, which never leaves its link")
        else:
            return address
        return None

    def port(self, text: str, line: int, what: str) -> int | None:
        """A UDP port; None if there is none. Raises ConfigError."""
        if not text:
            return None
        if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535):
            raise self.refused(line, f"{shown(text)} is no port; allowed: 1 to 65535", what)
        return int(text)

    def senders(self, texts: list[str], line: int, what: str) -> tuple[IPv4Address, ...]:
        """Sources, each once; 0.0.0.0 and nothing are none. Raises ConfigError."""
        found: dict[IPv4Address, None] = {}
        for text in filter(None, texts):
            address = self._address(text, line, what)
            if address is not None and not address.is_unspecified:
                if address.is_multicast or address.is_reserved:
                    raise self.refused(line, f"{address} is no address of a source; allowed: a unicast address", what)
                found[address] = None
        return tuple(sorted(found))

    def _address(self, text: str, line: int, what: str) -> IPv4Address | None:
        """None for IPv6."""
        try:
            return IPv4Address(text)
        except ValueError:
            pass
        try:
            IPv6Address(text)
        except AddressValueError:
            raise self.refused(line, f"{shown(text)} is no address; allowed: as in 239.1.1.1", what) from None
        return None
