"""PIM messages that a leaf hears but does not live on: Register, Register-Stop, Assert (RFC 7761, section 4.9)."""

from dataclasses import dataclass
from ipaddress import IPv4Address
from struct import pack
from typing import Final

from mcastd.errors import DecodeError
from mcastd.pim.packet import MessageType, Reader, encode_source, encode_unicast, seal

_BORDER: Final = 0x80
_NULL: Final = 0x40
_IPV4_HEADER: Final = 20


@dataclass(frozen=True, slots=True)
class Register:
    """A Register (section 4.9.3), by what its inner packet is: the source, the group, and whether it carries data."""

    source: IPv4Address
    group: IPv4Address
    border: bool = False
    null: bool = False


@dataclass(frozen=True, slots=True)
class RegisterStop:
    """A Register-Stop (section 4.9.4)."""

    group: IPv4Address
    source: IPv4Address


@dataclass(frozen=True, slots=True)
class Assert:
    """An Assert (section 4.9.6): ``rpt`` with a source of 0.0.0.0 is of (*,G)."""

    group: IPv4Address
    source: IPv4Address
    rpt: bool
    preference: int
    metric: int


def decode_register(body: bytes) -> Register:
    """The body of a Register. Raises DecodeError ``truncated`` or, of its inner packet, ``register_inner``."""
    reader = Reader(body)
    flags = reader.take(4)[0]
    inner = reader.take(reader.left)
    null = bool(flags & _NULL)
    if len(inner) < _IPV4_HEADER or inner[0] >> 4 != 4:
        raise DecodeError("register_inner")
    header, total = (inner[0] & 0x0F) * 4, int.from_bytes(inner[2:4])
    if header < _IPV4_HEADER or header > len(inner) or not (null or header <= total <= len(inner)):
        raise DecodeError("register_inner")
    group = IPv4Address(inner[16:20])
    if not group.is_multicast:
        raise DecodeError("register_inner")
    return Register(IPv4Address(inner[12:16]), group, bool(flags & _BORDER), null)


def encode_register_stop(message: RegisterStop) -> bytes:
    """A whole Register-Stop message."""
    # An encoded group has the form of an encoded source.
    return seal(MessageType.REGISTER_STOP, encode_source(message.group, 0) + encode_unicast(message.source))


def decode_register_stop(body: bytes) -> RegisterStop:
    """The body of a Register-Stop."""
    reader = Reader(body)
    group, _, _ = reader.group()
    return RegisterStop(group, reader.unicast())


def encode_assert(message: Assert) -> bytes:
    """A whole Assert message."""
    numbers = pack("!II", message.preference | (message.rpt << 31), message.metric)
    return seal(MessageType.ASSERT, encode_source(message.group, 0) + encode_unicast(message.source) + numbers)


def decode_assert(body: bytes) -> Assert:
    """The body of an Assert."""
    reader = Reader(body)
    group, _, _ = reader.group()
    source = reader.unicast()
    preference, metric = reader.number(4), reader.number(4)
    return Assert(group, source, bool(preference >> 31), preference & 0x7FFFFFFF, metric)
