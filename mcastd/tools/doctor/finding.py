"""What a hop reports: findings, each with a declared cause; groups that are silent while all else is well; notes."""

from collections.abc import Iterator
from enum import Enum, StrEnum
from typing import Self

from msgspec import Struct
from msgspec.structs import replace


class Side(StrEnum):
    """Which side has to change something."""

    HERE = "here"
    THERE = "there"
    EITHER = "either"


class Finding(Struct, frozen=True, kw_only=True):
    """A broken hop: the stable code ``problem``, and in words what was seen, what it means and what to change.

    ``subject`` is the peer, CHILD_SA, tunnel or other thing that it is about; "" is the host. ``groups`` are the joins
    that it is about; none: all of the subject. ``walk`` sets ``hop``.
    """

    hop: str = ""
    problem: str
    subject: str = ""
    groups: tuple[str, ...] = ()
    saw: str
    means: str
    change: str
    side: Side

    def on(self, subject: str, *groups: str) -> Self:
        """The finding about a subject and, with ``groups``, about these of its joins."""
        return replace(self, subject=subject, groups=groups)


class Silent(Struct, frozen=True, kw_only=True):
    """Joins of a tunnel of which nothing arrived, where all that can be seen from here is well.

    ``ask`` is what to ask the other side if they should arrive now. ``walk`` sets ``hop``.
    """

    hop: str = ""
    subject: str = ""
    groups: tuple[str, ...] = ()
    saw: str
    ask: str


class Note(Struct, frozen=True, kw_only=True):
    """Something to know that is not broken, about a ``subject`` as in Finding. ``walk`` sets ``hop``."""

    hop: str = ""
    subject: str = ""
    text: str


Found = Iterator[Finding | Silent | Note]
"""What a hop yields: notes, and findings in the order in which they matter; of each subject the first one counts."""


def about(found: Found, subject: str, *groups: str) -> Found:
    """Say what is found of which subject and, with ``groups``, of which of its joins."""
    for one in found:
        if isinstance(one, Note):
            yield replace(one, subject=subject)
        else:
            yield replace(one, subject=subject, groups=groups)


class Cause(Enum):
    """A problem that hops can find; its stable code is the name of the member in lower case.

    Names in braces in ``remedy`` are given when it is found.
    """

    def __init__(self, side: Side, means: str, remedy: str) -> None:
        self.side = side  # which side has to change something
        self.means = means
        self.remedy = remedy

    def found(self, saw: str, **names: object) -> Finding:
        """The finding for what was seen."""
        change = self.remedy.format(**names)
        return Finding(problem=self.name.lower(), saw=saw, means=self.means, change=change, side=self.side)


def here(means: str, change: str) -> tuple[Side, str, str]:
    """The declaration of a cause for which this side has to change something."""
    return Side.HERE, means, change


def there(means: str, change: str) -> tuple[Side, str, str]:
    """The declaration of a cause for which the other side has to change something."""
    return Side.THERE, means, change


def either(means: str, change: str) -> tuple[Side, str, str]:
    """The declaration of a cause for which one of the two sides has to change something."""
    return Side.EITHER, means, change
