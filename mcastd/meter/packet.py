"""The keys and values of the meter's maps: bytes <-> frozen structs. Numbers are in this machine's byte order."""

import struct
from ipaddress import IPv4Address, IPv4Network
from typing import Final, NamedTuple

import msgspec

from mcastd.config.feed_formats import Field, Sequence
from mcastd.errors import DecodeError

WINDOW: Final = 1024
"""Numbers below the next one of which the kernel knows whether they were seen."""
BUCKETS: Final = 32
"""Of the histogram: the first is below 1,024 ns, each twice as far as the one before, the last open."""
NO_UNIT: Final = 0xFFFF
"""Where a format has a unit: nowhere."""

# A stream: interface index, source and group in network byte order, port, unit.
KEY: Final = struct.Struct("=I4s4sHH")


class At:
    """Where a stream's value has its fields; all are of 8 bytes but those of the bursts, and the session.

    ::

        packets | time of the last | longest gap | when it ended
        for 1 ms and for 10 ms: begin | packets since then (32 bits) | most packets (32 bits)
        histogram of the gaps (32 numbers)
        state of the numbers | first number | next number | numbers seen | not seen | duplicate | late | resets
        time of the last gap | its size | session (16 bytes) | packets without a number
        the packet at hand: its first number | the one behind its last | how many
        numbers that are worked off: the first | the one behind the last
        window (1,024 bits)

    The state: 0: none was seen; 1: one was; 2: they begin again with the next one; 3: likewise, and nothing was reset.
    """

    PACKETS, LAST, LONGEST, LONGEST_AT = range(0, 32, 8)
    BURST_1MS, BURST_10MS = 32, 48
    BURST_COUNT, BURST_MOST = 8, 12  # behind its begin
    HISTOGRAM = 64
    BEGUN, START, NEXT, NUMBERS, LOST, DUPLICATE, LATE, RESETS, GAP_AT, GAP_SIZE = range(320, 400, 8)
    SESSION, UNNUMBERED = 400, 416
    PACKET_FIRST, PACKET_END, PACKET_COUNT, WORD_BEGIN, WORD_END = range(424, 464, 8)
    WINDOW = 464


STREAM_SIZE: Final = At.WINDOW + WINDOW // 8
SESSION: Final = 16
"""Bytes of a session's name at most."""
_VALUE: Final = struct.Struct(f"=4Q Q2I Q2I {BUCKETS}Q Q2q7Q 16s Q 40x {WINDOW // 8}s")

# A feed: how many bits of the rest count, the port or 0 for every port, nothing, the group in network byte order.
FEED_KEY: Final = struct.Struct("=IHH4s")
PORT_BITS: Final = 32
"""Of a feed's key, the bits before the group."""


class FeedAt:
    """Where a feed's value has its fields, of 2 bytes each: a Sequence."""

    OFFSET, SIZE, BIG, COUNT_OFFSET, COUNT_SIZE, COUNT_BIG, END, UNIT, SESSION_OFFSET, SESSION_SIZE, ZERO = range(
        0, 22, 2
    )


FEED_SIZE: Final = 24
_FEED: Final = struct.Struct("=11H2x")


class StreamKey(NamedTuple):
    """What a stream is known by; port 0 stands for all fragments but first ones, which have no port."""

    ifindex: int
    source: IPv4Address
    group: IPv4Address
    port: int
    unit: int = 0


class Numbers(msgspec.Struct, frozen=True):
    """What the sequence numbers of a stream have shown; ``gap_at`` is a time of the kernel's clock, in nanoseconds.

    ``missing`` were not seen when they left the window; ``open`` are not seen yet, and still in it.
    """

    next: int
    seen: int
    missing: int
    open: int
    duplicate: int
    late: int
    resets: int
    gap_at: int
    gap_size: int


class StreamRecord(msgspec.Struct, frozen=True):
    """What the meter knows of a stream. Times are of the kernel's monotonic clock, in nanoseconds."""

    packets: int
    last: int
    longest_gap: int
    longest_gap_at: int
    burst_1ms: int
    burst_10ms: int
    gaps: tuple[int, ...]
    unnumbered: int
    numbers: Numbers | None


def encode_feed(sequence: Sequence) -> bytes:
    """The value of a feed."""
    number, count = sequence.number, sequence.count or Field(0, 0)
    unit = NO_UNIT if sequence.unit is None else sequence.unit
    return _FEED.pack(
        number.offset, number.size, number.big, count.offset, count.size, count.big, sequence.end, unit,
        *(sequence.session or (0, 0)), sequence.zero_is_unsequenced,
    )  # fmt: skip


def feed_key(groups: IPv4Network, port: int) -> bytes:
    """The key of a feed; port 0 is every port. Of several ranges that a group is in the smallest is found."""
    return FEED_KEY.pack(PORT_BITS + groups.prefixlen, port, 0, groups.network_address.packed)


def decode_feed_key(raw: bytes) -> tuple[IPv4Network, int]:
    """The groups and the port of a feed. Raises DecodeError."""
    if len(raw) != FEED_KEY.size:
        raise DecodeError("key")
    bits, port, _, group = FEED_KEY.unpack(raw)
    if not PORT_BITS <= bits <= PORT_BITS + 32:
        raise DecodeError("key")
    return IPv4Network((group, bits - PORT_BITS), strict=False), port


def decode_key(raw: bytes) -> StreamKey:
    """What a stream is known by. Raises DecodeError."""
    if len(raw) != KEY.size:
        raise DecodeError("key")
    ifindex, source, group, port, unit = KEY.unpack(raw)
    return StreamKey(ifindex, IPv4Address(source), IPv4Address(group), port, unit)


def decode(raw: bytes) -> StreamRecord:
    """What the meter knows of a stream. Raises DecodeError."""
    if len(raw) != STREAM_SIZE:
        raise DecodeError("value")
    packets, last, longest, longest_at, _, _, burst_1ms, _, _, burst_10ms, *rest = _VALUE.unpack(raw)
    gaps, (begun, _start, next_, *counts, _session, unnumbered, window) = tuple(rest[:BUCKETS]), rest[BUCKETS:]
    numbers = None
    if begun:
        seen, lost, *others = counts
        unseen = WINDOW - int.from_bytes(window, "little").bit_count()
        numbers = Numbers(next_, seen, lost - unseen, unseen, *others)
    return StreamRecord(packets, last, longest, longest_at, burst_1ms, burst_10ms, gaps, unnumbered, numbers)
