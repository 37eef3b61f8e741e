"""Reads the sequence number of a packet, by its feed's format. Pure."""

from msgspec import Struct

from mcastd.config.feed_formats import Field, Sequence

_LARGEST_COUNT = 0xFFFF


class Reading(Struct, frozen=True):
    """The first number of a packet, and how many messages have one; none is a heartbeat, with the next number."""

    number: int
    count: int
    unit: int
    session: bytes


def read(sequence: Sequence, payload: bytes) -> Reading | None:
    """What the payload says; None if it is too short."""
    number, count, session = value_of(sequence.number, payload), 1, b""
    if sequence.count is not None:
        counted = value_of(sequence.count, payload)
        if counted is None:
            return None
        count = 0 if sequence.end and counted == sequence.end else counted & _LARGEST_COUNT
    if sequence.session is not None:
        offset, size = sequence.session
        session = payload[offset : offset + size]
        if len(session) != size:
            return None
    return None if number is None else Reading(number, count, unit(sequence, payload), session)


def unit(sequence: Sequence, payload: bytes) -> int:
    """What distinguishes sequences within a stream; 0 where nothing does."""
    return payload[sequence.unit] if sequence.unit is not None and len(payload) > sequence.unit else 0


def value_of(where: Field, payload: bytes) -> int | None:
    """A number in the payload; None if it is too short."""
    raw = payload[where.offset : where.offset + where.size]
    return int.from_bytes(raw, "big" if where.big else "little") if len(raw) == where.size else None
