"""IGMP messages on the wire: queries, reports and leaves of all versions (RFC 9776, section 4; RFC 2236; RFC 1112).

``data`` is always the payload of an IPv4 packet of protocol 2.
"""

from enum import IntEnum
from ipaddress import IPv4Address
from struct import Struct
from typing import Final

import msgspec

from mcastd.errors import DecodeError
from mcastd.net.checksum import internet_checksum

ALL_SYSTEMS: Final = IPv4Address("224.0.0.1")
ALL_ROUTERS: Final = IPv4Address("224.0.0.2")
ALL_V3_ROUTERS: Final = IPv4Address("224.0.0.22")
UNSPECIFIED: Final = IPv4Address(0)
V1_RESPONSE_TIME: Final = 10.0
"""The Max Response Time of a query of version 1, in seconds (RFC 9776, section 7.2.1)."""

_SHORT: Final = 8  # bytes of every message at least
_HEAD = Struct("!BBH4s")
_QUERY_TAIL = Struct("!BBH")
_REPORT_COUNT = Struct("!H")
_RECORD = Struct("!BBH4s")
_SUPPRESS, _ROBUSTNESS = 0x08, 0x07
_NO_SOURCES: Final = (0, 127)  # the first bytes of "this network" and of loopback addresses


class MessageType(IntEnum):
    """The types that a router acts on (RFC 9776, section 4). Others are of other protocols, such as DVMRP."""

    QUERY = 0x11
    V1_REPORT = 0x12
    V2_REPORT = 0x16
    V2_LEAVE = 0x17
    V3_REPORT = 0x22


class RecordType(IntEnum):
    """The types of a group record (section 4.2.13)."""

    IS_IN = 1
    IS_EX = 2
    TO_IN = 3
    TO_EX = 4
    ALLOW = 5
    BLOCK = 6


class Query(msgspec.Struct, frozen=True):
    """A Membership Query (section 4.1); versions 1 and 2 end behind the group address, which is None in a general one.

    |  Type = 0x11  | Max Resp Code |           Checksum            |
    |                         Group Address                         |
    | Flags |S| QRV |     QQIC      |     Number of Sources (N)     |
    |                       Source Address [1..N]                   |

    ``max_response`` and ``interval`` are in seconds; ``robustness`` and ``interval`` are 0 where the querier does not
    state them. ``suppress`` is the S flag.
    """

    version: int
    max_response: float
    group: IPv4Address | None = None
    sources: tuple[IPv4Address, ...] = ()
    suppress: bool = False
    robustness: int = 0
    interval: float = 0.0


class Report(msgspec.Struct, frozen=True):
    """A Membership Report of version 1 or 2 (RFC 2236, section 2).

    | 0x12 or 0x16  | Max Resp Time |           Checksum            |
    |                         Group Address                         |
    """

    version: int
    group: IPv4Address


class Leave(msgspec.Struct, frozen=True):
    """A Leave Group message of version 2: the form of a report, type 0x17."""

    group: IPv4Address


class Record(msgspec.Struct, frozen=True):
    """What a host reports of one group (section 4.2.4)."""

    kind: RecordType
    group: IPv4Address
    sources: tuple[IPv4Address, ...] = ()


class V3Report(msgspec.Struct, frozen=True):
    """A Membership Report of version 3 (section 4.2).

    |  Type = 0x22  |    Reserved   |           Checksum            |
    |             Flags             |  Number of Group Records (M)  |
    for each group record:
    |  Record Type  |  Aux Data Len |     Number of Sources (N)     |
    |                       Multicast Address                       |
    |                     Source Address [1..N]                     |
    |        Auxiliary Data, of that many words, is skipped         |

    ``refused`` has a reason for each record that was left out, or some sources of it: one bad address of an application
    does not cost what the host reports of other groups.
    """

    records: tuple[Record, ...]
    refused: tuple[str, ...] = ()


Message = Query | Report | Leave | V3Report


def decode(data: bytes) -> Message:
    """A message; bytes behind its last field are covered by the checksum, and ignored (sections 4.1.11 and 4.2.12).

    Raises DecodeError ``short``, ``checksum``, ``unexpected_type``, ``query_length``, ``truncated``, ``group_address``,
    ``source_address`` or ``sources_without_group``; for an address in a report only if nothing is left of the report.
    """
    if len(data) < _SHORT:
        raise DecodeError("short")
    if internet_checksum(data) != 0:
        raise DecodeError("checksum")
    kind, code, _, address = _HEAD.unpack_from(data)
    match kind:
        case MessageType.V3_REPORT:
            return _v3_report(data)
        case MessageType.QUERY:
            return _query(data, code, address)
        case MessageType.V1_REPORT | MessageType.V2_REPORT:
            return Report(1 if kind == MessageType.V1_REPORT else 2, _group(address))
        case MessageType.V2_LEAVE:
            return Leave(_group(address))
    raise DecodeError("unexpected_type")


