"""The kernel's connection tracking, by netlink.

How a connection is translated is decided at its first packet. One that began before a NAT rule was there is not
translated by it; once its entry is deleted, its next packet is a first one.
"""

import errno
import struct
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from mcastd.net.flow import Flow
from mcastd.system.netfilter import NetfilterError, ask, attribute, attributes

# linux/netfilter/nfnetlink_conntrack.h
_SUBSYSTEM, _GET, _DELETE = 1, 1, 2
_TUPLE_ORIG, _TUPLE_REPLY, _ID, _ZONE = 1, 2, 12, 18
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_SOURCE, _DESTINATION = 1, 2
_PROTO_NUM: Final = 1


async def forget(concerned: Callable[[Flow], bool]) -> int:
    """Delete the entries of IPv4 connections that ``concerned`` is true for; returns how many. Raises HostError."""
    found = []
    async with aclosing(ask(_SUBSYSTEM, _GET, dump=True)) as entries:
        async for entry in entries:
            values = attributes(entry.attributes)
            if concerned(_flow(values)):
                names = attribute(_TUPLE_ORIG, values[_TUPLE_ORIG], nested=True)
                # With the ID: a later connection may have the same addresses and ports.
                names += b"".join(attribute(kind, values[kind]) for kind in (_ZONE, _ID) if kind in values)
                found.append(names)
    for names in found:
        try:
            async for _ in ask(_SUBSYSTEM, _DELETE, names):
                pass
        except NetfilterError as error:
            if error.code != errno.ENOENT:  # it has ended meanwhile
                raise
    return len(found)


def _flow(values: dict[int, bytes]) -> Flow:
    first, answer = (attributes(values[kind]) for kind in (_TUPLE_ORIG, _TUPLE_REPLY))
    addresses, answers = attributes(first[_TUPLE_IP]), attributes(answer[_TUPLE_IP])
    protocol = attributes(first[_TUPLE_PROTO])[_PROTO_NUM][0]
    return Flow(_number(addresses[_SOURCE]), _number(addresses[_DESTINATION]), _number(answers[_DESTINATION]), protocol)


def _number(address: bytes) -> int:
    number: int = struct.unpack(">I", address)[0]
    return number
