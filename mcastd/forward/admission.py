"""Which groups are forwarded to one interface, and what of them: within its ranges, and up to its limit. Pure."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

from mcastd.config.downstream import Forward
from mcastd.config.value_types import LINK_LOCAL_GROUPS, LOCAL_GROUPS
from mcastd.membership import NOTHING, DesiredGroup
from mcastd.net.prefix_table import in_ranges


class Admission:
    """One downstream interface. ``admitted`` are the groups that count for its limit."""

    def __init__(self) -> None:
        self.admitted: set[IPv4Address] = set()
        self.refused: dict[IPv4Address, None] = {}  # beyond the limit, those that have waited longest first

    def admit(
        self, group: IPv4Address, desired: DesiredGroup, config: Forward, ssm_ranges: Sequence[IPv4Network]
    ) -> DesiredGroup:
        """What is forwarded of a group of which ``desired`` is desired; nothing where that may not be."""
        asked = _allowed(group, desired, config, ssm_ranges)
        if asked == NOTHING:
            self.admitted.discard(group)
            self.refused.pop(group, None)
        elif group not in self.admitted:
            if len(self.admitted) >= config.max_groups:
                self.refused[group] = None
                return NOTHING
            self.refused.pop(group, None)
            self.admitted.add(group)
        return asked

    def waiting(self, config: Forward) -> list[IPv4Address]:
        """The groups that were refused, and are within the limit now."""
        return list(self.refused)[: max(0, config.max_groups - len(self.admitted))]


def _allowed(
    group: IPv4Address, desired: DesiredGroup, config: Forward, ssm_ranges: Sequence[IPv4Network]
) -> DesiredGroup:
    in_range = in_ranges(group, config.groups) if config.groups else not in_ranges(group, LOCAL_GROUPS)
    if not in_range or group in LINK_LOCAL_GROUPS or not (desired.any_source or desired.sources):
        return NOTHING
    if in_ranges(group, ssm_ranges):
        return DesiredGroup(sources=desired.sources)
    return desired
