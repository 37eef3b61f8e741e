"""Questions to nf_tables over netlink and the kernel's answers, as bytes (linux/netfilter/nf_tables.h). Pure.

::

    struct nlmsghdr    length 32, type 16 (subsystem << 8 | message), flags 16, sequence 32, port 32
    struct nfgenmsg    family 8, version 8, resource 16
    attributes         length 16, type 16, value, padding to 4 bytes; some values are attributes again

The header is in the byte order of the host, numbers in attributes of nf_tables are in that of the network. A listing
comes as several datagrams of several messages each, the last of which is NLMSG_DONE or NLMSG_ERROR.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from mcastd.errors import DecodeError

_HEADER: Final = struct.Struct("=IHHII")
_GENERIC: Final = struct.Struct("=BBH")
_ATTRIBUTE: Final = struct.Struct("=HH")
_NUMBER: Final = struct.Struct(">Q")
_ERRNO: Final = struct.Struct("=i")
_TYPE_MASK: Final = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP_INTR, _NLM_F_DUMP = 0x1, 0x10, 0x300
_NFNL_SUBSYS_NFTABLES: Final = 10
_NFT_MSG_GETSETELEM, _NFT_MSG_GETOBJ = 13, 19
_AF_INET: Final = 2
_NFT_OBJECT_COUNTER: Final = 1

_OBJ_TABLE, _OBJ_NAME, _OBJ_TYPE, _OBJ_DATA = 1, 2, 3, 4  # NFTA_OBJ_*
_COUNTER_BYTES, _COUNTER_PACKETS = 1, 2  # NFTA_COUNTER_*
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_*
_ELEM_KEY, _ELEM_EXPIRATION, _ELEM_EXPR = 1, 5, 7  # NFTA_SET_ELEM_*
_DATA_VALUE: Final = 1  # NFTA_DATA_VALUE
_EXPR_DATA: Final = 2  # NFTA_EXPR_DATA

_Span = tuple[int, int]


class Element(NamedTuple):
    """An element of a set with counters and a timeout. ``expires_in`` is in seconds, ``size`` in bytes."""

    key: bytes
    packets: int
    expires_in: float
    size: int = 0


class Part(NamedTuple):
    """One datagram of a listing: the attributes of its messages.

    ``done`` is that it is the last one; ``error`` is the kernel's errno, or 0; ``interrupted`` is that the ruleset
    changed meanwhile, so that something may be missing.
    """

    messages: list[bytes]
    done: bool
    error: int
    interrupted: bool


def ask_counters(table: str) -> bytes:
    """Ask for the named counters of a table of the family ``ip``."""
    kind = _attribute(_OBJ_TYPE, struct.pack(">I", _NFT_OBJECT_COUNTER))
    return _request(_NFT_MSG_GETOBJ, _attribute(_OBJ_TABLE, _text(table)) + kind)


def ask_elements(table: str, name: str) -> bytes:
    """Ask for the elements of a set of a table of the family ``ip``."""
    attributes = _attribute(_LIST_TABLE, _text(table)) + _attribute(_LIST_SET, _text(name))
    return _request(_NFT_MSG_GETSETELEM, attributes)


def part(datagram: bytes) -> Part:
    """One datagram of an answer. Raises DecodeError."""
    messages, error, done, interrupted = [], 0, False, False
    position = 0
    while position < len(datagram):
        if len(datagram) - position < _HEADER.size:
            raise DecodeError("truncated")
        length, kind, flags, _, _ = _HEADER.unpack_from(datagram, position)
        body = position + _HEADER.size
        end = position + length
        if length < _HEADER.size or end > len(datagram):
            raise DecodeError("length")
        interrupted = interrupted or bool(flags & _NLM_F_DUMP_INTR)
        if kind in (_NLMSG_ERROR, _NLMSG_DONE):
            done = True
            # Both begin with a negative errno, or 0; NLMSG_DONE of old kernels may be empty.
            error = -_ERRNO.unpack_from(datagram, body)[0] if end - body >= _ERRNO.size else 0
        elif kind >> 8 == _NFNL_SUBSYS_NFTABLES:
            messages.append(datagram[body + _GENERIC.size : end])
        position += (length + 3) & ~3
    return Part(messages, done, error, interrupted)


def counter(message: bytes) -> tuple[str, int]:
    """The name of a counter, and its packets. Raises DecodeError."""
    found = dict(_attributes(message, (0, len(message))))
    data = dict(_attributes(message, _required(found, _OBJ_DATA)))
    start, end = _required(found, _OBJ_NAME)
    name = message[start:end].rstrip(b"\0").decode(errors="replace")
    return name, _number(message, _required(data, _COUNTER_PACKETS))


def elements(message: bytes) -> Iterator[Element]:
    """The elements in one message; those without a counter or a timeout are left out. Raises DecodeError."""
    found = dict(_attributes(message, (0, len(message))))
    if _LIST_ELEMENTS not in found:
        return
    for _, span in _attributes(message, found[_LIST_ELEMENTS]):
        element = dict(_attributes(message, span))
        if _ELEM_EXPR not in element or _ELEM_EXPIRATION not in element:
            continue
        start, end = _required(dict(_attributes(message, _required(element, _ELEM_KEY))), _DATA_VALUE)
        expression = dict(_attributes(message, element[_ELEM_EXPR]))
        data = dict(_attributes(message, _required(expression, _EXPR_DATA)))
        packets, size = (_number(message, _required(data, kind)) for kind in (_COUNTER_PACKETS, _COUNTER_BYTES))
        yield Element(message[start:end], packets, _number(message, element[_ELEM_EXPIRATION]) / 1000.0, size)


def _request(kind: int, attributes: bytes) -> bytes:
    body = _GENERIC.pack(_AF_INET, 0, 0) + attributes
    flags = _NLM_F_REQUEST | _NLM_F_DUMP
    return _HEADER.pack(_HEADER.size + len(body), _NFNL_SUBSYS_NFTABLES << 8 | kind, flags, 1, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def _attributes(message: bytes, span: _Span) -> Iterator[tuple[int, _Span]]:
    """The type of each attribute between two offsets, and where its value is."""
    position, end = span
    while position < end:
        if end - position < _ATTRIBUTE.size:
            raise DecodeError("truncated")
        length, kind = _ATTRIBUTE.unpack_from(message, position)
        if length < _ATTRIBUTE.size or position + length > end:
            raise DecodeError("length")
        yield kind & _TYPE_MASK, (position + _ATTRIBUTE.size, position + length)
        position += (length + 3) & ~3


def _required(found: dict[int, _Span], kind: int) -> _Span:
    if kind not in found:
        raise DecodeError("incomplete")
    return found[kind]


def _number(message: bytes, span: _Span) -> int:
    if span[1] - span[0] != _NUMBER.size:
        raise DecodeError("number")
    number: int = _NUMBER.unpack_from(message, span[0])[0]
    return number
