"""Cisco's Auto-RP messages on the wire (pim-autorp-spec01, version 1): UDP port 496, RP-Announce to 224.0.1.39 and
RP-Discovery (mapping) to 224.0.1.40.

|Version|  Type |   RP Count    |           Holdtime            |
|                           Reserved                            |
for each RP:
|                          RP Address                           |
|  Reserved | V |  Group Count  |   V: PIM versions
for each group:
|   Reserved  |N| Mask Length   |   N: negative
|                         Group Address                         |
"""

from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network
from struct import Struct
from typing import Final, NamedTuple

import msgspec

from mcastd.errors import DecodeError
from mcastd.pim.packet import Reader

AUTO_RP_VERSION: Final = 1
AUTO_RP_PORT: Final = 496
RP_ANNOUNCE: Final = IPv4Address("224.0.1.39")
RP_DISCOVERY: Final = IPv4Address("224.0.1.40")

_UDP = Struct("!HHHH")
_HEAD = Struct("!BBHI")
_PIM_VERSION: Final = 0x03
_NEGATIVE: Final = 0x01


class AutoRpType(IntEnum):
    """The sender: a candidate RP announces itself, a mapping agent announces which RPs it has chosen."""

    ANNOUNCEMENT = 1
    MAPPING = 2


class AutoRpGroups(NamedTuple):
    """A range of groups; a negative one has no rendezvous point (its groups stay in dense mode)."""

    groups: IPv4Network
    negative: bool = False


class AutoRpEntry(msgspec.Struct, frozen=True):
    """A rendezvous point with its ranges; ``pim_version`` is 0 (unknown), 1, 2 or 3 (both)."""

    address: IPv4Address
    ranges: tuple[AutoRpGroups, ...]
    pim_version: int = 2


class AutoRp(msgspec.Struct, frozen=True):
    """A message; ``holdtime`` in seconds, 0: it does not expire."""

    kind: AutoRpType
    holdtime: int
    rps: tuple[AutoRpEntry, ...]


def decode_udp(data: bytes) -> bytes:
    """The payload of a UDP datagram to the Auto-RP port.

    The checksum is not verified: a packet socket gets datagrams before the kernel verifies it or, if they were sent by
    this host, before it is filled in. Raises DecodeError ``udp_length`` (also of a first fragment) or ``udp_port``.
    """
    if len(data) < _UDP.size:
        raise DecodeError("udp_length")
    _source, port, length, _checksum = _UDP.unpack_from(data)
    if not _UDP.size <= length <= len(data):
        raise DecodeError("udp_length")
    if port != AUTO_RP_PORT:
        raise DecodeError("udp_port")
    return data[_UDP.size : length]


def decode_auto_rp(data: bytes) -> AutoRp:
    """A message; bytes after the last range are ignored, and so are reserved bits.

    Raises DecodeError ``truncated``, ``auto_rp_version``, ``auto_rp_type``, ``mask_length``, ``group_address`` or
    ``rp_address``.
    """
    reader = Reader(data)
    version_and_type, count = reader.number(1), reader.number(1)
    holdtime, _reserved = reader.number(2), reader.take(4)
    if version_and_type >> 4 != AUTO_RP_VERSION:
        raise DecodeError("auto_rp_version")
    if version_and_type & 0x0F not in AutoRpType._value2member_map_:
        raise DecodeError("auto_rp_type")
    rps = tuple([_entry(reader) for _ in range(count)])
    return AutoRp(AutoRpType(version_and_type & 0x0F), holdtime, rps)


def _entry(reader: Reader) -> AutoRpEntry:
    address = IPv4Address(reader.take(4))
    pim_version, count = reader.number(1) & _PIM_VERSION, reader.number(1)
    ranges = tuple([_groups(reader) for _ in range(count)])
    # Negative ranges alone need no rendezvous point.
    if address.is_multicast or (address.is_unspecified and not all(found.negative for found in ranges)):
        raise DecodeError("rp_address")
    return AutoRpEntry(address, ranges, pim_version)


def _groups(reader: Reader) -> AutoRpGroups:
    negative, mask_len = bool(reader.number(1) & _NEGATIVE), reader.number(1)
    address = IPv4Address(reader.take(4))
    if mask_len > 32:
        raise DecodeError("mask_length")
    if not address.is_multicast or mask_len < 4:
        raise DecodeError("group_address")
    return AutoRpGroups(IPv4Network((address, mask_len), strict=False), negative)
