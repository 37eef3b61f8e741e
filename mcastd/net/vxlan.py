"""Whom a VXLAN device sends to, as messages of rtnetlink: MDB entries and forwarding entries. Pure.

An MDB entry names the endpoints that get a group, or a group from one source (Linux 6.4; linux/if_bridge.h)::

    br_port_msg             family 8, padding 24, index of the device 32
    MDBA_SET_ENTRY          br_mdb_entry: index of the device 32, state 8, flags 8, VLAN 16, group 128,
                            ethertype 16, padding 16
    MDBA_SET_ENTRY_ATTRS    attributes MDBE_ATTR_*: source, who made it, endpoint

A listing has, below MDBA_MDB and MDBA_MDB_ENTRY, an MDBA_MDB_ENTRY_INFO for each endpoint: br_mdb_entry, and then
attributes MDBA_MDB_EATTR_*, with other numbers. Of a packet the kernel looks for the entry of its group and source, and
only where there is none for that of its group: who wants all sources has to be in the entries of each source too.
Groups 224.0.0.0/24 are not looked up.

A forwarding entry names the endpoints that get an Ethernet address (linux/neighbour.h)::

    ndmsg                   family 8, padding 24, index of the device 32, state 16, flags 8, type 8
    NDA_DST, NDA_LLADDR     endpoint, Ethernet address

The kernel has learned those whose state is not permanent. Addresses are in network order, all else in that of the host.
"""

import struct
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from mcastd.errors import DecodeError
from mcastd.net import netlink

GETNEIGH, GETMDB = 30, 86
_NEWNEIGH, _DELNEIGH, _NEWMDB, _DELMDB = 28, 29, 84, 85
_CREATE, _APPEND = 0x400, 0x800
_BRIDGE, _ETH_P_IP, _IPV4, _MAC = 7, 0x0800, 4, 6

_PORT: Final = struct.Struct("=B3xI")
_ENTRY: Final = struct.Struct("=IBBH4s12x2s2x")
_SET_ENTRY, _SET_ENTRY_ATTRS, _NESTED = 1, 2, 0x8000
_SOURCE, _RTPROT, _DST = 1, 4, 5  # MDBE_ATTR_*
_MDB, _MDB_ENTRY, _MDB_ENTRY_INFO = 1, 1, 1
_INFO_SOURCE, _INFO_DST = 4, 6  # MDBA_MDB_EATTR_*
_MDB_PERMANENT: Final = 1
_OURS: Final = 103  # as routes and rules have it

_NEIGHBOR: Final = struct.Struct("=B3xIHBB")
_NDA_DST, _NDA_LLADDR = 1, 2
_SELF: Final = 0x02  # NTF_SELF: the table of the device, not that of a bridge above it
_NUD_NOARP, _NUD_PERMANENT = 0x40, 0x80

# A listing has the same addresses thousands of times.
_address: Final = lru_cache(4096)(IPv4Address)

EVERY: Final = bytes(_MAC)
"""The Ethernet address of a forwarding entry for all those that have none."""


class Replica(NamedTuple):
    """One endpoint gets one copy of each packet of a group, from one source or, with None, from those without entry."""

    group: IPv4Address
    source: IPv4Address | None
    endpoint: IPv4Address


class Forwarding(NamedTuple):
    """An endpoint gets what is sent to an Ethernet address; ``learned``: because it has sent from it."""

    mac: bytes
    endpoint: IPv4Address
    learned: bool = False


def mac_of(group: IPv4Address) -> bytes:
    """The Ethernet address of a group, which 31 others have as well (RFC 1112, section 6.4)."""
    return (0x01005E000000 | int(group) & 0x7FFFFF).to_bytes(_MAC, "big")


def add_replica(index: int, replica: Replica) -> bytes:
    """Let a device send a group to an endpoint."""
    return netlink.request(_NEWMDB, netlink.ACK | _CREATE, _replica(index, replica))


def remove_replica(index: int, replica: Replica) -> bytes:
    """Let a device send a group to an endpoint no longer."""
    return netlink.request(_DELMDB, netlink.ACK, _replica(index, replica))


