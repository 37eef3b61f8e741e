"""Questions to nf_tables over netlink and the kernel's answers, as bytes (linux/netfilter/nf_tables.h). Pure.

::

    struct nlmsghdr    its type is subsystem << 8 | message
    struct nfgenmsg    family 8, version 8, resource 16
    attributes

Numbers in attributes of nf_tables are in the byte order of the network.
"""

import struct
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from mcastd.errors import DecodeError
from mcastd.net import netlink
from mcastd.net.netlink import Span, attribute, attributes

_GENERIC: Final = struct.Struct("=BBH")
_NUMBER: Final = struct.Struct(">Q")

_NFNL_SUBSYS_NFTABLES: Final = 10
_NFT_MSG_GETSETELEM, _NFT_MSG_GETOBJ = 13, 19
_AF_INET: Final = 2
_NFT_OBJECT_COUNTER: Final = 1

_OBJ_TABLE, _OBJ_NAME, _OBJ_TYPE, _OBJ_DATA = 1, 2, 3, 4  # NFTA_OBJ_*
_COUNTER_BYTES, _COUNTER_PACKETS = 1, 2  # NFTA_COUNTER_*
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_*
_ELEM_KEY, _ELEM_EXPIRATION, _ELEM_EXPR = 1, 5, 7  # NFTA_SET_ELEM_*
_DATA_VALUE: Final = 1  # NFTA_DATA_VALUE
_EXPR_NAME, _EXPR_DATA = 1, 2  # NFTA_EXPR_*
_LIST_ELEMENT: Final = 1  # NFTA_LIST_ELEM
_ELEMENT_WITHOUT_KEY: Final = 68  # bytes of an element with a counter and a timeout


class Element(NamedTuple):
    """An element of a set with counters and a timeout. ``expires_in`` is in seconds, ``size`` in bytes."""

    key: bytes
    packets: int
    expires_in: float
    size: int = 0


class Table(msgspec.Struct, frozen=True):
    """A table as the kernel has it.

    ``structure`` differs after every change of chains, rules, sets (not of their elements) and counters' names, also
    where they were replaced by equal ones; ``counts`` are packets and bytes by the counter's name. ``hooks`` are hook
    and priority by the chain's name, as in NFTA_CHAIN_HOOK.
    """

    structure: str
    counts: dict[str, tuple[int, int]]
    hooks: dict[str, tuple[int, int]]


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
    kind = attribute(_OBJ_TYPE, struct.pack(">I", _NFT_OBJECT_COUNTER))
    return _request(_NFT_MSG_GETOBJ, attribute(_OBJ_TABLE, _text(table)) + kind)


def ask_elements(table: str, name: str) -> bytes:
    """Ask for the elements of a set of a table of the family ``ip``."""
    return _request(_NFT_MSG_GETSETELEM, attribute(_LIST_TABLE, _text(table)) + attribute(_LIST_SET, _text(name)))


def part(datagram: bytes) -> Part:
    """One datagram of an answer. Raises DecodeError."""
    messages, error, done, interrupted = [], 0, False, False
    for kind, flags, body in netlink.messages(datagram):
        interrupted = interrupted or bool(flags & netlink.DUMP_INTR)
        if kind in (netlink.ERROR, netlink.DONE):
            done, error = True, netlink.error(body)
        elif kind >> 8 == _NFNL_SUBSYS_NFTABLES:
            messages.append(body[_GENERIC.size :])
    return Part(messages, done, error, interrupted)


def counter(message: bytes) -> tuple[str, int]:
    """The name of a counter, and its packets. Raises DecodeError."""
    found = dict(attributes(message, (0, len(message))))
    data = dict(attributes(message, _required(found, _OBJ_DATA)))
    start, end = _required(found, _OBJ_NAME)
    name = message[start:end].rstrip(b"\0").decode(errors="replace")
    return name, _number(message, _required(data, _COUNTER_PACKETS))


def elements(message: bytes) -> Iterator[Element]:
    """The elements in one message; those without a counter or a timeout are left out. Raises DecodeError."""
    found = dict(attributes(message, (0, len(message))))
    if _LIST_ELEMENTS not in found:
        return
    first, last = found[_LIST_ELEMENTS]
    # One unpacking each, as long as they are as usual: by attributes an element takes ten times as long.
    form, usual = _form(int.from_bytes(message[first : first + 2], sys.byteorder))
    if (last - first) % form.size == 0:
        for head, key, expression_head, size, packets_head, packets, end_head, expires in form.iter_unpack(
            memoryview(message)[first:last]
        ):
            if (head, expression_head, packets_head, end_head) != usual:
                break
            yield Element(key, packets, expires / 1000.0, size)
            first += form.size
    for _, span in attributes(message, (first, last)):
        element = dict(attributes(message, span))
        if _ELEM_EXPR not in element or _ELEM_EXPIRATION not in element:
            continue
        start, end = _required(dict(attributes(message, _required(element, _ELEM_KEY))), _DATA_VALUE)
        expression = dict(attributes(message, element[_ELEM_EXPR]))
        data = dict(attributes(message, _required(expression, _EXPR_DATA)))
        packets, size = (_number(message, _required(data, kind)) for kind in (_COUNTER_PACKETS, _COUNTER_BYTES))
        yield Element(message[start:end], packets, _number(message, element[_ELEM_EXPIRATION]) / 1000.0, size)


@lru_cache(maxsize=4)
def _form(length: int) -> tuple[struct.Struct, tuple[bytes, ...]]:
    """An element with a counter and a timeout as kernels write it, by its length, and what is between its values."""
    key = max(0, length - _ELEMENT_WITHOUT_KEY)
    heads = (
        _head(length, _LIST_ELEMENT) + _head(8 + key, _ELEM_KEY) + _head(4 + key, _DATA_VALUE),
        _head(44, _ELEM_EXPR) + attribute(_EXPR_NAME, b"counter\0") + _head(28, _EXPR_DATA) + _head(12, _COUNTER_BYTES),
        _head(12, _COUNTER_PACKETS),
        _head(12, _ELEM_EXPIRATION),
    )
    return struct.Struct(f">12s{key}s24sQ4sQ4sQ"), heads


def _head(length: int, kind: int) -> bytes:
    return struct.pack("=HH", length, kind)


def _request(kind: int, asked: bytes) -> bytes:
    body = _GENERIC.pack(_AF_INET, 0, 0) + asked
    return netlink.request(_NFNL_SUBSYS_NFTABLES << 8 | kind, netlink.DUMP, body)


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def _required(found: dict[int, Span], kind: int) -> Span:
    if kind not in found:
        raise DecodeError("incomplete")
    return found[kind]


def _number(message: bytes, span: Span) -> int:
    if span[1] - span[0] != _NUMBER.size:
        raise DecodeError("number")
    number: int = _NUMBER.unpack_from(message, span[0])[0]
    return number
