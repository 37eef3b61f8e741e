"""The GRE header: bytes <-> a frozen dataclass (RFC 2784; RFC 2890 for key and sequence number)."""

import struct
from dataclasses import dataclass
from enum import IntFlag

from mcastd.errors import DecodeError

PROTOCOL_IPV4 = 0x0800
PROTOCOL_KEEPALIVE = 0x0000
PROTOCOL_CMD = 0x8909
IPPROTO_GRE = 47

# Type of what follows, version, length, option, security group tag; a Cisco TrustSec domain puts it before IPv4.
_CMD = struct.Struct("!HBBHH")


class Flag(IntFlag):
    """The first 16 bits of a GRE header (RFC 2784, section 2.1; RFC 2890, section 2; RFC 1701 for routing)."""

    CHECKSUM = 0x8000
    ROUTING = 0x4000
    KEY = 0x2000
    SEQUENCE = 0x1000
    RESERVED = 0x0C00
    VERSION = 0x0007


@dataclass(frozen=True, slots=True)
class GreHeader:
    """A GRE version 0 header. ``length`` is its size in bytes, the offset of the payload."""

    protocol: int
    key: int | None = None
    sequence: int | None = None
    checksum: bool = False

    @property
    def length(self) -> int:
        """Bytes before the payload."""
        return 4 + 4 * self.checksum + 4 * (self.key is not None) + 4 * (self.sequence is not None)

    def encode(self, payload: bytes) -> bytes:
        """The header and the payload behind it, checksummed where the header asks for it."""
        flags = Flag(0)
        tail = b""
        if self.key is not None:
            flags |= Flag.KEY
            tail += struct.pack("!I", self.key)
        if self.sequence is not None:
            flags |= Flag.SEQUENCE
            tail += struct.pack("!I", self.sequence)
        if not self.checksum:
            return struct.pack("!HH", flags, self.protocol) + tail + payload
        head = struct.pack("!HH", flags | Flag.CHECKSUM, self.protocol)
        total = internet_checksum(head + b"\0\0\0\0" + tail + payload)
        return head + struct.pack("!HH", total, 0) + tail + payload


def internet_checksum(data: bytes | memoryview) -> int:
    """The 16-bit one's complement checksum of RFC 1071; 0 over data that already holds a right one."""
    padded = bytes(data) + b"\0" * (len(data) % 2)
    words: tuple[int, ...] = struct.unpack(f"!{len(padded) // 2}H", padded)
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def decode(packet: bytes | memoryview) -> GreHeader:
    """Read the GRE header at the start of ``packet``.

    Raises DecodeError: ``gre_short``, ``gre_version``, ``gre_routing`` and ``gre_reserved`` (RFC 1701's, which
    RFC 2784, section 2.2, lets no receiver take for its own) or ``gre_checksum``.
    """
    if len(packet) < 4:
        raise DecodeError("gre_short")
    flags, protocol = struct.unpack_from("!HH", packet)
    if flags & Flag.VERSION:
        raise DecodeError("gre_version")
    if flags & Flag.ROUTING:
        raise DecodeError("gre_routing")
    if flags & Flag.RESERVED:
        raise DecodeError("gre_reserved")
    checksum = bool(flags & Flag.CHECKSUM)
    offset = 8 if checksum else 4
    fields: list[int | None] = []
    for flag in (Flag.KEY, Flag.SEQUENCE):
        if flags & flag:
            if len(packet) < offset + 4:
                raise DecodeError("gre_short")
            fields.append(int.from_bytes(packet[offset : offset + 4], "big"))
            offset += 4
        else:
            fields.append(None)
    if len(packet) < offset:
        raise DecodeError("gre_short")
    if checksum and internet_checksum(packet):
        raise DecodeError("gre_checksum")
    return GreHeader(protocol, fields[0], fields[1], checksum)


def behind_cmd(payload: memoryview) -> memoryview:
    """The IPv4 packet behind Cisco's CMD header, with which GRE of protocol 0x8909 begins.

    Raises DecodeError: ``cmd_short`` or ``cmd_header`` (a version, length or type of what follows that is not known).
    """
    if len(payload) < _CMD.size:
        raise DecodeError("cmd_short")
    if _CMD.unpack_from(payload)[:3] != (PROTOCOL_IPV4, 1, 1):
        raise DecodeError("cmd_header")
    return payload[_CMD.size :]


def ipv4_payload(packet: bytes | memoryview) -> memoryview:
    """The payload of an IPv4 packet, as its header's lengths have it.

    Raises DecodeError: ``ip_short``, ``ip_version``, ``ip_header_length`` or ``ip_total_length``.
    """
    view = memoryview(packet)
    if len(view) < 20:
        raise DecodeError("ip_short")
    if view[0] >> 4 != 4:
        raise DecodeError("ip_version")
    header = (view[0] & 0x0F) * 4
    total = (view[2] << 8) | view[3]
    if header < 20 or header > len(view):
        raise DecodeError("ip_header_length")
    if total < header or total > len(view):
        raise DecodeError("ip_total_length")
    return view[header:total]
