"""What goes over the socket of the kernel's multicast routing (linux/mroute.h), as bytes. Pure.

A VIF is an interface with a number below 32 that multicast is routed from or to. An entry says where packets of a
source for a group go; the kernel takes the first of these that a packet from one VIF matches:

    (S,G)   source and group; its parent is the only VIF that the packets may come from
    (*,G)   any source; the parent is among the outgoing VIFs, and packets do not go back to where they come from
    (*,*)   any group; with the parent as the only outgoing VIF it drops what no other entry is for

There may be one (*,G) and one (*,*) for each parent. What matches none of them is kept for 10 s while the holder of the
socket is asked (NOCACHE).
"""

import struct
from collections.abc import Iterable
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from mcastd.errors import DecodeError

MAX_VIFS: Final = 32
ANY: Final = IPv4Address(0)
NO_VIF: Final = -1
"""The parent of an entry whose VIF is gone: the kernel does not report its number."""
# struct vifctl: VIF 16, flags 8, threshold 8, rate limit 32 (unused), index of the interface 32, remote address 32
_VIF: Final = struct.Struct("=HBBIiI")
_USE_IFINDEX: Final = 0x8
# struct mfcctl: source, group, parent 16, 32 thresholds of 8 (0: not an outgoing VIF), padding, counters and expiry
_ENTRY: Final = struct.Struct("=4s4sH32s2x4I")
# struct igmpmsg, in place of an IP header: 8 unused bytes, kind 8, zero 8, low and high byte of the VIF, source, group
_UPCALL: Final = struct.Struct("=8xBBBB4s4s")


class Entry(NamedTuple):
    """Where packets go; ``source`` and ``group`` may be ANY.

    ``out`` are the outgoing VIFs, in their order, each with its threshold: only packets of a larger TTL are sent there.
    """

    source: IPv4Address
    group: IPv4Address
    parent: int
    out: tuple[tuple[int, int], ...] = ()

    @property
    def key(self) -> "Key":
        """What the kernel knows an entry by: of a source there is one, whatever its parent."""
        return Key(self.source, self.group, self.parent if self.source == ANY else None)


class Key(NamedTuple):
    """``parent`` is None for an entry of one source."""

    source: IPv4Address
    group: IPv4Address
    parent: int | None


class Vif(NamedTuple):
    """A VIF: the index of its interface, and what was sent there."""

    number: int
    ifindex: int
    packets_out: int
    bytes_out: int


class Counts(NamedTuple):
    """What matched an entry; ``wrong_interface`` of the packets came from another VIF. ``age`` of the last, in s."""

    packets: int
    bytes: int
    wrong_interface: int
    age: float


NOTHING: Final = Counts(0, 0, 0, 0.0)


class UpcallKind(IntEnum):
    """IGMPMSG_*, what the kernel reports."""

    NOCACHE = 1  # no entry for a packet
    WRONGVIF = 2  # a packet of an entry came from another VIF than its parent
    WHOLEPKT = 3  # a whole packet, for PIM Registers
    WRVIFWHOLE = 4  # as WRONGVIF, with the whole packet


class Upcall(NamedTuple):
    """A packet from ``source`` for ``group`` came from ``vif``."""

    kind: UpcallKind
    vif: int
    source: IPv4Address
    group: IPv4Address


def encode_vif(number: int, index: int) -> bytes:
    """The VIF of an interface."""
    return _VIF.pack(number, _USE_IFINDEX, 1, 0, index, 0)


def encode_entry(entry: Entry) -> bytes:
    """An entry, or for its deletion its key."""
    thresholds = bytearray(MAX_VIFS)
    for vif, threshold in entry.out:
        thresholds[vif] = threshold
    return _ENTRY.pack(entry.source.packed, entry.group.packed, entry.parent, bytes(thresholds), 0, 0, 0, 0)


def decode_upcall(packet: bytes) -> Upcall:
    """Raises DecodeError."""
    if len(packet) < _UPCALL.size:
        raise DecodeError("upcall_short")
    kind, zero, low, high, source, group = _UPCALL.unpack_from(packet)
    if zero or kind not in UpcallKind.__members__.values():
        raise DecodeError("upcall_unknown")
    return Upcall(UpcallKind(kind), low | high << 8, IPv4Address(source), IPv4Address(group))


def drops_the_rest(vif: int) -> Entry:
    """The (*,*) entry of a VIF, with which what is not forwarded costs nothing: no upcall, no queue."""
    return Entry(ANY, ANY, vif, ((vif, 1),))


def outgoing(vifs: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """VIFs and thresholds as ``Entry.out`` has them."""
    return tuple(sorted(vifs))
