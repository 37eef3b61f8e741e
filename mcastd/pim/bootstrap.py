"""Bootstrap and Candidate-RP-Advertisement messages on the wire (RFC 5059, section 4)."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from struct import pack
from typing import Final

from mcastd.errors import DecodeError
from mcastd.pim.packet import MessageType, Reader, encode_source, encode_unicast, seal

SCOPED: Final = 0x01  # the Z bit of an encoded group
NO_FORWARD: Final = 0x80  # of the header's reserved byte

_RANGE_LEN: Final = 12  # of a range without rendezvous points


@dataclass(frozen=True, slots=True)
class RpEntry:
    """A rendezvous point for a range; holdtime in seconds, the lower priority number wins."""

    address: IPv4Address
    holdtime: int
    priority: int


@dataclass(frozen=True, slots=True)
class RpRangeEntry:
    """A range of groups with ``rp_count`` rendezvous points, of which this fragment lists ``rps``."""

    groups: IPv4Network
    rp_count: int
    rps: tuple[RpEntry, ...]
    scoped: bool = False


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """A Bootstrap message, or a semantic fragment of one."""

    tag: int
    hash_mask_len: int
    priority: int
    address: IPv4Address
    ranges: tuple[RpRangeEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class CandidateRpAdvertisement:
    """A candidate RP's unicast to the bootstrap router; no ranges is all of 224.0.0.0/4."""

    priority: int
    holdtime: int
    address: IPv4Address
    ranges: tuple[IPv4Network, ...] = ()


def encode_bootstrap(message: Bootstrap, no_forward: bool = False) -> bytes:
    """A whole Bootstrap message."""
    parts = [pack("!HBB", message.tag, message.hash_mask_len, message.priority), encode_unicast(message.address)]
    for entry in message.ranges:
        flags = SCOPED if entry.scoped else 0
        parts.append(encode_source(entry.groups.network_address, flags, entry.groups.prefixlen))
        parts.append(pack("!BBH", entry.rp_count, len(entry.rps), 0))
        parts += [encode_unicast(rp.address) + pack("!HBB", rp.holdtime, rp.priority, 0) for rp in entry.rps]
    return seal(MessageType.BOOTSTRAP, b"".join(parts), flags=NO_FORWARD if no_forward else 0)


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


def encode_candidate_rp(message: CandidateRpAdvertisement) -> bytes:
    """A whole Candidate-RP-Advertisement message."""
    parts = [pack("!BBH", len(message.ranges), message.priority, message.holdtime), encode_unicast(message.address)]
    parts += [encode_source(net.network_address, 0, net.prefixlen) for net in message.ranges]
    return seal(MessageType.CANDIDATE_RP_ADVERTISEMENT, b"".join(parts))


def decode_candidate_rp(body: bytes) -> CandidateRpAdvertisement:
    """The body of a Candidate-RP-Advertisement."""
    reader = Reader(body)
    count, priority, holdtime = reader.number(1), reader.number(1), reader.number(2)
    address = reader.unicast()
    return CandidateRpAdvertisement(priority, holdtime, address, tuple([_range(reader)[0] for _ in range(count)]))
