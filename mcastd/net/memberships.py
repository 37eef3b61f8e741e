"""``/proc/net/igmp`` and ``/proc/net/mcfilter``: the groups that sockets of this host have joined, by interface. Pure.

::

    Idx Device    : Count Querier   Group    Users Timer   Reporter        igmp: a line for each interface,
    3   veth0     :     2      V3                                          then one for each group of it
                                    020101EF     3 0:00000000       0
    Idx Device        MCA        SRC    INC    EXC                         mcfilter: a line for each source
      3  veth0 0xef010102 0x0a000001      1      0

``Users`` are the sockets that have joined the group; INC and EXC are how many of them include, and exclude, the source.
The second file shows six characters of an interface's name, so there its index counts.
"""

import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Final, NamedTuple

import msgspec

GroupOn = tuple[int, IPv4Address]
"""A group on an interface, by the interface's index."""


class GroupChange(NamedTuple):
    """The first socket has joined a group on an interface, or the last one has left it."""

    ifindex: int
    group: IPv4Address
    joined: bool


class SourceLine(NamedTuple):
    """A source of a group on an interface: how many sockets include it, and how many exclude it."""

    ifindex: int
    group: IPv4Address
    source: IPv4Address
    included: int
    excluded: int


class Members(msgspec.Struct, frozen=True):
    """The sockets that have joined one group on one interface.

    ``included`` and ``excluded`` are, by source, how many of the ``users`` include or exclude it.
    """

    users: int
    included: Mapping[IPv4Address, int] = msgspec.field(default_factory=dict)
    excluded: Mapping[IPv4Address, int] = msgspec.field(default_factory=dict)


NO_MEMBERS: Final = Members(0)


def parse(text: str) -> dict[str, frozenset[IPv4Address]]:
    """The groups in ``/proc/net/igmp`` by the interface's name."""
    found: dict[str, set[IPv4Address]] = {}
    groups: set[IPv4Address] = set()
    for line in text.splitlines()[1:]:
        fields = line.split()
        if fields and not line.startswith("\t\t"):
            groups = found.setdefault(fields[1].rstrip(":"), set())
        elif fields:
            groups.add(address(fields[0]))
    return {name: frozenset(groups) for name, groups in found.items()}


def names(text: str) -> dict[int, str]:
    """The names of interfaces by their indexes, from ``/proc/net/igmp``."""
    heads = (line.split() for line in text.splitlines()[1:] if not line.startswith("\t"))
    return {int(fields[0]): fields[1].rstrip(":") for fields in heads if fields}


class Users:
    """How many sockets have joined each group on some interfaces, from ``/proc/net/igmp``, which may come in parts."""

    def __init__(self, indexes: Container[int]) -> None:
        self._indexes = indexes
        self._index = 0  # of the interface whose groups the next lines are

    def parse(self, lines: Iterable[str]) -> Iterator[tuple[GroupOn, int]]:
        """The groups in the next whole lines."""
        for line in lines:
            if not line.startswith("\t"):
                number = line.split(None, 1)[:1]
                self._index = int(number[0]) if number and number[0].isdigit() else 0
            elif self._index in self._indexes:
                group, count, *_ = line.split()
                yield (self._index, address(group)), int(count)


def sources(lines: Iterable[str], indexes: Container[int]) -> Iterator[SourceLine]:
    """The sources on these interfaces, from the lines of ``/proc/net/mcfilter``."""
    for line in lines:
        fields = line.split()
        if len(fields) == 6 and fields[0].isdigit() and int(fields[0]) in indexes:
            group, source = IPv4Address(int(fields[2], 16)), IPv4Address(int(fields[3], 16))
            yield SourceLine(int(fields[0]), group, source, int(fields[4]), int(fields[5]))


def members(users: int, lines: Iterable[SourceLine]) -> Members:
    """The sockets of one group, with its sources."""
    found = tuple(lines)
    if not users or not found:
        return Members(users) if users else NO_MEMBERS
    included = {line.source: line.included for line in found if line.included}
    return Members(users, included, {line.source: line.excluded for line in found if line.excluded})


def address(text: str) -> IPv4Address:
    """An address as the kernel prints it: its bytes in memory as a number in host byte order."""
    return IPv4Address(int(text, 16).to_bytes(4, sys.byteorder))
