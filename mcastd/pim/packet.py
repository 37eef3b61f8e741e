"""PIM messages on the wire: header, checksum, encoded addresses, Hello and Join/Prune (RFC 7761, section 4.9).

``data`` is always the payload of an IPv4 packet of protocol 103.
"""

from collections.abc import Sequence
from enum import IntEnum
from ipaddress import IPv4Address
from struct import Struct, pack
from typing import Final

import msgspec

from mcastd.errors import DecodeError
from mcastd.net.checksum import internet_checksum

PIM_VERSION: Final = 2
HEADER_LEN: Final = 4
ALL_PIM_ROUTERS: Final = IPv4Address("224.0.0.13")
INFINITE_HOLDTIME: Final = 0xFFFF
DEFAULT_HELLO_HOLDTIME: Final = 105
FAMILY_IPV4: Final = 1

JOIN_ATTRIBUTES: Final = 1  # an encoding type of sources alone (RFC 5384, section 3.3.2)

SPARSE: Final = 0x04
WILDCARD: Final = 0x02
RPT: Final = 0x01

_LAST_ATTRIBUTE: Final = 0x40
_HEADER = Struct("!BBH")
_OPTION = Struct("!HH")
_JOIN_PRUNE = Struct("!BB4sBBH")
_GROUP = Struct("!BBBB4sHH")
_SOURCE = Struct("!BBBB4s")


class MessageType(IntEnum):
    """PIM message types (RFC 7761, section 4.9; 10 to 12 are of RFC 5015, 6754 and 8364)."""

    HELLO = 0
    REGISTER = 1
    REGISTER_STOP = 2
    JOIN_PRUNE = 3
    BOOTSTRAP = 4
    ASSERT = 5
    GRAFT = 6
    GRAFT_ACK = 7
    CANDIDATE_RP_ADVERTISEMENT = 8
    STATE_REFRESH = 9
    DF_ELECTION = 10
    ECMP_REDIRECT = 11
    FLOODING = 12


class HelloOption(IntEnum):
    """Hello options (RFC 7761, section 4.9.2); others are kept as they are."""

    HOLDTIME = 1
    LAN_PRUNE_DELAY = 2
    DR_PRIORITY = 19
    GENERATION_ID = 20
    ADDRESS_LIST = 24


class LanPruneDelay(msgspec.Struct, frozen=True):
    """LAN Prune Delay option (section 4.3.3); delays in seconds, on the wire in milliseconds."""

    propagation_delay: float
    override_interval: float
    tracking: bool = False


class Hello(msgspec.Struct, frozen=True):
    """A Hello (section 4.9.2).

    |Version| Type 0|   Reserved    |           Checksum            |
    for each option:
    |          Option Type          |         Option Length         |
    |                    Option Value, of that length               |

    An option that is absent is None; ``addresses`` are the IPv4 ones of the Address List.

    ``unknown`` are other options, by type and value: kept, so that they outlast a restart of ours.
    """

    holdtime: int | None = None
    lan_prune_delay: LanPruneDelay | None = None
    dr_priority: int | None = None
    generation_id: int | None = None
    addresses: tuple[IPv4Address, ...] = ()
    unknown: tuple[tuple[int, bytes], ...] = ()


class SourceEntry(msgspec.Struct, frozen=True):
    """An encoded source address with its flags: S (sparse), W (wildcard) and R (RP tree).

    |  Addr Family  | Encoding Type | Rsrvd   |S|W|R|  Mask Len     |
    |                        Source Address                         |
    """

    address: IPv4Address
    flags: int = SPARSE
    mask_len: int = 32


class GroupSet(msgspec.Struct, frozen=True):
    """One group of a Join/Prune with its joined and pruned sources."""

    group: IPv4Address
    joined: tuple[SourceEntry, ...] = ()
    pruned: tuple[SourceEntry, ...] = ()
    mask_len: int = 32
    flags: int = 0


class JoinPrune(msgspec.Struct, frozen=True):
    """A Join/Prune (section 4.9.5); Graft and Graft-Ack have the same form.

    |Version| Type 3|   Reserved    |           Checksum            |
    |      Upstream Neighbor, an encoded unicast address (6 bytes)  |
    |   Reserved    |  Num Groups   |           Holdtime            |
    for each group:
    |          Multicast Group, an encoded group address (8 bytes)  |
    |    Number of Joined Sources   |    Number of Pruned Sources   |
    |    Joined, then Pruned Sources, encoded (8 bytes each)        |
    """

    upstream: IPv4Address
    holdtime: int
    groups: tuple[GroupSet, ...]