def _query(data: bytes, code: int, address: bytes) -> Query:
    if len(data) == _SHORT and code == 0:  # the group address is no field of version 1
        return Query(1, V1_RESPONSE_TIME)
    group = _group(address) if any(address) else None
    if len(data) == _SHORT:
        return Query(2, code / 10, group)
    if len(data) < _SHORT + _QUERY_TAIL.size:
        raise DecodeError("query_length")
    flags, interval, count = _QUERY_TAIL.unpack_from(data, _SHORT)
    sources = _sources(data, _SHORT + _QUERY_TAIL.size, count)
    if group is None and sources:
        raise DecodeError("sources_without_group")
    suppress, robustness = bool(flags & _SUPPRESS), flags & _ROBUSTNESS
    return Query(3, decode_code(code) / 10, group, sources, suppress, robustness, float(decode_code(interval)))


def _v3_report(data: bytes) -> V3Report:
    """The group records; those of an unknown type are skipped (section 4.2.13)."""
    (count,) = _REPORT_COUNT.unpack_from(data, 6)
    at, found, refused = _SHORT, [], []
    for _ in range(count):
        if at + _RECORD.size > len(data):
            raise DecodeError("truncated")
        kind, words, sources, group = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        end = at + 4 * (sources + words)
        if end > len(data):
            raise DecodeError("truncated")
        if kind in _KINDS and not _is_group(group):
            refused.append("group_address")
        elif kind in _KINDS:
            listed = _listed(data, at, sources) if sources else []
            usable = [source for source in listed if _is_source(source)]
            if len(usable) < len(listed):
                refused.append("source_address")
            if usable or not listed or kind in _WITHOUT_SOURCES:
                found.append(Record(_KINDS[kind], IPv4Address(group), tuple(map(IPv4Address, usable))))
        at = end
    if refused and not found:
        raise DecodeError(refused[0])
    return V3Report(tuple(found), tuple(refused))


_KINDS: Final = {int(kind): kind for kind in RecordType}
_WITHOUT_SOURCES: Final = (RecordType.IS_EX, RecordType.TO_IN, RecordType.TO_EX)  # say something of a group alone


def _is_group(address: bytes) -> bool:
    return address[0] & 0xF0 == 0xE0


def _is_source(address: bytes) -> bool:
    return address[0] < 0xE0 and address[0] not in _NO_SOURCES  # neither multicast nor reserved


def _group(address: bytes) -> IPv4Address:
    if not _is_group(address):
        raise DecodeError("group_address")
    return IPv4Address(address)


def _sources(data: bytes, at: int, count: int) -> tuple[IPv4Address, ...]:
    if at + 4 * count > len(data):
        raise DecodeError("truncated")
    found = _listed(data, at, count)
    if not all(map(_is_source, found)):
        raise DecodeError("source_address")
    return tuple(map(IPv4Address, found))


def _listed(data: bytes, at: int, count: int) -> list[bytes]:
    return [data[here : here + 4] for here in range(at, at + 4 * count, 4)]


def encode_query(query: Query) -> bytes:
    """A whole query, in the form of its version. Times that a code cannot represent become the next lower one."""
    group = (query.group or UNSPECIFIED).packed
    tenths = round(query.max_response * 10)
    if query.version == 3:
        flags = _SUPPRESS * query.suppress | (query.robustness if query.robustness <= _ROBUSTNESS else 0)
        tail = _QUERY_TAIL.pack(flags, encode_code(round(query.interval)), len(query.sources))
        return _seal(encode_code(tenths), group, tail + b"".join(source.packed for source in query.sources))
    return _seal(min(tenths, 0xFF) if query.version == 2 else 0, group, b"")


def _seal(code: int, group: bytes, rest: bytes) -> bytes:
    checksum = internet_checksum(_HEAD.pack(MessageType.QUERY, code, 0, group) + rest)
    return _HEAD.pack(MessageType.QUERY, code, checksum, group) + rest


def decode_code(code: int) -> int:
    """The value of a Max Resp Code or a QQIC (sections 4.1.1 and 4.1.7); from 128 on it is a floating one.

    |1| exp | mant  |
    """
    return code if code < 0x80 else (code & 0x0F | 0x10) << ((code >> 4 & 0x07) + 3)


def encode_code(value: int) -> int:
    """The code of a value, or of the next lower one that has a code (section 8.8)."""
    if value < 0x80:
        return max(0, value)
    value = min(value, decode_code(0xFF))
    exponent = value.bit_length() - 5 - 3
    return 0x80 | exponent << 4 | value >> exponent + 3 & 0x0F
