"""Group sets into as few Join/Prune messages as fit (RFC 7761, sections 4.9.5.1 and 4.9.5.2).

A record is an encoded group set. Packing works on records only, so that what has not changed is not
encoded again.
"""

from bisect import bisect_left
from collections.abc import Sequence
from ipaddress import IPv4Address
from struct import pack, unpack_from
from typing import Final

from mcastd.pim.packet import (
    HEADER_LEN,
    SPARSE,
    MessageType,
    encode_group_set,
    encode_join_prune_head,
    seal,
)

IPV4_HEADER: Final = 20
HEAD: Final = 10
GROUP_HEAD: Final = 12
SOURCE: Final = 8
MAX_GROUPS: Final = 255
MAX_PACKET: Final = 65535
_COUNTS: Final = 8  # where a group set has its numbers of joined and pruned sources
_FLAGS: Final = GROUP_HEAD + 2  # where it has the flags of its first source


def room_for_groups(mtu: int) -> int:
    """Bytes of group sets that one message holds at an MTU; at least one group with one source."""
    return max(min(mtu, MAX_PACKET) - IPV4_HEADER - HEADER_LEN - HEAD, GROUP_HEAD + SOURCE)


def records(
    group: IPv4Address,
    room: int,
    together: tuple[Sequence[bytes], Sequence[bytes]] = ((), ()),
    joined: Sequence[bytes] = (),
    pruned: Sequence[bytes] = (),
) -> tuple[bytes, ...]:
    """One group as records that each fit into ``room``; sources are encoded already.

    ``together`` are joins and prunes that stay in one message: Join(*,G) with its (S,G,rpt) prunes, of which the first
    that fit are kept, as section 4.9.5.2 says. The others go where there is room.
    """
    most = (room - GROUP_HEAD) // SOURCE
    joins, prunes = list(together[0])[:most], list(together[1])
    prunes = prunes[: most - len(joins)]
    if len(joins) + len(prunes) + len(joined) + len(pruned) <= most:
        joins += joined
        prunes += pruned
        return (encode_group_set(group, joins, prunes),) if joins or prunes else ()
    rest = [(True, source) for source in joined] + [(False, source) for source in pruned]
    made = []
    while joins or prunes or rest:
        free = most - len(joins) - len(prunes)
        for is_join, source in rest[:free]:
            (joins if is_join else prunes).append(source)
        rest = rest[free:]
        made.append(encode_group_set(group, joins, prunes))
        joins, prunes = [], []
    return tuple(made)


def messages(found: Sequence[bytes], upstream: IPv4Address, holdtime: int, mtu: int) -> list[bytes]:
    """Whole Join/Prune messages that carry all records, for the neighbour ``upstream``."""
    return [
        seal(MessageType.JOIN_PRUNE, encode_join_prune_head(upstream, len(batch), holdtime) + b"".join(batch))
        for batch in _batches(found, room_for_groups(mtu))
    ]


def _batches(found: Sequence[bytes], room: int) -> list[list[bytes]]:
    if not found:
        return []
    sizes = set(map(len, found))
    if len(sizes) == 1:
        size = sizes.pop()
        most = min(room // size, MAX_GROUPS)
        if room - most * size < GROUP_HEAD + SOURCE or most == MAX_GROUPS:
            return [list(found[start : start + most]) for start in range(0, len(found), most)]
    batches, _ = _best_fit(found, room)
    if len(batches) == max(-(-sum(map(len, found)) // room), -(-len(found) // MAX_GROUPS)):
        return batches
    return min(batches, _fill(found, room), key=len)


def _fill(found: Sequence[bytes], room: int) -> list[list[bytes]]:
    """Whole records by best fit, largest first; then those of (S,G) alone, divided where they meet a message's end."""
    whole = [record for record in found if not _is_divisible(record)]
    batches, free = _best_fit(whole, room)
    spaces = [(left, batches[index]) for left, index in free]
    for record in (record for record in found if _is_divisible(record)):
        rest = record
        while rest:
            if not spaces:
                spaces.append((room, []))
                batches.append(spaces[0][1])
            left, batch = spaces.pop()
            taken, rest = _divide(rest, (left - GROUP_HEAD) // SOURCE)
            batch.append(taken)
            left -= len(taken)
            if left >= GROUP_HEAD + SOURCE and len(batch) < MAX_GROUPS:
                spaces.append((left, batch))
    return batches


def _is_divisible(record: bytes) -> bool:
    """Whether it has sources of (S,G) alone, which need not stay together."""
    return set(record[_FLAGS::SOURCE]) == {SPARSE}


def _divide(record: bytes, count: int) -> tuple[bytes, bytes]:
    """A record of the first ``count`` sources, and one of the others, empty if there are none."""
    if count * SOURCE >= len(record) - GROUP_HEAD:
        return record, b""
    joins, prunes = unpack_from("!HH", record, _COUNTS)
    first = min(count, joins)
    end = GROUP_HEAD + count * SOURCE
    group = record[:_COUNTS]
    taken = group + pack("!HH", first, count - first) + record[GROUP_HEAD:end]
    return taken, group + pack("!HH", joins - first, prunes - count + first) + record[end:]


def _best_fit(found: Sequence[bytes], room: int) -> tuple[list[list[bytes]], list[tuple[int, int]]]:
    """Best fit, largest first: within a few per cent of the fewest, and exact where sizes are alike.

    Returns the batches, and the bytes left with the index of each batch that takes more, ascending.
    """
    batches: list[list[bytes]] = []
    free: list[tuple[int, int]] = []
    for record in sorted(found, key=len, reverse=True):
        at = bisect_left(free, (len(record), 0))
        left, index = free.pop(at) if at < len(free) else (room, len(batches))
        if index == len(batches):
            batches.append([])
        batches[index].append(record)
        left -= len(record)
        if left >= GROUP_HEAD + SOURCE and len(batches[index]) < MAX_GROUPS:
            entry = (left, index)
            free.insert(bisect_left(free, entry), entry)
    return batches, free
