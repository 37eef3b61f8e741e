"""The effects of the machine, for the agent to carry out: queries to send, changes to pass on, and events to log."""

from ipaddress import IPv4Address

import msgspec

from mcastd.membership import DesiredGroup


class SendQuery(msgspec.Struct, frozen=True):
    """Send ``payload``, a whole query."""

    destination: IPv4Address
    payload: bytes


class GroupChanged(msgspec.Struct, frozen=True):
    """The hosts desire something else of a group than before; ``NOTHING``: nothing any more."""

    group: IPv4Address
    desired: DesiredGroup


class QuerierChanged(msgspec.Struct, frozen=True):
    """Another router is the querier, or (None) we are."""

    querier: IPv4Address | None


class OlderQuerier(msgspec.Struct, frozen=True):
    """A router queries with an older version than ours; hosts then report in that version, without sources."""

    querier: IPv4Address
    version: int


class LimitReached(msgspec.Struct, frozen=True):
    """Reports of a host are not followed: ``limit`` is the name of what it exceeds, a reason in ``dropped``."""

    limit: str
    host: IPv4Address


Effect = SendQuery | GroupChanged | QuerierChanged | OlderQuerier | LimitReached
