"""Group sets into as few Join/Prune messages as fit (RFC 7761, sections 4.9.5.1 and 4.9.5.2).

A record is an encoded group set. Packing works on records only, so that what has not changed is not
encoded again.
"""

from bisect import bisect_left
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Final

from mcastd.pim.packet import (
    HEADER_LEN,
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
        most = min(room // sizes.pop(), MAX_GROUPS)
        return [list(found[start : start + most]) for start in range(0, len(found), most)]
    return _best_fit(found, room)


def _best_fit(found: Sequence[bytes], room: int) -> list[list[bytes]]:
    """Best fit, largest first: within a few per cent of the fewest, and exact where sizes are alike."""
    batches: list[list[bytes]] = []
    free: list[tuple[int, int]] = []  # (bytes left, index of the batch), ascending
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
    return batches
