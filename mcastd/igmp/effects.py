"""The effects of the machine, for the agent to carry out: queries to send, changes to pass on, and events to log."""

from dataclasses import dataclass
from ipaddress import IPv4Address

from mcastd.membership import DesiredGroup


@dataclass(frozen=True, slots=True)
class SendQuery:
    """Send ``payload``, a whole query."""

    destination: IPv4Address
    payload: bytes


@dataclass(frozen=True, slots=True)
class GroupChanged:
    """The hosts desire something else of a group than before; ``NOTHING``: nothing any more."""

    group: IPv4Address
    desired: DesiredGroup


@dataclass(frozen=True, slots=True)
class QuerierChanged:
    """Another router is the querier, or (None) we are."""

    querier: IPv4Address | None


@dataclass(frozen=True, slots=True)
class OlderQuerier:
    """A router queries with an older version than ours; hosts then report in that version, without sources."""

    querier: IPv4Address
    version: int


@dataclass(frozen=True, slots=True)
class LimitReached:
    """Reports of a host are not followed: ``limit`` is the name of what it exceeds, a reason in ``dropped``."""

    limit: str
    host: IPv4Address


Effect = SendQuery | GroupChanged | QuerierChanged | OlderQuerier | LimitReached
