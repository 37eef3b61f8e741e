"""The names of groups: those of the feeds that they are of. Pure."""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Final

from mcastd.config.model import Feed
from mcastd.listed import with_names

_GROUP: Final = re.compile(r"(?<![\w.])2(?:2[4-9]|3\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}(?![\w./])")


class FeedNames:
    """Finds them at a cost that does not grow with the number of feeds."""

    def __init__(self, feeds: Iterable[Feed] = ()) -> None:
        # By how many bits of an address are not of a range: by the other bits, the names.
        self._ranges: dict[int, dict[int, dict[str, None]]] = {}
        for feed in feeds:
            for groups, _ in feed.places:
                bits = groups.max_prefixlen - groups.prefixlen
                of_size = self._ranges.setdefault(bits, {})
                of_size.setdefault(int(groups.network_address) >> bits, {})[feed.label] = None
        self._sizes = sorted(self._ranges)

    def of(self, group: IPv4Address) -> tuple[str, ...]:
        """The feeds of a group, on whatever port: those that name it, else those with the smallest range."""
        for bits in self._sizes:
            if names := self._ranges[bits].get(int(group) >> bits):
                return tuple(names)
        return ()

    def beside(self, text: str) -> str:
        """A text for people, with the feeds beside each group in it."""
        return _GROUP.sub(lambda group: with_names(group[0], self.of(IPv4Address(group[0]))), text)