def seal(kind: int, body: bytes) -> bytes:
    """A whole PIM message."""
    version_and_type = PIM_VERSION << 4 | kind
    return _HEADER.pack(version_and_type, 0, internet_checksum(_HEADER.pack(version_and_type, 0, 0) + body)) + body


def unseal(data: bytes) -> tuple[int, bytes]:
    """The type and the body of a message whose version and checksum are right.

    Raises DecodeError ``short``, ``version`` or ``checksum``.
    """
    if len(data) < HEADER_LEN:
        raise DecodeError("short")
    if data[0] >> 4 != PIM_VERSION:
        raise DecodeError("version")
    kind = data[0] & 0x0F
    # A Register's checksum leaves its inner packet out; some senders sum it all (section 4.9.3).
    partly = kind == MessageType.REGISTER and len(data) >= 8 and internet_checksum(data[:8]) == 0
    if not partly and internet_checksum(data) != 0:
        raise DecodeError("checksum")
    return kind, data[HEADER_LEN:]


class Reader:
    """A cursor over a message body that never reads past its end: DecodeError ``truncated``."""

    __slots__ = ("_data", "_end", "_pos")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._pos = 0
        self._end = len(data)

    @property
    def left(self) -> int:
        """Bytes that have not been taken yet."""
        return self._end - self._pos

    def has(self, size: int) -> bool:
        """Whether ``size`` bytes are left, or fewer that are not padding. Some routers pad with zeros."""
        return self.left >= size or any(self._data[self._pos :])

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        start = self._pos
        if size > self._end - start:
            raise DecodeError("truncated")
        self._pos = start + size
        return self._data[start : start + size]

    def number(self, size: int) -> int:
        """The next ``size`` bytes as an unsigned number."""
        return int.from_bytes(self.take(size))

    def unicast(self) -> IPv4Address:
        """An encoded unicast address (section 4.9.1)."""
        family, encoding = self.take(2)
        _require_ipv4(family, encoding)
        return IPv4Address(self.take(4))

    def group(self) -> tuple[IPv4Address, int, int]:
        """An encoded group address: the address, its mask length and its flags (B and Z)."""
        family, encoding, flags, mask_len, address = _SOURCE.unpack(self.take(_SOURCE.size))
        _require_ipv4(family, encoding)
        if mask_len > 32:
            raise DecodeError("mask_length")
        group = IPv4Address(address)
        if not group.is_multicast or mask_len < 4:
            raise DecodeError("group_address")
        return group, mask_len, flags

    def source(self) -> SourceEntry:
        """An encoded source address; join attributes behind it (RFC 5384), which other routers may use, are skipped."""
        family, encoding, flags, mask_len, address = _SOURCE.unpack(self.take(_SOURCE.size))
        _require_ipv4(family, 0 if encoding == JOIN_ATTRIBUTES else encoding)
        last = encoding != JOIN_ATTRIBUTES
        while not last:
            last = bool(self.number(1) & _LAST_ATTRIBUTE)
            self.take(self.number(1))
        if mask_len > 32:
            raise DecodeError("mask_length")
        return SourceEntry(IPv4Address(address), flags & 0x07, mask_len)


def _require_ipv4(family: int, encoding: int) -> None:
    if family != FAMILY_IPV4:
        raise DecodeError("address_family")
    if encoding != 0:
        raise DecodeError("address_encoding")


def encode_unicast(address: IPv4Address) -> bytes:
    """An encoded unicast address."""
    return b"\x01\x00" + address.packed


def encode_source(address: IPv4Address, flags: int, mask_len: int = 32) -> bytes:
    """An encoded source address."""
    return _SOURCE.pack(FAMILY_IPV4, 0, flags, mask_len, address.packed)


def encode_group_set(group: IPv4Address, joined: Sequence[bytes], pruned: Sequence[bytes]) -> bytes:
    """A group with its sources, each already encoded."""
    head = _GROUP.pack(FAMILY_IPV4, 0, 0, 32, group.packed, len(joined), len(pruned))
    return b"".join((head, *joined, *pruned))


def encode_join_prune_head(upstream: IPv4Address, group_count: int, holdtime: int) -> bytes:
    """A Join/Prune's body up to its first group."""
    return _JOIN_PRUNE.pack(FAMILY_IPV4, 0, upstream.packed, 0, group_count, holdtime)


