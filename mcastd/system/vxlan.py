"""Whom a VXLAN device sends to: its MDB entries (Linux 6.4), and its forwarding entries with what it has learned.

What is to be added may be there already, and what is to be removed may be gone. All raise HostError.
"""

import errno
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Final

from mcastd.net import vxlan
from mcastd.net.vxlan import Forwarding, Replica
from mcastd.system import rtnetlink

# How kernels say that they have no MDB for VXLAN: bridges alone have one, and there may be no bridges either.
_NO_MDB: Final = (errno.EOPNOTSUPP, errno.EINVAL)
_ABSENT: Final = Replica(IPv4Address("239.255.255.255"), None, IPv4Address("192.0.2.0"))


async def has_mdb(index: int) -> bool:
    """Whether this kernel has MDB entries for VXLAN; the index is that of any VXLAN device, which is not changed."""
    refusals = await rtnetlink.change("MDB entries", [vxlan.remove_replica(index, _ABSENT)], errno.ENOENT, *_NO_MDB)
    return not refusals & set(_NO_MDB)


async def replicas(index: int) -> tuple[Replica, ...]:
    """The MDB entries of a device, each once."""
    parts = await rtnetlink.dump(
        "MDB entries",
        vxlan.GETMDB,
        vxlan.ask_replicas(),
        lambda message: tuple(vxlan.replicas(bytes(message), index)),
        *_NO_MDB,
    )
    return tuple(replica for part in parts for replica in part)


async def add_replicas(index: int, added: Iterable[Replica]) -> None:
    """Let a device send groups to endpoints."""
    await rtnetlink.change("MDB entries", (vxlan.add_replica(index, one) for one in added), errno.EEXIST)


async def remove_replicas(index: int, removed: Iterable[Replica]) -> None:
    """Let a device send groups to endpoints no longer."""
    await rtnetlink.change("MDB entries", (vxlan.remove_replica(index, one) for one in removed), errno.ENOENT)


async def forwarding(index: int) -> tuple[Forwarding, ...]:
    """The forwarding entries of a device, those that it has learned included."""
    return await rtnetlink.dump(
        "forwarding entries",
        vxlan.GETNEIGH,
        vxlan.ask_forwarding(index),
        lambda message: vxlan.forwarding(bytes(message), index),
    )


async def endpoint(index: int, mac: bytes) -> IPv4Address | None:
    """By which endpoint a host is reached, as the device has learned; None if it has not."""
    found = await rtnetlink.dump(
        "a forwarding entry",
        vxlan.GETNEIGH,
        vxlan.ask_endpoint(index, mac),
        lambda message: vxlan.forwarding(bytes(message), index),
        errno.ENOENT,
        one=True,
    )
    return found[0].endpoint if found and found[0].learned else None


async def add_forwarding(index: int, added: Iterable[Forwarding]) -> None:
    """Let a device send Ethernet addresses, of groups or EVERY, also to these endpoints."""
    await rtnetlink.change("forwarding entries", (vxlan.append_forwarding(index, one) for one in added), errno.EEXIST)


async def remove_forwarding(index: int, removed: Iterable[Forwarding]) -> None:
    """Let a device send Ethernet addresses to these endpoints no longer."""
    await rtnetlink.change("forwarding entries", (vxlan.delete_forwarding(index, one) for one in removed), errno.ENOENT)
