"""IGMP to text (RFC 2236, RFC 3376). Pure."""

import struct
from ipaddress import IPv4Address

from mcastd.errors import DecodeError
from mcastd.listed import listed
from mcastd.net.checksum import internet_checksum

_QUERY, _REPORT_V1, _REPORT_V2, _LEAVE, _REPORT_V3 = 0x11, 0x12, 0x16, 0x17, 0x22
_RECORDS = {
    1: "is in {group} for {sources}",
    2: "is in {group}",
    3: "changes to {sources} of {group}",
    4: "joins {group}",
    5: "joins {group} for {sources}",
    6: "leaves {group} for {sources}",
}
SHOWN = 4


def words(message: bytes, only: IPv4Address | None = None) -> str | None:
    """An IGMP message as text; what it says of one group alone, None if that is nothing.

    Raises DecodeError ``igmp_short``, ``igmp_checksum`` or ``igmp_records``.
    """
    if len(message) < 8:
        raise DecodeError("igmp_short")
    if internet_checksum(message):
        raise DecodeError("igmp_checksum")
    kind, group = message[0], IPv4Address(message[4:8])
    if kind == _REPORT_V3:
        records = _records(message, only)
        return f"IGMPv3 report: {records or 'nothing'}" if records or only is None else None
    if only not in (None, group):
        return None
    if kind == _QUERY:
        version = 3 if len(message) >= 12 else 2 if message[1] else 1
        return f"IGMPv{version} query" + (f" for {group}" if int(group) else "")
    if kind in (_REPORT_V1, _REPORT_V2):
        return f"IGMPv{1 if kind == _REPORT_V1 else 2} report: joins {group}"
    if kind == _LEAVE:
        return f"IGMPv2 leave: leaves {group}"
    return f"IGMP of type 0x{kind:02x}"


def _records(message: bytes, only: IPv4Address | None) -> str:
    (count,) = struct.unpack_from("!H", message, 6)
    at, found = 8, []
    for _ in range(count):
        if len(message) < at + 8:
            raise DecodeError("igmp_records")
        kind, auxiliary, sources, group = struct.unpack_from("!BBH4s", message, at)
        end = at + 8 + 4 * sources
        if len(message) < end + 4 * auxiliary:
            raise DecodeError("igmp_records")
        addresses = [str(IPv4Address(message[offset : offset + 4])) for offset in range(at + 8, end, 4)]
        if only in (None, IPv4Address(group)):
            found.append(_record(kind, str(IPv4Address(group)), addresses))
        at = end + 4 * auxiliary
    return listed(found, SHOWN)


def _record(kind: int, group: str, sources: list[str]) -> str:
    if kind == 3 and not sources:
        return f"leaves {group}"
    excluded = f" except {listed(sources, SHOWN)}" if kind in (2, 4) and sources else ""
    text = _RECORDS.get(kind, f"record of type {kind} of {{group}}")
    return text.format(group=group, sources=listed(sources, SHOWN) or "no source") + excluded
