"""What has been heard of changes since the files of the kernel were last read. Sans-IO.

A hint says that a group may have changed, not how it is now; only that the last socket has left it needs no look.
"""

from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from mcastd.net import igmp
from mcastd.net.igmp import RecordType
from mcastd.net.memberships import GroupChange, GroupOn

_ANSWERS: Final = (RecordType.IS_IN, RecordType.IS_EX)  # to a query; the others are sent since something changed
_MODES: Final = {
    RecordType.IS_IN: False,
    RecordType.TO_IN: False,
    RecordType.IS_EX: True,
    RecordType.TO_EX: True,
}


class Hints(msgspec.Struct):
    """The groups to look at, by what was heard of them last."""

    joined: dict[GroupOn, None] = msgspec.field(default_factory=dict)  # a first socket has joined
    left: dict[GroupOn, None] = msgspec.field(default_factory=dict)  # the last socket has left
    changed: dict[GroupOn, None] = msgspec.field(default_factory=dict)  # anything else
    any_source: dict[GroupOn, bool] = msgspec.field(default_factory=dict)  # reported: is every source wanted?

    def __bool__(self) -> bool:
        return bool(self.joined or self.left or self.changed or self.any_source)

    def notified(self, changes: Iterable[GroupChange], indexes: Collection[int]) -> None:
        """Netlink's notifications; those of other interfaces do not count."""
        for index, group, joined in changes:
            if index in indexes:
                here, there = (self.joined, self.left) if joined else (self.left, self.joined)
                there.pop((index, group), None)
                here[index, group] = None

    def reported(self, index: int, message: igmp.Message) -> None:
        """An IGMP message that this host has sent."""
        match message:
            case igmp.V3Report(records):
                for record in records:
                    key = (index, record.group)
                    if record.kind not in _ANSWERS:
                        self.changed[key] = None
                    if record.kind in _MODES:
                        self.any_source[key] = _MODES[record.kind]
            case igmp.Report(_, group) | igmp.Leave(group):
                self.changed[index, group] = None
