"""What the readers make: drafts of peers and children by the keys of ``mcastd.toml``, and notes of the rest. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mcastd.config.strongswan import Value
from mcastd.errors import Problem

Scalar = str | int | bool | tuple[str, ...]


@dataclass(frozen=True)
class Missing:
    """A key that the source does not say though ``mcastd.toml`` needs it: an example of it, and why it is missing."""

    example: Scalar
    why: str


Keys = dict[str, Scalar | Missing]


@dataclass
class ChildDraft:
    """One child to be."""

    name: str
    keys: Keys


@dataclass
class PeerDraft:
    """One peer to be. ``psk`` is its pre-shared key, where the source has it."""

    name: str
    keys: Keys
    children: list[ChildDraft] = field(default_factory=list)
    psk: bytes | None = field(default=None, repr=False)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be filled in."""
        tables: list[Mapping[str, object]] = [self.keys, *(child.keys for child in self.children)]
        return not any(isinstance(value, Missing) for table in tables for value in table.values())


class Notes:
    """What was not carried over, each once, in the order found."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}

    def add(self, setting: Value, key: str, text: str) -> None:
        """Note something about a setting; the text says what of it is lost."""
        self._found[Problem(str(setting.file), setting.line, key, text)] = None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All of them."""
        return tuple(self._found)


def same_peer(found: Iterable[PeerDraft], peer: PeerDraft) -> PeerDraft:
    """The draft that differs from this one in nothing but name and children; this one if there is none."""
    return next((one for one in found if _agreed(one) == _agreed(peer)), peer)


def _agreed(peer: PeerDraft) -> tuple[object, ...]:
    return {key: value for key, value in peer.keys.items() if key != "psk_file"}, peer.psk
