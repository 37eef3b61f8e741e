"""What a hop says."""

from enum import StrEnum

from msgspec import Struct


class Side(StrEnum):
    """Who has to change something."""

    HERE = "here"
    THERE = "there"
    EITHER = "either"


class Finding(Struct, frozen=True, kw_only=True):
    """A broken hop: ``problem`` is a short stable name; then what was seen, what it means, and what to do, in words."""

    hop: str
    problem: str
    saw: str
    means: str
    change: str
    side: Side


class Note(Struct, frozen=True, kw_only=True):
    """Not broken, but worth saying."""

    hop: str
    text: str
