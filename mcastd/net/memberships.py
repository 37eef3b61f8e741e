"""``/proc/net/igmp``: the groups that sockets of this host have joined, by interface. Pure."""

import sys
from ipaddress import IPv4Address


def parse(text: str) -> dict[str, frozenset[IPv4Address]]:
    """The groups by the interface's name."""
    found: dict[str, set[IPv4Address]] = {}
    groups: set[IPv4Address] = set()
    for line in text.splitlines()[1:]:
        fields = line.split()
        if fields and not line.startswith("\t\t"):
            groups = found.setdefault(fields[1].rstrip(":"), set())
        elif fields:
            groups.add(address(fields[0]))
    return {name: frozenset(groups) for name, groups in found.items()}


def address(text: str) -> IPv4Address:
    """An address as the kernel prints it: its bytes in memory as a number in host byte order."""
    return IPv4Address(int(text, 16).to_bytes(4, sys.byteorder))
