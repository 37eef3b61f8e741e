"""The messages that a leaf reads, other than Hello and Join/Prune, on the wire: Register, Register-Stop and Assert
(RFC 7761, section 4.9), Bootstrap and Candidate-RP-Advertisement (RFC 5059, section 4).
"""

from ipaddress import IPv4Address, IPv4Network
from typing import Final

import msgspec

from mcastd.errors import DecodeError
from mcastd.net import ipv4
from mcastd.pim.packet import MessageType, Reader, encode_source, encode_unicast, seal

SCOPED: Final = 0x01  # the Z bit of an encoded group
NO_FORWARD: Final = 0x80  # of the header's reserved byte

_BORDER: Final = 0x80
_NULL: Final = 0x40
_RANGE_LEN: Final = 12  # of a range without rendezvous points


class Register(msgspec.Struct, frozen=True):
    """A Register (section 4.9.3): the source and group of the packet inside. ``null`` is one without data.

    |Version| Type 1|   Reserved    |           Checksum            |
    |B|N|                       Reserved                            |
    |             IPv4 packet, of N (null) only the header          |
    """

    source: IPv4Address
    group: IPv4Address
    border: bool = False
    null: bool = False


class RegisterStop(msgspec.Struct, frozen=True):
    """A Register-Stop (section 4.9.4): an encoded group, and an encoded unicast address, the source."""

    group: IPv4Address
    source: IPv4Address


class Assert(msgspec.Struct, frozen=True):
    """An Assert (section 4.9.6): ``rpt`` with a source of 0.0.0.0 is of (*,G).

    |Version| Type 5|   Reserved    |           Checksum            |
    |              Group, an encoded group address (8 bytes)        |
    |            Source, an encoded unicast address (6 bytes)       |
    |R|                    Metric Preference                        |
    |                            Metric                             |
    """

    group: IPv4Address
    source: IPv4Address
    rpt: bool
    preference: int
    metric: int


class RpEntry(msgspec.Struct, frozen=True):
    """A rendezvous point for a range; holdtime in seconds, the lower priority number wins."""

    address: IPv4Address
    holdtime: int
    priority: int


class RpRangeEntry(msgspec.Struct, frozen=True):
    """A range of groups with ``rp_count`` rendezvous points, of which this fragment lists ``rps``."""

    groups: IPv4Network
    rp_count: int
    rps: tuple[RpEntry, ...]
    scoped: bool = False


class Bootstrap(msgspec.Struct, frozen=True):
    """A Bootstrap message, or a semantic fragment of one (RFC 5059, section 4.1).

    |Version| Type 4|N|  Reserved   |           Checksum            |
    |         Fragment Tag          | Hash Mask Len | BSR Priority  |
    |        BSR Address, an encoded unicast address (6 bytes)      |
    for each range:
    |          Group Address, an encoded group address (8 bytes)    |
    |   RP Count    | Frag RP Count |           Reserved            |
    for each RP of this fragment:
    |         RP Address, an encoded unicast address (6 bytes)      |
    |          RP Holdtime          |  RP Priority  |   Reserved    |
    """

    tag: int
    hash_mask_len: int
    priority: int
    address: IPv4Address
    ranges: tuple[RpRangeEntry, ...] = ()


class CandidateRpAdvertisement(msgspec.Struct, frozen=True):
    """A candidate RP's unicast to the bootstrap router; no ranges is all of 224.0.0.0/4."""

    priority: int
    holdtime: int
    address: IPv4Address
    ranges: tuple[IPv4Network, ...] = ()


def decode_register(body: bytes) -> Register:
    """The body of a Register. Raises DecodeError ``truncated`` or, of its inner packet, ``register_inner``."""
    reader = Reader(body)
    flags = reader.take(4)[0]
    inner = reader.take(reader.left)
    null = bool(flags & _NULL)
    try:
        packet = ipv4.parse(inner, truncated=null)  # a Null-Register carries only the header
    except DecodeError as error:
        raise DecodeError("register_inner") from error
    if not packet.destination.is_multicast:
        raise DecodeError("register_inner")
    return Register(packet.source, packet.destination, bool(flags & _BORDER), null)


def encode_register_stop(message: RegisterStop) -> bytes:
    """A whole Register-Stop message."""
    # An encoded group has the form of an encoded source.
    return seal(MessageType.REGISTER_STOP, encode_source(message.group, 0) + encode_unicast(message.source))


def decode_register_stop(body: bytes) -> RegisterStop:
    """The body of a Register-Stop."""
    reader = Reader(body)
    group, _, _ = reader.group()
    return RegisterStop(group, reader.unicast())


def decode_assert(body: bytes) -> Assert:
    """The body of an Assert."""
    reader = Reader(body)
    group, _, _ = reader.group()
    source = reader.unicast()
    preference, metric = reader.number(4), reader.number(4)
    return Assert(group, source, bool(preference >> 31), preference & 0x7FFFFFFF, metric)


def decode_bootstrap(body: bytes) -> Bootstrap:
    """The body of a Bootstrap message; zeros behind the last range are padding.

    Raises DecodeError ``truncated``, ``hash_mask_length``, ``rp_count`` (more in the fragment than in all), or
    that of an address.
    """
    reader = Reader(body)
    tag, hash_mask_len, priority = reader.number(2), reader.number(1), reader.number(1)
    if hash_mask_len > 32:
        raise DecodeError("hash_mask_length")
    address = reader.unicast()
    ranges = []
    while reader.has(_RANGE_LEN):
        groups, flags = _range(reader)
        rp_count, here, _ = reader.number(1), reader.number(1), reader.take(2)
        if here > rp_count:
            raise DecodeError("rp_count")
        rps = tuple([_rp(reader) for _ in range(here)])
        ranges.append(RpRangeEntry(groups, rp_count, rps, bool(flags & SCOPED)))
    return Bootstrap(tag, hash_mask_len, priority, address, tuple(ranges))


def _range(reader: Reader) -> tuple[IPv4Network, int]:
    group, mask_len, flags = reader.group()
    return IPv4Network((group, mask_len), strict=False), flags


def _rp(reader: Reader) -> RpEntry:
    address = reader.unicast()
    if address.is_multicast or address.is_unspecified:
        raise DecodeError("rp_address")
    holdtime, priority, _ = reader.number(2), reader.number(1), reader.take(1)
    return RpEntry(address, holdtime, priority)


def decode_candidate_rp(body: bytes) -> CandidateRpAdvertisement:
    """The body of a Candidate-RP-Advertisement."""
    reader = Reader(body)
    count, priority, holdtime = reader.number(1), reader.number(1), reader.number(2)
    address = reader.unicast()
    return CandidateRpAdvertisement(priority, holdtime, address, tuple([_range(reader)[0] for _ in range(count)]))
