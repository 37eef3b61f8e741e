"""GRE: the options of a tunnel, and the header, bytes <-> a frozen struct (RFC 2784, RFC 2890).

 0                   1                   2                   3
|C| |K|S|       Reserved        | Ver |         Protocol        |
|      Checksum (if C is set)         |        Reserved1        |
|                       Key (if K is set)                       |
|                 Sequence Number (if S is set)                 |
"""

import struct
from enum import IntFlag
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from mcastd.errors import DecodeError
from mcastd.net.checksum import internet_checksum

PROTOCOL_IPV4 = 0x0800
PROTOCOL_KEEPALIVE = 0x0000
PROTOCOL_CMD = 0x8909  # Cisco MetaData: a Cisco TrustSec domain puts it before IPv4

# Type of what follows, version, length, option, security group tag.
_CMD = struct.Struct("!HBBHH")


class Flag(IntFlag):
    """The first 16 bits of a GRE header (RFC 2784, section 2.1; RFC 2890, section 2; RFC 1701 for routing)."""

    CHECKSUM = 0x8000
    ROUTING = 0x4000
    KEY = 0x2000
    SEQUENCE = 0x1000
    RESERVED = 0x0C00
    VERSION = 0x0007


class GreOptions(Struct, frozen=True):
    """What both ends of a tunnel are configured with beside their addresses; keys of ``[tunnels.NAME]``."""

    key: Annotated[int, Meta(ge=0, le=2**32 - 1)] | None = None
    """GRE key, the same on both sides"""
    checksum: bool = False
    """GRE checksums, sent and expected"""
    sequence: bool = False
    """GRE sequence numbers, sent and expected"""
    ttl: Annotated[int, Meta(ge=1, le=255)] = 255
    """TTL of the outer IP header"""

    def header(self, protocol: int, sequence: int | None = None) -> "GreHeader":
        """The header of a packet that is sent, with this sequence number if there is one."""
        return GreHeader(protocol, self.key, sequence, self.checksum)

    @property
    def feed_header(self) -> "GreHeader":
        """The header of an IPv4 packet that is sent; where packets are numbered, the number is 0."""
        return self.header(PROTOCOL_IPV4, 0 if self.sequence else None)

    def receives(self, header: "GreHeader") -> bool:
        """Whether a packet from the other side belongs to the tunnel, which its key decides."""
        return header.key == self.key

    def sends(self, header: "GreHeader") -> bool:
        """Whether a packet to the other side belongs to the tunnel, which its key decides."""
        return header.key == self.key

    def refusal(self, header: "GreHeader") -> str | None:
        """Why a packet from the other side is dropped, as the kernel does; None if it is not.

        One of ``gre_key``, ``gre_checksum_unexpected``, ``gre_checksum_missing`` and ``gre_sequence_missing``; sequence
        numbers that were not asked for are ignored.
        """
        if not self.receives(header):
            return "gre_key"
        if header.checksum != self.checksum:
            return "gre_checksum_unexpected" if header.checksum else "gre_checksum_missing"
        return "gre_sequence_missing" if self.sequence and header.sequence is None else None


PLAIN: Final = GreOptions()
"""GRE as RFC 2784 has it without any option."""


class GreHeader(msgspec.Struct, frozen=True):
    """A GRE version 0 header. ``length`` is its size in bytes, the offset of the payload."""

    protocol: int
    key: int | None = None
    sequence: int | None = None
    checksum: bool = False

    @property
    def length(self) -> int:
        """Bytes before the payload."""
        return 4 + 4 * self.checksum + 4 * (self.key is not None) + 4 * (self.sequence is not None)

    @property
    def flags(self) -> int:
        """The flags of the fields that are present."""
        keyed, numbered = self.key is not None, self.sequence is not None
        return Flag.CHECKSUM * self.checksum + Flag.KEY * keyed + Flag.SEQUENCE * numbered

    @property
    def is_constant(self) -> bool:
        """Whether it is the same for every packet: it has neither a checksum nor a sequence number."""
        return not self.checksum and self.sequence is None

    def encode(self, payload: bytes) -> bytes:
        """The header and the payload behind it, with the checksum where the header has one."""
        head = struct.pack("!HH", self.flags, self.protocol)
        tail = b"".join(field.to_bytes(4) for field in (self.key, self.sequence) if field is not None) + payload
        if self.checksum:
            head += internet_checksum(head + tail).to_bytes(2) + b"\0\0"
        return head + tail


def decode(packet: bytes | memoryview) -> GreHeader:
    """Read the GRE header at the start of ``packet``.

    Raises DecodeError: ``gre_short``, ``gre_version``, ``gre_routing`` and ``gre_reserved`` (flags of RFC 1701, which
    a receiver must not accept: RFC 2784, section 2.2) or ``gre_checksum``.
    """
    if len(packet) < 4:
        raise DecodeError("gre_short")
    flags, protocol = struct.unpack_from("!HH", packet)
    for flag, reason in ((Flag.VERSION, "gre_version"), (Flag.ROUTING, "gre_routing"), (Flag.RESERVED, "gre_reserved")):
        if flags & flag:
            raise DecodeError(reason)
    checksum, keyed, numbered = (bool(flags & flag) for flag in (Flag.CHECKSUM, Flag.KEY, Flag.SEQUENCE))
    count = checksum + keyed + numbered
    if len(packet) < 4 + 4 * count:
        raise DecodeError("gre_short")
    if checksum and internet_checksum(packet):
        raise DecodeError("gre_checksum")
    fields = list(struct.unpack_from(f"!{count}I", packet, 4))[checksum:]
    return GreHeader(protocol, fields[0] if keyed else None, fields[-1] if numbered else None, checksum)


def behind_cmd(payload: memoryview) -> memoryview:
    """The IPv4 packet behind the CMD header, with which the payload of GRE of protocol 0x8909 begins.

    Raises DecodeError: ``cmd_short`` or ``cmd_header`` (an unknown version, length or type of what follows).
    """
    if len(payload) < _CMD.size:
        raise DecodeError("cmd_short")
    if _CMD.unpack_from(payload)[:3] != (PROTOCOL_IPV4, 1, 1):
        raise DecodeError("cmd_header")
    return payload[_CMD.size :]
