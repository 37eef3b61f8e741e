"""The IPv4 header (RFC 791, section 3.1).

 0                   1                   2                   3
|Version|  IHL  |Type of Service|          Total Length         |
|         Identification        |Flags|      Fragment Offset    |
|  Time to Live |    Protocol   |         Header Checksum       |
|                         Source Address                        |
|                       Destination Address                     |
|                    Options, up to 40 bytes                    |
"""

import struct
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from mcastd.errors import DecodeError
from mcastd.net.checksum import internet_checksum

HEADER_LENGTH: Final = 20
"""Bytes, without options."""

IGMP: Final = 2
UDP: Final = 17
GRE: Final = 47
ESP: Final = 50
PIM: Final = 103

UDP_HEADER_LENGTH: Final = 8
INTERNETWORK_CONTROL: Final = 0xC0
"""The type of service of routing protocols (RFC 791, section 3.1: precedence 6)."""

_MORE_FRAGMENTS, _FRAGMENT_OFFSET = 0x2000, 0x1FFF


class Ipv4Packet(NamedTuple):
    """A packet whose header is consistent; a field is read from it when it is asked for."""

    header: memoryview
    """With its options."""
    payload: memoryview
    """Without what the link layer padded."""

    @property
    def tos(self) -> int:
        """The type of service."""
        return self.header[1]

    @property
    def length(self) -> int:
        """The total length in bytes, as the header gives it."""
        return self.header[2] << 8 | self.header[3]

    @property
    def identification(self) -> int:
        """What the fragments of one packet have in common."""
        return self.header[4] << 8 | self.header[5]

    @property
    def fragment_offset(self) -> int:
        """Where in the whole packet the payload belongs, in units of 8 bytes."""
        return (self.header[6] << 8 | self.header[7]) & _FRAGMENT_OFFSET

    @property
    def is_fragment(self) -> bool:
        """Whether the payload is a part of a packet's, also the first one."""
        return bool((self.header[6] << 8 | self.header[7]) & (_MORE_FRAGMENTS | _FRAGMENT_OFFSET))

    @property
    def more_fragments(self) -> bool:
        """Whether the payload is a part of a packet's, and not the last one."""
        return bool((self.header[6] << 8 | self.header[7]) & _MORE_FRAGMENTS)

    @property
    def ttl(self) -> int:
        """The time to live, in hops."""
        return self.header[8]

    @property
    def protocol(self) -> int:
        """The protocol of the payload."""
        return self.header[9]

    @property
    def source(self) -> IPv4Address:
        """The source address."""
        return IPv4Address(bytes(self.header[12:16]))

    @property
    def destination(self) -> IPv4Address:
        """The destination address."""
        return IPv4Address(bytes(self.header[16:20]))

    @property
    def ends(self) -> tuple[IPv4Address, IPv4Address]:
        """Both addresses."""
        return self.source, self.destination


def parse(packet: bytes | memoryview, *, truncated: bool = False) -> Ipv4Packet:
    """Read the header at the start of ``packet``; its checksum is not verified.

    ``truncated`` allows a packet that lacks its end, whatever length the header gives.
    Raises DecodeError: ``ip_short``, ``ip_version``, ``ip_header_length`` or ``ip_total_length``.
    """
    view = memoryview(packet)
    if len(view) < HEADER_LENGTH:
        raise DecodeError("ip_short")
    if view[0] >> 4 != 4:
        raise DecodeError("ip_version")
    length = (view[0] & 0x0F) * 4
    total = view[2] << 8 | view[3]
    if not HEADER_LENGTH <= length <= len(view):
        raise DecodeError("ip_header_length")
    if not truncated and not length <= total <= len(view):
        raise DecodeError("ip_total_length")
    return Ipv4Packet(view[:length], view[length:total])


def encode(
    payload: bytes, source: IPv4Address, destination: IPv4Address, *, protocol: int, tos: int, ttl: int
) -> bytes:
    """A packet with a header of 20 bytes, its checksum included."""
    total = HEADER_LENGTH + len(payload)
    head = struct.pack("!BBHIBBH", 0x45, tos, total, 0, ttl, protocol, 0) + source.packed + destination.packed
    return head[:10] + internet_checksum(head).to_bytes(2) + head[12:] + payload
