"""rtnetlink without a library, for what may be much: notifications, and dumps of addresses and routes.

pyroute2 makes a tree of objects of each message, some 50 us, and keeps all that it has read in a queue without a bound.
Here notifications are dropped unread, since they only say that it is time to look; a dump is filtered by the kernel,
and read in slices between which other work has a turn.
"""

import asyncio
import contextlib
import errno
import itertools
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, collapse_addresses
from typing import Final, TypeVar

from mcastd.errors import HostError
from mcastd.links import Address, Route
from mcastd.net import bpf
from mcastd.system import sockets

T = TypeVar("T")

# linux/netlink.h
_SOL_NETLINK, _GET_STRICT_CHK = 270, 12
_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_REQUEST, _ACK, _DUMP, _ERROR, _DONE = 0x001, 0x004, 0x300, 2, 3
# linux/rtnetlink.h, linux/if_addr.h
_GETADDR, _GETROUTE = 22, 26
_ADDRESS: Final = struct.Struct("=4BI")  # family, prefix length, flags, scope, index
_ROUTE: Final = struct.Struct("=8BI")  # family, lengths of destination and source, TOS, table, protocol, scope, type
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL = 1, 2, 3
_RTA_DST, _RTA_OIF, _RTA_TABLE = 1, 4, 15
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
_TYPE_MASK: Final = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_U32: Final = struct.Struct("=I")
ALL: Final = (1, 5, 7, 8, 24)  # RTNLGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE, _IPV4_NETCONF
LINKS: Final = (1, 5)
SYSCTLS: Final = (24,)
_SLICE: Final = 32768  # bytes that the kernel makes of a dump at a time
_PART: Final = 64  # requests that are sent at once; their answers have to fit into the socket's buffer
_TIMEOUT: Final = 5.0  # seconds for an answer, which is lost when the kernel has no memory for it
_COMPARED: Final = 200  # networks: a longer filter is refused (net.core.optmem_max)
_LOST: Final = (errno.ENOBUFS, errno.ENOMEM)


class Changes:
    """Notifications of changes of links, addresses, routes and rules, and of ``rp_filter`` and forwarding, or some.

    They wait in the socket, whose buffer bounds them; what does not fit is one more change. Raises HostError.
    """

    def __init__(self, groups: Collection[int] = ALL) -> None:
        """Notice changes from now on."""
        with _host_errors("no notifications from the kernel"):
            self._sock = _open()
            self._sock.bind((0, sum(1 << (group - 1) for group in groups)))

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def limit_routes(self, networks: Collection[IPv4Network]) -> None:
        """Notice only changes of routes that overlap with these networks; of all routes, if they are too many."""
        compared = collapse_addresses(networks) if len(networks) <= _COMPARED else [IPv4Network("0.0.0.0/0")]
        with _host_errors("no filter for notifications"):
            program = bpf.accept_changes_of(list(compared))
            sockets.attach_filter(self._sock, program)

    async def __aiter__(self) -> AsyncIterator[None]:
        """Return after changes, once for all that came meanwhile."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.sock_recv(self._sock, 1)
            except OSError as error:
                if error.errno not in _LOST:
                    raise HostError(f"no notifications from the kernel: {error.strerror}") from error
            sockets.drain(self._sock)
            yield


async def addresses(index: int = 0) -> tuple[Address, ...]:
    """The IPv4 addresses of a link, or of all; those of one link in the kernel's order, the primary one first."""
    return await dump("addresses", _GETADDR, _ADDRESS.pack(socket.AF_INET, 0, 0, 0, index), _address)


async def routes(table: int, prefixes: Collection[IPv4Network], protocol: int) -> tuple[Route, ...]:
    """The routes of a table to these prefixes, and those of a protocol (RTPROT_*); none if there is no such table."""
    wanted = {(prefix.network_address.packed if prefix.prefixlen else b"", prefix.prefixlen) for prefix in prefixes}

    def parse(message: memoryview) -> Route | None:
        _, length, _, _, number, by, *_ = _ROUTE.unpack_from(message)
        found = attributes(message, _ROUTE.size)
        destination = bytes(found.get(_RTA_DST, b""))
        if by != protocol and (destination, length) not in wanted:
            return None
        index = _U32.unpack(found[_RTA_OIF])[0] if _RTA_OIF in found else None
        in_table = _U32.unpack(found[_RTA_TABLE])[0] if _RTA_TABLE in found else number
        return Route(IPv4Network((destination or bytes(4), length)), index, in_table, by)

    asked = _ATTRIBUTE.pack(8, _RTA_TABLE) + _U32.pack(table)
    request = _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0) + asked
    return await dump(f"routes of table {table}", _GETROUTE, request, parse, errno.ENOENT)


