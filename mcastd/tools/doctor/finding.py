"""What a hop reports: findings, each with a declared cause, and notes."""

from enum import Enum, StrEnum

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
