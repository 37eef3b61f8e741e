"""Encoders of what only hosts send, written beside the codec that decodes it."""

import struct
from collections.abc import Iterable
from ipaddress import IPv4Address

from mcastd.net.checksum import internet_checksum
from mcastd.net.igmp import Leave, Message, Query, Report, V3Report, encode_query


def seal(body: bytes) -> bytes:
    """A message with its checksum, at bytes 2 and 3, made right."""
    blank = body[:2] + bytes(2) + body[4:]
    return blank[:2] + internet_checksum(blank).to_bytes(2) + blank[4:]


def encode_record(kind: int, group: IPv4Address, sources: Iterable[IPv4Address] = (), aux: bytes = b"") -> bytes:
    packed = b"".join(source.packed for source in sources)
    return struct.pack("!BBH", kind, len(aux) // 4, len(packed) // 4) + group.packed + packed + aux


def encode_v3_report(records: Iterable[bytes]) -> bytes:
    found = list(records)
    return seal(struct.pack("!BBHHH", 0x22, 0, 0, 0, len(found)) + b"".join(found))


def encode(message: Message) -> bytes:
    match message:
        case Query():
            return encode_query(message)
        case Report(version, group):
            return seal(struct.pack("!BBH", {1: 0x12, 2: 0x16}[version], 0, 0) + group.packed)
        case Leave(group):
            return seal(struct.pack("!BBH", 0x17, 0, 0) + group.packed)
        case V3Report(records):
            return encode_v3_report(encode_record(record.kind, record.group, record.sources) for record in records)
