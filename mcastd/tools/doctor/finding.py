"""What a hop reports: findings, each with a declared cause, and notes."""

from enum import StrEnum
from functools import partial
from typing import Final, NamedTuple

from msgspec import Struct


class Side(StrEnum):
    """Which side has to change something."""

    HERE = "here"
    THERE = "there"
    EITHER = "either"


class Finding(Struct, frozen=True, kw_only=True):
    """A broken hop: the stable code ``problem``, and in words what was seen, what it means and what to change.

    ``walk`` sets ``hop``.
    """

    hop: str = ""
    problem: str
    saw: str
    means: str
    change: str
    side: Side


class Note(Struct, frozen=True, kw_only=True):
    """Something to know that is not broken. ``walk`` sets ``hop``."""

    hop: str = ""
    text: str


class Cause(NamedTuple):
    """A problem that hops can find. Names in braces in ``change`` are given when it is found."""

    side: Side
    code: str
    means: str
    change: str

    def found(self, saw: str, **names: object) -> Finding:
        """The finding for what was seen."""
        change = self.change.format(**names)
        return Finding(problem=self.code, saw=saw, means=self.means, change=change, side=self.side)


here: Final = partial(Cause, Side.HERE)
there: Final = partial(Cause, Side.THERE)
either: Final = partial(Cause, Side.EITHER)
