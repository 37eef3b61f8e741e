"""Messages of netlink and their attributes, as bytes (linux/netlink.h). Pure.

::

    struct nlmsghdr    length 32, type 16, flags 16, sequence 32, port 32; all in the byte order of this machine
    attributes         length 16, type 16, value, padding to 4 bytes; some values are attributes again

A datagram has several messages. A listing comes as several datagrams, the last message of which is DONE or ERROR.
"""

import struct
from collections.abc import Iterator
from typing import Final

from mcastd.errors import DecodeError

ERROR, DONE = 2, 3
REQUEST, ACK, DUMP_INTR, DUMP = 0x1, 0x4, 0x10, 0x300

_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERRNO: Final = struct.Struct("=i")
_TYPE_MASK: Final = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

Span = tuple[int, int]
"""Where a value is in a message."""


def request(kind: int, flags: int, body: bytes) -> bytes:
    """A message that asks for something."""
    return _HEADER.pack(_HEADER.size + len(body), kind, REQUEST | flags, 1, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def messages(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The messages in a datagram: type, flags, and what is behind the header. Raises DecodeError."""
    position = 0
    while position < len(datagram):
        if len(datagram) - position < _HEADER.size:
            raise DecodeError("truncated")
        length, kind, flags, _, _ = _HEADER.unpack_from(datagram, position)
        if length < _HEADER.size or position + length > len(datagram):
            raise DecodeError("length")
        yield kind, flags, datagram[position + _HEADER.size : position + length]
        position += (length + 3) & ~3


def error(body: bytes) -> int:
    """The number of errno in a message of the type ERROR or DONE, or 0; DONE of old kernels may be empty."""
    return -int(_ERRNO.unpack_from(body)[0]) if len(body) >= _ERRNO.size else 0


def attributes(message: bytes, span: Span) -> Iterator[tuple[int, Span]]:
    """The type of each attribute between two offsets, and where its value is. Raises DecodeError."""
    position, end = span
    while position < end:
        if end - position < _ATTRIBUTE.size:
            raise DecodeError("truncated")
        length, kind = _ATTRIBUTE.unpack_from(message, position)
        if length < _ATTRIBUTE.size or position + length > end:
            raise DecodeError("length")
        yield kind & _TYPE_MASK, (position + _ATTRIBUTE.size, position + length)
        position += (length + 3) & ~3


def values(message: bytes, start: int) -> dict[int, bytes]:
    """The values of the attributes from an offset on, by their type. Raises DecodeError."""
    return {kind: message[first:end] for kind, (first, end) in attributes(message, (start, len(message)))}