async def routed(protocol: int) -> frozenset[tuple[int, int]]:
    """The indexes of links and the tables in which they have routes of a protocol (RTPROT_*)."""

    def parse(message: memoryview) -> tuple[int, int] | None:
        _, _, _, _, number, by, *_ = _ROUTE.unpack_from(message)
        found = attributes(message, _ROUTE.size)
        if by != protocol or _RTA_OIF not in found:
            return None
        in_table = _U32.unpack(found[_RTA_TABLE])[0] if _RTA_TABLE in found else number
        return _U32.unpack(found[_RTA_OIF])[0], in_table

    request = _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, protocol, 0, 0, 0)
    return frozenset(await dump("routes", _GETROUTE, request, parse))


def _address(message: memoryview) -> Address:
    _, length, _, _, index = _ADDRESS.unpack_from(message)
    found = attributes(message, _ADDRESS.size)
    address = bytes(found[_IFA_ADDRESS])
    local = bytes(found.get(_IFA_LOCAL, address))
    label = bytes(found.get(_IFA_LABEL, b"")).rstrip(b"\0").decode(errors="replace")
    return Address(index, IPv4Interface((local, length)), IPv4Address(address) if address != local else None, label)


async def dump(
    what: str,
    kind: int,
    request: bytes,
    parse: Callable[[memoryview], T | None],
    *empty: int,
    size: int = _SLICE,
    one: bool = False,
) -> tuple[T, ...]:
    """What ``parse`` makes of each message of a dump; nothing for an error in ``empty``. Raises HostError.

    The messages come in parts of ``size`` bytes, between which other work has a turn. With ``one`` the request is for
    one thing and not for a dump.
    """
    found: list[T] = []
    loop = asyncio.get_running_loop()
    with _host_errors(what), contextlib.closing(_open()) as sock:
        # The kernel filters by what is in the request (Linux 4.20).
        sock.setsockopt(_SOL_NETLINK, _GET_STRICT_CHK, 1)
        sock.send(_HEADER.pack(_HEADER.size + len(request), kind, _REQUEST | (_ACK if one else _DUMP), 1, 0) + request)
        while True:
            for message_type, message in _messages(memoryview(await loop.sock_recv(sock, size))):
                if message_type in (_ERROR, _DONE):
                    code = -struct.unpack_from("=i", message)[0]
                    if code and code not in empty:
                        raise OSError(code, os.strerror(code))
                    return tuple(found)
                if (parsed := parse(message)) is not None:
                    found.append(parsed)
            await asyncio.sleep(0)  # the next slice is ready at once


async def change(what: str, requests: Iterable[bytes], *ignored: int) -> set[int]:
    """Send requests that the kernel acknowledges; returns which of the errors in ``ignored`` it answered.

    They are sent in parts, between which other work has a turn. Raises HostError, with the first other error that was
    answered, after all of them were sent.
    """
    errors: dict[int, None] = {}  # in order
    loop = asyncio.get_running_loop()
    rest = iter(requests)
    with _host_errors(what), contextlib.closing(_open()) as sock:
        while part := list(itertools.islice(rest, _PART)):
            sock.send(b"".join(part))
            answered = 0
            while answered < len(part):
                async with asyncio.timeout(_TIMEOUT):
                    data = memoryview(await loop.sock_recv(sock, _SLICE))
                for _, message in _messages(data):
                    answered += 1
                    errors.setdefault(-struct.unpack_from("=i", message)[0])
            await asyncio.sleep(0)
        if refused := [code for code in errors if code and code not in ignored]:
            raise OSError(refused[0], os.strerror(refused[0]))
    return set(errors) - {0}


def _messages(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The messages of a slice: the type, and what is behind the header."""
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        yield kind, data[_HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def attributes(message: memoryview, offset: int) -> dict[int, memoryview]:
    """The attributes of a message, by their type."""
    return dict(_each_attribute(message[offset:]))


def nested(message: memoryview) -> Iterator[memoryview]:
    """The values of attributes that are a list."""
    return (value for _, value in _each_attribute(message))


def _each_attribute(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind & _TYPE_MASK, data[_ATTRIBUTE.size : length]
        data = data[max(_ATTRIBUTE.size, (length + 3) & ~3) :]


def _open() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)


@contextlib.contextmanager
def _host_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # a TimeoutError has no number
        raise HostError(f"{what}: {error.strerror or 'the kernel does not answer'}") from error
