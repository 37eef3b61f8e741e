"""Where feeds have their sequence numbers: the known formats, and those that the file describes. Pure.

From the public descriptions: CME Group, "MDP 3.0 - SBE Technical Headers"; Moscow Exchange, "SIMBA SPECTRA protocol
specification"; Nasdaq, "MoldUDP64 Protocol Specification"; Cboe, "Multicast PITCH Specification" (Sequenced Unit
Header); RFC 3550, section 5.1.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mcastd.config.line_numbers import KeyPath
from mcastd.config.report import Report, shown
from mcastd.config.value_types import ValueType, WrongValueError, toml_type


class Field(msgspec.Struct, frozen=True):
    """A number in the UDP payload: where, of how many bytes (1 to 8), and whether the most significant is first."""

    offset: int
    size: int
    big: bool = False


class Sequence(msgspec.Struct, frozen=True):
    """Where the packets of a feed have their sequence number.

    ``count`` has how many messages there are in the packet, each with a number of its own; without it a packet has one.
    ``end``: the count that says that the session ends. ``unit``: the offset of the byte that distinguishes sequences
    within a stream. ``session``: offset and length of what is another one when numbers begin again.
    ``zero_is_unsequenced``: a packet with the number 0 is not of the sequence.
    """

    number: Field
    count: Field | None = None
    end: int = 0
    unit: int | None = None
    session: tuple[int, int] | None = None
    zero_is_unsequenced: bool = False


FORMATS: Final = {
    # MsgSeqNum (32 bits) | SendingTime (64 bits); one number for each packet, from 1 every week.
    "cme-mdp3": Sequence(Field(0, 4)),
    # MsgSeqNum (32 bits) | MsgSize (16) | MsgFlags (16) | SendingTime (64); one number for each packet.
    # Moscow Exchange's FAST has its number in the first 32 bits as well, before the message.
    "moex-simba": Sequence(Field(0, 4)),
    # Session (10 bytes) | Sequence Number (64 bits) | Message Count (16); each message has a number. Count 0: a
    # heartbeat with the next number; 0xFFFF: the session ends, likewise.
    "moldudp64": Sequence(Field(10, 8, big=True), Field(18, 2, big=True), end=0xFFFF, session=(0, 10)),
    # Hdr Length (16 bits) | Hdr Count (8) | Hdr Unit (8) | Hdr Sequence (32); each message has a number, for each unit.
    # Count 0: a heartbeat with the next number; number 0: not sequenced.
    "pitch": Sequence(Field(4, 4), Field(2, 1), unit=3, zero_is_unsequenced=True),
    # V P X CC (8 bits) | M PT (8) | sequence number (16) | timestamp (32) | SSRC (32): each has its own.
    "rtp": Sequence(Field(2, 2, big=True), session=(8, 4)),
}
"""By the name that the file has."""

_LARGEST_OFFSET: Final = 1024
_ALLOWED: Final = (
    ", ".join(f'"{name}"' for name in FORMATS)
    + ' or a table { offset, size, order = "little" or "big", count = { offset, size } or 1 }'
)


def _sequence(value: object, _report: Report, _path: KeyPath) -> Sequence:
    if isinstance(value, str):
        if value not in FORMATS:
            raise WrongValueError(f"{shown(value)} is not a known format")
        return FORMATS[value]
    if not isinstance(value, dict):
        raise WrongValueError(f"it is {toml_type(value)}")
    order = value.get("order", "little")
    if order not in ("little", "big"):
        raise WrongValueError(f"order {shown(order)} is not that")
    count = value.get("count", 1)
    number = _field(value, order, {"order", "count"})
    if isinstance(count, dict):
        counted = _field(count, order, set())
        if number.offset < counted.offset + counted.size and counted.offset < number.offset + number.size:
            raise WrongValueError("count is in the same bytes as the number")
        return Sequence(number, counted)
    if count != 1 or isinstance(count, bool):
        raise WrongValueError("count is neither a table nor 1")
    return Sequence(number)


def _field(value: Mapping[str, Any], order: str, others: set[str]) -> Field:
    if unknown := value.keys() - {"offset", "size"} - others:
        raise WrongValueError(f"there is no key {shown(min(unknown))}")
    offset, size = value.get("offset"), value.get("size")
    if type(offset) is not int or not 0 <= offset <= _LARGEST_OFFSET:
        raise WrongValueError(f"offset is not an integer from 0 to {_LARGEST_OFFSET}")
    if type(size) is not int or not 1 <= size <= 8:
        raise WrongValueError("size is not an integer from 1 to 8")
    return Field(offset, size, order == "big")


SEQUENCE: Final = ValueType(_ALLOWED, _sequence)
"""The key ``sequence`` of a feed."""
