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
        numbers that are worked off: the first | the one behind the last | which side of a pair its feed is
        window (1,024 bits)

    The state: 0: none was seen; 1: one was; 2: they begin again with the next one; 3: likewise, and nothing was reset.
    """

    PACKETS, LAST, LONGEST, LONGEST_AT = range(0, 32, 8)
    BURST_1MS, BURST_10MS = 32, 48
    BURST_COUNT, BURST_MOST = 8, 12  # behind its begin
    HISTOGRAM = 64
    BEGUN, START, NEXT, NUMBERS, LOST, DUPLICATE, LATE, RESETS, GAP_AT, GAP_SIZE = range(320, 400, 8)
    SESSION, UNNUMBERED = 400, 416
    PACKET_FIRST, PACKET_END, PACKET_COUNT, WORD_BEGIN, WORD_END, SIDE = range(424, 472, 8)
    WINDOW = 472


STREAM_SIZE: Final = At.WINDOW + WINDOW // 8
SESSION: Final = 16
"""Bytes of a session's name at most."""
_VALUE: Final = struct.Struct(f"=4Q Q2I Q2I {BUCKETS}Q Q2q7Q 16s Q 48x {WINDOW // 8}s")

# A feed: how many bits of the rest count, the port or 0 for every port, nothing, the group in network byte order.
FEED_KEY: Final = struct.Struct("=IHH4s")
PORT_BITS: Final = 32
"""Of a feed's key, the bits before the group."""


class FeedAt:
    """Where a feed's value has its fields, of 2 bytes each: a Sequence."""

    OFFSET, SIZE, BIG, COUNT_OFFSET, COUNT_SIZE, COUNT_BIG, END, UNIT, SESSION_OFFSET, SESSION_SIZE, ZERO = range(
        0, 22, 2
    )
    SIDE, PAIR_GROUP, PAIR_PORT = 22, 24, 28  # 0 if there is no pair; 4 bytes; 0 for every port


FEED_SIZE: Final = 32
_FEED: Final = struct.Struct("=12H4sH2x")

# A pair: the group and the port of side A, the unit.
PAIR_KEY: Final = struct.Struct("=4sHH")


class PairAt:
    """Where the value of a pair has its fields, of 8 bytes each but for the session. Some are as in a stream's value.

    ::

        lock | sides that are in | since when both are | time of the packet at hand
        lost on A alone | on B alone | on both | numbers compared | not compared | restarts
        state of the numbers, next number, session, packet at hand and its side: as in a stream's value
        window of A, window of B (1,024 bits each)
        histograms of how much later the other one was: where A was first, and where B was (32 numbers each)
        for each of 1,024 numbers that begin a packet: the number and, in its low 2 bits, the sides that had it
        for each of them: when the first side had it
    """

    LOCK, SIDES, JOINED, NOW, LOST_A, LOST_B, LOST_BOTH, COMPARED, UNCOMPARED, RESTARTS = range(0, 80, 8)
    WINDOW_A = At.WINDOW
    WINDOW_B = At.WINDOW + WINDOW // 8
    HISTOGRAMS = WINDOW_B + WINDOW // 8
    NUMBERS = HISTOGRAMS + 2 * 8 * BUCKETS
    TIMES = NUMBERS + 8 * WINDOW


PAIR_SIZE: Final = PairAt.TIMES + 8 * WINDOW
_PAIR_COUNTS: Final = struct.Struct("=6Q")  # from LOST_A on
_WINDOWS: Final = struct.Struct(f"={WINDOW // 8}s{WINDOW // 8}s{BUCKETS}Q{BUCKETS}Q")  # from WINDOW_A on


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


class PairSide(NamedTuple):
    """Which side of a pair a feed is, 1 or 2, and what the pair is known by: group and port (0: any) of side A."""

    side: int
    group: IPv4Address
    port: int


class PairRecord(NamedTuple):
    """What is known of a pair. ``open`` are those in the window that are not seen: on A alone, on B alone, on both.

    ``a_first`` and ``b_first``: how much later the other one was, as in the histogram of gaps.
    """

    lost: tuple[int, int, int]
    open: tuple[int, int, int]
    compared: int
    uncompared: int
    restarts: int
    a_first: tuple[int, ...]
    b_first: tuple[int, ...]


def encode_feed(sequence: Sequence, pair: PairSide | None = None) -> bytes:
    """The value of a feed."""
    side, group, port = pair or PairSide(0, IPv4Address(0), 0)
    number, count = sequence.number, sequence.count or Field(0, 0)
    unit = NO_UNIT if sequence.unit is None else sequence.unit
    return _FEED.pack(
        number.offset, number.size, number.big, count.offset, count.size, count.big, sequence.end, unit,
        *(sequence.session or (0, 0)), sequence.zero_is_unsequenced, side, group.packed, port,
    )  # fmt: skip


def pair_group(feed: bytes) -> bytes | None:
    """Of a feed's value what the keys of its pair begin with; None if it is no side of a pair."""
    side, group, _port = struct.unpack_from("=H4sH", feed, FeedAt.SIDE)
    return group if side else None


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


def decode_pair_key(raw: bytes) -> tuple[IPv4Address, int, int]:
    """Group and port of side A, and the unit. Raises DecodeError."""
    if len(raw) != PAIR_KEY.size:
        raise DecodeError("key")
    group, port, unit = PAIR_KEY.unpack(raw)
    return IPv4Address(group), port, unit


def decode_pair(raw: bytes) -> PairRecord:
    """What is known of a pair. Raises DecodeError."""
    if len(raw) != PAIR_SIZE:
        raise DecodeError("value")
    lost_a, lost_b, lost_both, compared, uncompared, restarts = _PAIR_COUNTS.unpack_from(raw, PairAt.LOST_A)
    on_a, on_b, *histograms = _WINDOWS.unpack_from(raw, PairAt.WINDOW_A)
    a, b = (int.from_bytes(window, "little") for window in (on_a, on_b))
    is_in = raw[PairAt.SIDES] == 3  # else nothing in the window is compared
    unseen = ((b & ~a).bit_count(), (a & ~b).bit_count(), WINDOW - (a | b).bit_count()) if is_in else (0, 0, 0)
    return PairRecord(
        (lost_a, lost_b, lost_both), unseen, compared, uncompared, restarts,
        tuple(histograms[:BUCKETS]), tuple(histograms[BUCKETS:]),
    )  # fmt: skip
