"""The groups that sockets of this host have joined."""

import socket
from ipaddress import IPv4Address

from mcastd.errors import HostError
from mcastd.system import multicast_addresses


async def joined() -> dict[str, set[IPv4Address]]:
    """The groups, by interface; empty where the kernel does not say. Other work has a turn meanwhile."""
    found: dict[str, set[IPv4Address]] = {}
    try:
        names = dict(socket.if_nameindex())
        for index, group in await multicast_addresses.users(names):
            found.setdefault(names[index], set()).add(group)
    except (OSError, HostError):
        return {}
    return found
