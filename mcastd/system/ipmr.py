"""What the kernel's multicast routing has, read by rtnetlink (RTNL_FAMILY_IPMR): VIFs, and entries with their counters.

Interfaces are known there by their index, thresholds of entries as "hops" of a route with several ways::

    RTM_GETLINK    struct ifinfomsg 16 bytes, IFLA_AF_SPEC { IPMRA_TABLE_VIFS { IPMRA_VIF { index, number, ... } } }
    RTM_GETROUTE   struct rtmsg 12 bytes, RTA_SRC, RTA_DST, RTA_IIF, RTA_MULTIPATH { length 16, flags 8, hops 8, index
                   32 } ..., RTA_MFC_STATS { packets 64, bytes 64, wrong interface 64 }, RTA_EXPIRES age 64
"""

import asyncio
import fcntl
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from mcastd.errors import HostError
from mcastd.net.mroute import ANY, NO_VIF, Counts, Entry, Vif, outgoing
from mcastd.system import rtnetlink

DAEMONS: Final = ("pimd", "mrouted", "smcrouted", "smcroute", "igmpproxy", "mcproxy", "xorp_fea", "dvmrpd")
"""Programs that use the kernel's multicast routing, by the names in /proc/PID/comm; FRR's is a pimd as well."""

_LINKS: Final = (1,)  # RTNLGRP_LINK
_PART: Final = 8192  # bytes, some 70 entries
_FAMILY: Final = 128  # RTNL_FAMILY_IPMR
_GETLINK, _GETROUTE = 18, 26
_LINK: Final = struct.Struct("=BxHiII")
_ROUTE: Final = struct.Struct("=8BI")
_DEFAULT: Final = 253  # RT_TABLE_DEFAULT
_AF_SPEC, _TABLE_ID, _TABLE_VIFS = 26, 1, 6
_VIF_INDEX, _VIF_NUMBER, _VIF_BYTES_OUT, _VIF_PACKETS_OUT = 1, 2, 5, 7  # IPMRA_VIFA_*
_DST, _SRC, _IIF, _MULTIPATH, _TABLE, _STATS, _EXPIRES = 1, 2, 3, 9, 15, 17, 23  # RTA_*
_HOP: Final = struct.Struct("=HBBi")
_COUNTS: Final = struct.Struct("=QQQ")
_U32, _U64 = struct.Struct("=I"), struct.Struct("=Q")
_UNRESOLVED: Final = 32  # RTNH_F_UNRESOLVED, of a packet that waits for an entry
_SIOCGIFFLAGS, _IFF_UP = 0x8913, 0x1  # linux/sockios.h, linux/if.h
_IFREQ: Final = struct.Struct("=16sH22x")  # name, flags
_TICKS: Final = 100.0  # USER_HZ


async def vifs() -> tuple[Vif, ...]:
    """The VIFs. Raises HostError."""
    request = _LINK.pack(_FAMILY, 0, 0, 0, 0)
    found = await rtnetlink.dump("multicast interfaces", _GETLINK, request, _vifs)
    return tuple(vif for table in found for vif in table)


def interfaces() -> Mapping[str, int]:
    """The indexes of this host's interfaces that are up, by name. Raises HostError."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            return {name: index for index, name in socket.if_nameindex() if _is_up(sock, name)}
    except OSError as error:
        raise HostError(f"interfaces: {error.strerror}") from error


def _is_up(sock: socket.socket, name: str) -> bool:
    try:
        _, flags = _IFREQ.unpack(fcntl.ioctl(sock, _SIOCGIFFLAGS, _IFREQ.pack(os.fsencode(name), 0)))
    except OSError:
        return False  # it has gone since
    return bool(flags & _IFF_UP)


@contextmanager
def changes() -> Iterator[AsyncIterator[None]]:
    """Receive a notification after changes of interfaces. Raises HostError."""
    with closing(rtnetlink.Changes(_LINKS)) as found:
        yield aiter(found)


async def holders() -> tuple[str, ...]:
    """Programs that may have the kernel's multicast routing, as ``NAME (PID)``; which one has, only root can see."""
    return await asyncio.to_thread(_holders, Path("/proc"))


async def entries(numbers: Mapping[int, int], each: Callable[[Entry, Counts], None]) -> None:
    """Call ``each`` with every entry; ``numbers`` are those of the VIFs, by the index of the interface.

    Raises HostError.
    """

    def parse(message: memoryview) -> None:
        if (found := _entry(message, numbers)) is not None:
            each(*found)

    await rtnetlink.dump("multicast routes", _GETROUTE, _ROUTE.pack(_FAMILY, *(0,) * 8), parse, size=_PART)


def _vifs(message: memoryview) -> tuple[Vif, ...] | None:
    spec = rtnetlink.attributes(message, _LINK.size).get(_AF_SPEC, memoryview(b""))
    table = rtnetlink.attributes(spec, 0)
    if _TABLE_ID not in table or _U32.unpack(table[_TABLE_ID])[0] != _DEFAULT:
        return None
    return tuple(_each_vif(table.get(_TABLE_VIFS, memoryview(b""))))


def _each_vif(nested: memoryview) -> Iterator[Vif]:
    for one in rtnetlink.nested(nested):
        found = rtnetlink.attributes(one, 0)
        if _VIF_INDEX in found:
            number, index = (_U32.unpack(found[kind])[0] for kind in (_VIF_NUMBER, _VIF_INDEX))
            yield Vif(number, index, *(_U64.unpack(found[kind])[0] for kind in (_VIF_PACKETS_OUT, _VIF_BYTES_OUT)))


def _entry(message: memoryview, numbers: Mapping[int, int]) -> tuple[Entry, Counts] | None:
    """None for a packet that waits for an entry, and for another table."""
    flags = _ROUTE.unpack_from(message)[8]
    found = rtnetlink.attributes(message, _ROUTE.size)
    if flags & _UNRESOLVED or _DST not in found or _U32.unpack(found[_TABLE])[0] != _DEFAULT:
        return None
    source = IPv4Address(bytes(found[_SRC])) if _SRC in found else ANY
    parent = numbers.get(_U32.unpack(found[_IIF])[0], NO_VIF) if _IIF in found else NO_VIF
    out = ((numbers.get(index, NO_VIF), hops) for hops, index in _hops(found.get(_MULTIPATH, memoryview(b""))))
    packets, octets, wrong = _COUNTS.unpack(found[_STATS])
    age = _U64.unpack(found[_EXPIRES])[0] / _TICKS if _EXPIRES in found else 0.0
    return Entry(source, IPv4Address(bytes(found[_DST])), parent, outgoing(out)), Counts(packets, octets, wrong, age)


def _hops(ways: memoryview) -> Iterator[tuple[int, int]]:
    while len(ways) >= _HOP.size:
        length, _, hops, index = _HOP.unpack_from(ways)
        yield hops, index
        ways = ways[max(_HOP.size, length) :]


def _holders(proc: Path) -> tuple[str, ...]:
    found = []
    for path in proc.glob("[0-9]*/comm"):
        with suppress(OSError):
            if (name := path.read_text().strip()) in DAEMONS:
                found.append(f"{name} ({path.parent.name})")
    return tuple(sorted(found))
