"""Records into as few Join/Prune messages as a greedy choice gives (RFC 7761, sections 4.9.5.1 and 4.9.5.2).

A record is an encoded group set. Packing works on records alone, so that what has not changed is not encoded again.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address
from struct import pack, unpack_from
from typing import Final

from mcastd.net import ipv4
from mcastd.pim import packet

FOR_RP: Final = packet.SPARSE | packet.WILDCARD | packet.RPT
FOR_RPT: Final = packet.SPARSE | packet.RPT
HEAD: Final = 10
GROUP_HEAD: Final = 12
SOURCE: Final = 8
MAX_GROUPS: Final = 255
MAX_PACKET: Final = 65535
_COUNTS: Final = 8  # the offset of the numbers of joined and pruned sources in a record
_FLAGS: Final = GROUP_HEAD + 2  # the offset of the flags of its first source


def room_for_groups(mtu: int) -> int:
    """Bytes of group sets that one message holds at an MTU; at least one group with one source."""
    return max(min(mtu, MAX_PACKET) - ipv4.HEADER_LENGTH - packet.HEADER_LEN - HEAD, GROUP_HEAD + SOURCE)


def records(
    group: IPv4Address,
    room: int,
    star: tuple[Sequence[bytes], Sequence[bytes]] = ((), ()),
    joined: Sequence[bytes] = (),
    pruned: Sequence[bytes] = (),
) -> tuple[bytes, ...]:
    """The records of one group; sources are encoded already.

    ``star`` is Join(*,G) with its (S,G,rpt) Prunes, which stay in one message: those that fit into ``room`` are kept,
    as section 4.9.5.2 has it. A record of the other sources may be larger than a message; ``messages`` divides it.
    """
    most = (room - GROUP_HEAD) // SOURCE
    star_joins, rpt_prunes = star[0], star[1][: most - len(star[0])]
    count = len(star_joins) + len(rpt_prunes) + len(joined) + len(pruned)
    if count <= most:
        return (packet.encode_group_set(group, [*star_joins, *joined], [*rpt_prunes, *pruned]),) if count else ()
    sets = ((star_joins, rpt_prunes), (joined, pruned))
    return tuple([packet.encode_group_set(group, joins, prunes) for joins, prunes in sets if joins or prunes])


def messages(found: Iterable[bytes], upstream: IPv4Address, holdtime: int, mtu: int) -> list[bytes]:
    """Whole Join/Prune messages that carry all records, for the neighbour ``upstream``."""
    return [
        packet.seal(
            packet.MessageType.JOIN_PRUNE,
            packet.encode_join_prune_head(upstream, len(batch), holdtime) + b"".join(batch),
        )
        for batch in _batches(found, room_for_groups(mtu))
    ]


def _batches(found: Iterable[bytes], room: int) -> Iterator[list[bytes]]:
    """Take the largest record that is left, or the smallest where that does not fit, or a part of the largest."""
    left = deque(sorted(found, key=len, reverse=True))
    while left:
        batch: list[bytes] = []
        free = room
        while left and free >= GROUP_HEAD + SOURCE and len(batch) < MAX_GROUPS:
            if len(left[0]) <= free:
                record = left.popleft()
            elif len(left[-1]) <= free:
                record = left.pop()
            elif not _is_divisible(left[0]):
                break
            else:
                record, rest = _divide(left.popleft(), (free - GROUP_HEAD) // SOURCE)
                left.appendleft(rest)
            batch.append(record)
            free -= len(record)
        yield batch


def _is_divisible(record: bytes) -> bool:
    """Whether it has no Join(*,G), which would have to stay with its Prunes."""
    return unpack_from("!H", record, _COUNTS)[0] == 0 or record[_FLAGS] != FOR_RP


def _divide(record: bytes, count: int) -> tuple[bytes, bytes]:
    """A record of the first ``count`` sources, and one of the others."""
    joins, prunes = unpack_from("!HH", record, _COUNTS)
    first = min(count, joins)
    end = GROUP_HEAD + count * SOURCE
    group = record[:_COUNTS]
    taken = group + pack("!HH", first, count - first) + record[GROUP_HEAD:end]
    return taken, group + pack("!HH", joins - first, prunes - count + first) + record[end:]