def decode_join_prune(body: bytes) -> JoinPrune:
    """The body of a Join/Prune. Bytes after the last group are ignored."""
    reader = Reader(body)
    upstream = reader.unicast()
    reader.take(1)
    count = reader.number(1)
    holdtime = reader.number(2)
    groups = []
    for _ in range(count):
        group, mask_len, flags = reader.group()
        joins, prunes = reader.number(2), reader.number(2)
        if (joins + prunes) * _SOURCE.size > reader.left:
            raise DecodeError("truncated")
        joined = tuple([reader.source() for _ in range(joins)])
        pruned = tuple([reader.source() for _ in range(prunes)])
        groups.append(GroupSet(group, joined, pruned, mask_len, flags))
    return JoinPrune(upstream, holdtime, tuple(groups))


def encode_hello(hello: Hello) -> bytes:
    """A whole Hello message."""
    parts = []
    if hello.holdtime is not None:
        parts.append(_option(HelloOption.HOLDTIME, pack("!H", hello.holdtime)))
    if (delay := hello.lan_prune_delay) is not None:
        propagation = round(delay.propagation_delay * 1000) | (0x8000 if delay.tracking else 0)
        parts.append(
            _option(HelloOption.LAN_PRUNE_DELAY, pack("!HH", propagation, round(delay.override_interval * 1000)))
        )
    if hello.dr_priority is not None:
        parts.append(_option(HelloOption.DR_PRIORITY, pack("!I", hello.dr_priority)))
    if hello.generation_id is not None:
        parts.append(_option(HelloOption.GENERATION_ID, pack("!I", hello.generation_id)))
    if hello.addresses:
        parts.append(_option(HelloOption.ADDRESS_LIST, b"".join(map(encode_unicast, hello.addresses))))
    parts += [_option(kind, value) for kind, value in hello.unknown]
    return seal(MessageType.HELLO, b"".join(parts))


def _option(kind: int, value: bytes) -> bytes:
    return _OPTION.pack(kind, len(value)) + value


_KNOWN: Final = frozenset(HelloOption)
_FIXED: Final = {
    HelloOption.HOLDTIME: 2,
    HelloOption.LAN_PRUNE_DELAY: 4,
    HelloOption.DR_PRIORITY: 4,
    HelloOption.GENERATION_ID: 4,
}


def decode_hello(body: bytes) -> Hello:
    """The body of a Hello; of an option that comes twice the last counts, and zeros behind the last one are padding.

    Raises DecodeError ``truncated``, ``option_length`` or that of an address.
    """
    reader = Reader(body)
    values: dict[int, bytes] = {}
    while reader.has(_OPTION.size):
        kind, length = _OPTION.unpack(reader.take(_OPTION.size))
        value = reader.take(length)
        if kind in _FIXED and length != _FIXED[kind]:
            raise DecodeError("option_length")
        values[kind] = value

    def number(kind: HelloOption) -> int | None:
        return int.from_bytes(values[kind]) if kind in values else None

    delay = None
    if (raw := number(HelloOption.LAN_PRUNE_DELAY)) is not None:
        delay = LanPruneDelay((raw >> 16 & 0x7FFF) / 1000, (raw & 0xFFFF) / 1000, bool(raw >> 31))
    return Hello(
        holdtime=number(HelloOption.HOLDTIME),
        lan_prune_delay=delay,
        dr_priority=number(HelloOption.DR_PRIORITY),
        generation_id=number(HelloOption.GENERATION_ID),
        addresses=_address_list(values.get(HelloOption.ADDRESS_LIST, b"")),
        unknown=tuple((kind, value) for kind, value in values.items() if kind and kind not in _KNOWN),
    )


_ADDRESS_SIZES = {FAMILY_IPV4: 4, 2: 16}


def _address_list(value: bytes) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses of an Address List. FRR lists its IPv6 link-local address too: it is skipped."""
    reader = Reader(value)
    found = []
    while reader.left:
        family, encoding = reader.take(2)
        if encoding != 0:
            raise DecodeError("address_encoding")
        size = _ADDRESS_SIZES.get(family)
        if size is None:
            break  # of unknown size: the addresses behind it cannot be read
        address = reader.take(size)
        if family == FAMILY_IPV4:
            found.append(IPv4Address(address))
    return tuple(found)
