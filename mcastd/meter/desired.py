"""What the meter is configured with. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import NamedTuple

from mcastd.config.feed_formats import Sequence


class FeedKey(NamedTuple):
    """A feed: a range of groups and a port, or 0 for every port."""

    groups: IPv4Network
    port: int = 0


@dataclass(frozen=True, slots=True)
class MeterDesired:
    """Whether streams are measured, on which interfaces (their index by the tunnel's name), and what feeds they are."""

    enabled: bool = False
    links: Mapping[str, int] = field(default_factory=dict)
    feeds: Mapping[FeedKey, Sequence] = field(default_factory=dict)
