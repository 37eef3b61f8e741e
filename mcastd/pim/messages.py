"""PIM messages that a leaf hears but does not live on: Register, Register-Stop, Assert (RFC 7761, section 4.9)."""

from dataclasses import dataclass
from ipaddress import IPv4Address
from struct import pack
from typing import Final

from mcastd.errors import DecodeError
from mcastd.net import ipv4
from mcastd.pim.packet import MessageType, Reader, encode_source, encode_unicast, seal

_BORDER: Final = 0x80
_NULL: Final = 0x40


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
    try:
        packet = ipv4.parse(inner, truncated=null)  # a Null-Register carries only the header
    except DecodeError as error:
        raise DecodeError("register_inner") from error
    if not packet.destination.is_multicast:
        raise DecodeError("register_inner")
    return Register(packet.source, packet.destination, bool(flags & _BORDER), null)


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