def _replica(index: int, replica: Replica) -> bytes:
    group, source, endpoint = replica
    entry = _ENTRY.pack(index, _MDB_PERMANENT, 0, 0, group.packed, _ETH_P_IP.to_bytes(2, "big"))
    more = netlink.attribute(_RTPROT, bytes((_OURS,))) + netlink.attribute(_DST, endpoint.packed)
    if source is not None:
        more = netlink.attribute(_SOURCE, source.packed) + more
    return (
        _PORT.pack(_BRIDGE, index)
        + netlink.attribute(_SET_ENTRY, entry)
        + netlink.attribute(_SET_ENTRY_ATTRS | _NESTED, more)
    )


def ask_replicas() -> bytes:
    """The body of the question for the MDB entries of all devices: the kernel filters them by nothing."""
    return _PORT.pack(_BRIDGE, 0)


def replicas(message: bytes, index: int) -> Iterator[Replica]:
    """Those of a device in one message of the answer, without such as are not for IPv4. Raises DecodeError."""
    if len(message) < _PORT.size:
        raise DecodeError("truncated")
    if _PORT.unpack_from(message)[1] != index:
        return
    for info in _infos(message):
        if len(info) < _ENTRY.size:
            raise DecodeError("truncated")
        group, ethertype = _ENTRY.unpack_from(info)[-2:]
        found = netlink.values(info, _ENTRY.size)
        source, endpoint = found.get(_INFO_SOURCE), found.get(_INFO_DST, b"")
        if ethertype == _ETH_P_IP.to_bytes(2, "big") and len(endpoint) == _IPV4:
            if source is not None and len(source) != _IPV4:
                raise DecodeError("source")
            yield Replica(_address(group), _address(source) if source else None, _address(endpoint))


def _infos(message: bytes) -> Iterator[bytes]:
    for kind, mdb in netlink.attributes(message, (_PORT.size, len(message))):
        for _, entry in netlink.attributes(message, mdb) if kind == _MDB else ():
            for what, (start, end) in netlink.attributes(message, entry):
                if what == _MDB_ENTRY_INFO:
                    yield message[start:end]


def append_forwarding(index: int, entry: Forwarding) -> bytes:
    """Let a device send an Ethernet address, a group's or EVERY, also to this endpoint."""
    return netlink.request(_NEWNEIGH, netlink.ACK | _CREATE | _APPEND, _forwarding(index, entry))


def delete_forwarding(index: int, entry: Forwarding) -> bytes:
    """Let a device send an Ethernet address to this endpoint no longer."""
    return netlink.request(_DELNEIGH, netlink.ACK, _forwarding(index, entry))


def _forwarding(index: int, entry: Forwarding) -> bytes:
    header = _NEIGHBOR.pack(_BRIDGE, index, _NUD_NOARP | _NUD_PERMANENT, _SELF, 0)
    return header + netlink.attribute(_NDA_DST, entry.endpoint.packed) + netlink.attribute(_NDA_LLADDR, entry.mac)


def ask_forwarding(index: int) -> bytes:
    """The body of the question for the forwarding entries of a device."""
    return _NEIGHBOR.pack(_BRIDGE, index, 0, 0, 0)


def ask_endpoint(index: int, mac: bytes) -> bytes:
    """The body of the question for the forwarding entry of one Ethernet address."""
    return _NEIGHBOR.pack(_BRIDGE, index, 0, _SELF, 0) + netlink.attribute(_NDA_LLADDR, mac)


def forwarding(message: bytes, index: int) -> Forwarding | None:
    """The entry of a device in one message of the answer; None if it is not its own, or not for IPv4.

    Raises DecodeError.
    """
    if len(message) < _NEIGHBOR.size:
        raise DecodeError("truncated")
    _, device, state, flags, _ = _NEIGHBOR.unpack_from(message)
    found = netlink.values(message, _NEIGHBOR.size)
    endpoint, mac = found.get(_NDA_DST, b""), found.get(_NDA_LLADDR, b"")
    if device != index or not flags & _SELF or len(endpoint) != _IPV4 or len(mac) != _MAC:
        return None
    return Forwarding(mac, _address(endpoint), learned=not state & _NUD_PERMANENT)
