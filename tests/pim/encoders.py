"""Messages that a leaf reads and never sends, for the tests to send."""

from struct import pack

from mcastd.net.checksum import internet_checksum
from mcastd.pim.auto_rp_packet import AUTO_RP_VERSION, AutoRp
from mcastd.pim.messages import NO_FORWARD, SCOPED, Assert, Bootstrap, CandidateRpAdvertisement
from mcastd.pim.packet import (
    PIM_VERSION,
    GroupSet,
    JoinPrune,
    MessageType,
    encode_join_prune_head,
    encode_source,
    encode_unicast,
)


def seal(kind: int, body: bytes, covered: int | None = None, flags: int = 0) -> bytes:
    """A whole PIM message; the checksum covers its first ``covered`` bytes (a Register's 8), or all.

    ``flags`` is the header's reserved byte.
    """
    head = bytes((PIM_VERSION << 4 | kind, flags))
    return head + internet_checksum((head + bytes(2) + body)[:covered]).to_bytes(2) + body


def encode_join_prune(message: JoinPrune, kind: MessageType = MessageType.JOIN_PRUNE) -> bytes:
    """A whole Join/Prune, Graft or Graft-Ack message."""
    head = encode_join_prune_head(message.upstream, len(message.groups), message.holdtime)
    return seal(kind, head + b"".join(map(_encode_group_set, message.groups)))


def _encode_group_set(entry: GroupSet) -> bytes:
    sources = [encode_source(one.address, one.flags, one.mask_len) for one in (*entry.joined, *entry.pruned)]
    counts = pack("!HH", len(entry.joined), len(entry.pruned))
    return encode_source(entry.group, entry.flags, entry.mask_len) + counts + b"".join(sources)


def encode_assert(message: Assert) -> bytes:
    """A whole Assert message."""
    numbers = pack("!II", message.preference | (message.rpt << 31), message.metric)
    return seal(MessageType.ASSERT, encode_source(message.group, 0) + encode_unicast(message.source) + numbers)


def encode_bootstrap(message: Bootstrap, no_forward: bool = False) -> bytes:
    """A whole Bootstrap message."""
    parts = [pack("!HBB", message.tag, message.hash_mask_len, message.priority), encode_unicast(message.address)]
    for entry in message.ranges:
        flags = SCOPED if entry.scoped else 0
        parts.append(encode_source(entry.groups.network_address, flags, entry.groups.prefixlen))
        parts.append(pack("!BBH", entry.rp_count, len(entry.rps), 0))
        parts += [encode_unicast(rp.address) + pack("!HBB", rp.holdtime, rp.priority, 0) for rp in entry.rps]
    return seal(MessageType.BOOTSTRAP, b"".join(parts), flags=NO_FORWARD if no_forward else 0)


def encode_candidate_rp(message: CandidateRpAdvertisement) -> bytes:
    """A whole Candidate-RP-Advertisement message."""
    parts = [pack("!BBH", len(message.ranges), message.priority, message.holdtime), encode_unicast(message.address)]
    parts += [encode_source(net.network_address, 0, net.prefixlen) for net in message.ranges]
    return seal(MessageType.CANDIDATE_RP_ADVERTISEMENT, b"".join(parts))


def encode_auto_rp(message: AutoRp) -> bytes:
    """A whole message, without UDP."""
    parts = [pack("!BBHI", AUTO_RP_VERSION << 4 | message.kind, len(message.rps), message.holdtime, 0)]
    for rp in message.rps:
        parts.append(rp.address.packed + pack("!BB", rp.pim_version, len(rp.ranges)))
        for groups, negative in rp.ranges:
            parts.append(pack("!BB", negative, groups.prefixlen) + groups.network_address.packed)
    return b"".join(parts)
