"""What the kernel tells in files under ``/proc/net``, as text in and frozen values out. Pure."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

_TOTALS: Final = ("rx_packets", "rx_errors", "rx_dropped", "tx_packets", "tx_errors", "tx_dropped")
_COLUMNS: Final = (1, 2, 3, 9, 10, 11)


@dataclass(frozen=True, slots=True)
class UdpSocket:
    """A UDP socket: what it is bound to, how many bytes wait in it, its inode, and how many packets found it full."""

    address: IPv4Address
    port: int
    waiting: int
    inode: int
    drops: int


def memberships(text: str) -> dict[str, frozenset[IPv4Address]]:
    """``/proc/net/igmp``: the groups that somebody on this host has joined, by interface."""
    found: dict[str, set[IPv4Address]] = {}
    groups: set[IPv4Address] = set()
    for line in text.splitlines()[1:]:
        fields = line.split()
        if fields and not line.startswith("\t\t"):
            groups = found.setdefault(fields[1].rstrip(":"), set())
        elif fields:
            groups.add(_address(fields[0]))
    return {name: frozenset(groups) for name, groups in found.items()}


def source_filters(text: str) -> dict[tuple[str, IPv4Address], frozenset[IPv4Address]]:
    """``/proc/net/mcfilter``: by interface and group, the sources that somebody on this host has asked for."""
    found: dict[tuple[str, IPv4Address], set[IPv4Address]] = {}
    for _index, name, group, source, included, _excluded in (line.split() for line in text.splitlines()[1:]):
        if int(included):
            key = name, IPv4Address(int(group, 16))
            found.setdefault(key, set()).add(IPv4Address(int(source, 16)))
    return {key: frozenset(sources) for key, sources in found.items()}


def multicast_routers(text: str) -> frozenset[str]:
    """``/proc/net/ip_mr_vif``: the interfaces that a multicast routing daemon uses."""
    return frozenset(line.split()[1] for line in text.splitlines()[1:])


def udp_sockets(text: str) -> tuple[UdpSocket, ...]:
    """``/proc/net/udp``."""
    return tuple(_udp_socket(line.split()) for line in text.splitlines()[1:])


def _udp_socket(fields: list[str]) -> UdpSocket:
    address, _, port = fields[1].partition(":")
    waiting = int(fields[4].partition(":")[2], 16)
    return UdpSocket(_address(address), int(port, 16), waiting, int(fields[9]), int(fields[-1]))


def interfaces(text: str) -> dict[str, dict[str, int]]:
    """``/proc/net/dev``: packets, errors and drops of each interface, both ways."""
    found = {}
    for line in text.splitlines()[2:]:
        name, _, numbers = line.partition(":")
        fields = numbers.split()
        found[name.strip()] = {total: int(fields[column]) for total, column in zip(_TOTALS, _COLUMNS, strict=True)}
    return found


def counters(*texts: str) -> dict[str, int]:
    """``/proc/net/snmp`` and ``/proc/net/netstat``, as ``Udp.RcvbufErrors`` and the like."""
    return {name: value for text in texts for name, value in _pairs(text)}


def xfrm_counters(text: str) -> dict[str, int]:
    """``/proc/net/xfrm_stat``, as ``Xfrm.InNoStates`` and the like."""
    pairs = (line.split() for line in text.splitlines())
    return {f"Xfrm.{name.removeprefix('Xfrm')}": int(value) for name, value in pairs}


def _pairs(text: str) -> Iterator[tuple[str, int]]:
    lines = iter(text.splitlines())
    for names, values in zip(lines, lines, strict=False):
        protocol, _, rest = names.partition(":")
        for name, value in zip(rest.split(), values.partition(":")[2].split(), strict=False):
            yield f"{protocol}.{name}", int(value)


def _address(text: str) -> IPv4Address:
    """An address as the kernel prints it: its bytes in memory, read as one of this machine's numbers."""
    return IPv4Address(int(text, 16).to_bytes(4, sys.byteorder))
