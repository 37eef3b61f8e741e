"""Which groups are followed, and why others are not. Pure."""

from ipaddress import IPv4Address

from mcastd.config.value_types import LOCAL_GROUPS
from mcastd.follow.settings import FollowedTunnel
from mcastd.membership import NOTHING, DesiredGroup
from mcastd.net.prefix_table import in_ranges
from mcastd.status import NotFollowedReason
from mcastd.wanted import can_send


def is_local(group: IPv4Address) -> bool:
    """Whether a group never leaves its link or site, so that nothing upstream is concerned."""
    return in_ranges(group, LOCAL_GROUPS)


def followed(tunnel: FollowedTunnel, group: IPv4Address, desired: DesiredGroup) -> DesiredGroup:
    """What of it is joined upstream."""
    if is_local(group) or group in tunnel.carried or _refusal(tunnel, group) is not None:
        return NOTHING
    sources = frozenset(one for one in desired.sources if can_send(one))
    if desired.any_source and in_ranges(group, tunnel.ssm_ranges):
        return DesiredGroup(sources=sources)
    return desired._replace(sources=sources)


def refusal(tunnel: FollowedTunnel, group: IPv4Address, desired: DesiredGroup) -> NotFollowedReason | None:
    """Why not all of it is joined upstream; None if all is, and for groups that are local or that the file carries."""
    if is_local(group) or desired == NOTHING or group in tunnel.carried:
        return None
    if (reason := _refusal(tunnel, group)) is not None:
        return reason
    return "source_specific" if desired.any_source and in_ranges(group, tunnel.ssm_ranges) else None


def _refusal(tunnel: FollowedTunnel, group: IPv4Address) -> NotFollowedReason | None:
    if tunnel.follow is False:
        return "off"
    if in_ranges(group, tunnel.follow_except):
        return "excepted"
    if isinstance(tunnel.follow, tuple):
        return None if in_ranges(group, tunnel.follow) else "out_of_range"
    if not in_ranges(group, tunnel.ssm_ranges) and not tunnel.rps.serves(group):
        return "no_rp"
    return None
