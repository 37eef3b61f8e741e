"""Questions to netfilter by netlink (linux/netfilter/nfnetlink.h): what nf_tables and conntrack have.

An answer comes in datagrams of several messages, between which other work has a turn. Every question has a socket of
its own, so that what is left of an answer that was given up is not taken for the next one.
"""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncGenerator, Iterator
from typing import Final, NamedTuple

from mcastd.errors import HostError
from mcastd.system.sockets import configuring

NETLINK: Final = 12
"""The family of the sockets, NETLINK_NETFILTER."""

_HEADER: Final = struct.Struct("=IHHII")  # length, type (subsystem << 8 | message), flags, sequence number, port
_GENERIC: Final = struct.Struct("=BBH")  # address family, version, resource
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
_NESTED: Final = 0x8000
_TYPE_MASK: Final = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST, _ACK, _DUMP, _INTERRUPTED = 0x1, 0x4, 0x300, 0x10
_DATAGRAM: Final = 1 << 16
_TIMEOUT: Final = 5.0  # seconds for each datagram; the kernel has it at once


class Message(NamedTuple):
    """One message of an answer.

    ``attributes`` are those after the header; ``generation`` is the ruleset's (nf_tables), modulo 2^16;
    ``interrupted`` is that something changed during the dump, so that parts may be missing.
    """

    attributes: bytes
    generation: int
    interrupted: bool


class NetfilterError(HostError):
    """The kernel's answer is an error, ``code``."""

    def __init__(self, code: int) -> None:
        super().__init__(f"netfilter: {os.strerror(code)}")
        self.code = code


async def ask(subsystem: int, kind: int, request: bytes = b"", *, dump: bool = False) -> AsyncGenerator[Message, None]:
    """The messages of the answer to a request for IPv4; of an acknowledgement, none. Raises HostError."""
    body = _GENERIC.pack(socket.AF_INET, 0, 0) + request
    flags = _REQUEST | (_DUMP if dump else _ACK)
    loop = asyncio.get_running_loop()
    try:
        with configuring(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK) as sock, sock:
            sock.send(_HEADER.pack(_HEADER.size + len(body), subsystem << 8 | kind, flags, 1, 0) + body)
            while True:
                async with asyncio.timeout(_TIMEOUT):
                    datagram = await loop.sock_recv(sock, _DATAGRAM)
                for found, flags, start, end in _messages(datagram):
                    if found in (_NLMSG_ERROR, _NLMSG_DONE):
                        if code := -struct.unpack_from("=i", datagram, start)[0]:
                            raise NetfilterError(code)
                        return
                    _, _, generation = _GENERIC.unpack_from(datagram, start)
                    attributes = datagram[start + _GENERIC.size : end]
                    yield Message(attributes, socket.ntohs(generation), bool(flags & _INTERRUPTED))
                await asyncio.sleep(0)  # the next datagram is ready at once
    except OSError as error:
        raise HostError(f"netfilter: {error.strerror or 'no answer'}") from error


def attributes(data: bytes) -> dict[int, bytes]:
    """The values of attributes, by their type."""
    found = {}
    position = 0
    while position + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        found[kind & _TYPE_MASK] = data[position + _ATTRIBUTE.size : position + length]
        position += max((length + 3) & ~3, _ATTRIBUTE.size)
    return found


def attribute(kind: int, value: bytes, *, nested: bool = False) -> bytes:
    """One attribute; ``nested`` is that its value is attributes."""
    head = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind | (_NESTED if nested else 0))
    return head + value + bytes(-len(value) % 4)


def _messages(datagram: bytes) -> Iterator[tuple[int, int, int, int]]:
    """The type and flags of each message, and where what is behind its header begins and ends."""
    position = 0
    while position + _HEADER.size <= len(datagram):
        length, kind, flags, _, _ = _HEADER.unpack_from(datagram, position)
        yield kind, flags, position + _HEADER.size, position + length
        position += max((length + 3) & ~3, _HEADER.size)
