"""All that is known of one group, for ``mcastd status --group``: its fields are the keys of the JSON, and stable.

Addresses are text. Ages are seconds.
"""

from typing import Literal

from msgspec import Struct

from mcastd.status import GroupStatus, PathStatus, StreamStatus


class OriginStatus(Struct, frozen=True, kw_only=True):
    """One entry that something desires: ``origin`` does, on ``tunnel``, since ``age`` seconds.

    ``origin`` is ``file``, ``command``, ``application``, or the name of a downstream interface, for receivers there.
    """

    tunnel: str
    origin: str
    source: str | None
    age: float
    excluded: tuple[str, ...] = ()


class ReceiverStatus(Struct, frozen=True, kw_only=True):
    """One receiver: applications on this host, a host behind an interface, or an interface that always gets a group.

    ``age`` is since when, in seconds, if that is known. ``hosts``, where no single one is known, has no ``address``,
    nor has ``members``, those of a members file.
    """

    kind: Literal["application", "host", "hosts", "static", "members"]
    interface: str
    address: str | None = None
    age: float | None = None


class EntryStatus(Struct, frozen=True, kw_only=True):
    """An entry of the kernel's multicast routing: a group from a tunnel and a source (None: any), forwarded ``to``.

    ``packets`` and ``bytes`` matched it, of which ``wrong_interface`` packets came from elsewhere and were dropped;
    ``last_age`` is seconds since the last one, None before the first.
    """

    tunnel: str
    source: str | None
    to: tuple[str, ...]
    packets: int
    bytes: int
    wrong_interface: int
    last_age: float | None


class GroupReport(Struct, frozen=True, kw_only=True):
    """One group: what desires it, who receives it, where it is joined, what arrives of it, and what is forwarded.

    ``streams_problem`` is why streams are not counted. ``feeds`` are the names of its ``[[feeds]]``, on whatever port.
    """

    schema: int = 1
    group: str
    feeds: tuple[str, ...] = ()
    origins: tuple[OriginStatus, ...] = ()
    receivers: tuple[ReceiverStatus, ...] = ()
    paths: tuple[PathStatus, ...] = ()
    joins: tuple[GroupStatus, ...] = ()
    streams: tuple[StreamStatus, ...] = ()
    streams_problem: str | None = None
    forwarded: tuple[EntryStatus, ...] = ()
