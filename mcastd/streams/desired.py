"""What the streams agent is configured with, and what it shows to the other agents. Pure."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import TypeAlias

import msgspec

from mcastd.config.feed_names import FeedNames
from mcastd.config.model import Config
from mcastd.net.xfrm import Sa
from mcastd.status import ArrivalState
from mcastd.streams.feeds import WantedSince, never_wanted


def no_stream(_tunnel: str, _source: IPv4Address | None, _group: IPv4Address) -> bool:
    """Where there are no streams."""
    return False


def nothing_lost() -> Mapping[str, int]:
    """Where mcastd carries nothing itself."""
    return {}


def no_sas() -> Mapping[str, Sa]:
    """Where there is no CHILD_SA."""
    return {}


Numbers: TypeAlias = Callable[[], Awaitable[Mapping[tuple[str, bytes, bytes, int], tuple[int, int]]]]
"""How many sequence numbers of a stream came, and how many did not, by tunnel, source, group and port."""


async def no_numbers() -> Mapping[tuple[str, bytes, bytes, int], tuple[int, int]]:
    """Where nothing has sequence numbers."""
    return {}


@dataclass(frozen=True, slots=True)
class StreamsDesired:
    """The tunnels and CHILD_SAs to count for, and what is expected to arrive on them.

    ``children`` is by the CHILD_SA's name how often it came up, without those that are down; ``joins`` by the tunnel's
    name how many joins are desired on it; ``is_joined`` says of a tunnel, a source and a group whether it is by a join,
    ``wanted_since`` of a group since when it has been wanted on any tunnel, ``sas`` by the CHILD_SA's name by which SA
    each that is up receives now, ``lost`` what mcastd itself has dropped, by the name of a counter,
    ``numbers`` how many sequence numbers of each stream came.
    """

    config: Config = field(default_factory=Config)
    children: Mapping[str, int] = field(default_factory=dict)
    joins: Mapping[str, int] = field(default_factory=dict)
    is_joined: Callable[[str, IPv4Address | None, IPv4Address], bool] = field(default=no_stream, compare=False)
    wanted_since: WantedSince = field(default=never_wanted, compare=False)
    sas: Callable[[], Mapping[str, Sa]] = field(default=no_sas, compare=False)
    lost: Callable[[], Mapping[str, int]] = field(default=nothing_lost, compare=False)
    numbers: Numbers = field(default=no_numbers, compare=False)


class StreamsSnapshot(msgspec.Struct, frozen=True):
    """What status shows: the state of what has arrived, by tunnel, source (None: any) and group as text.

    ``problem`` is why it is not known; then mcastd has only the counters of the tunnels' interfaces. ``names`` has
    those of groups, ``fragments`` how many packets went in fragments to an interface whose gateway drops them.
    """

    groups: Mapping[tuple[str, str | None, str], ArrivalState] = msgspec.field(default_factory=dict)
    problem: str | None = None
    names: FeedNames = msgspec.field(default_factory=FeedNames)
    fragments: Mapping[str, int] = msgspec.field(default_factory=dict)


class TunnelArrival(msgspec.Struct, frozen=True):
    """What arrives on a tunnel.

    ``all_silent``: every stream that carried at least one packet a second is silent. ``silences`` is how often all of
    them fell silent together. ``receiving``: a packet within the last 70 s; where nftables is missing, of any kind.
    ``quiet``: packets came, and none for ``max_silence`` of ``[paths]``, at a time at which they are expected.
    """

    all_silent: bool = False
    silences: int = 0
    receiving: bool = False
    quiet: bool = False


class ChildArrival(msgspec.Struct, frozen=True):
    """What a CHILD_SA decrypts.

    ``seen``: a packet since it was established; ``quiet``: none for 3 s; ``receiving``: one within the
    last 40 s, or longer where the gaps between packets were long.
    """

    seen: bool = False
    quiet: bool = False
    receiving: bool = False
