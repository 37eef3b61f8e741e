"""Which of several tunnels carries groups, as a part of ``mcastd.status``, whose rules hold here."""

from msgspec import Struct


class PathStatus(Struct, frozen=True, kw_only=True):
    """Several tunnels that can carry groups, the preferred one first; of all that have these, or of one by command.

    ``tunnel`` carries them since ``age`` seconds, in words because of ``why``; ``leaving`` is the one before, while
    both do. ``by_hand`` is the tunnel that a command prefers, for ``by_hand_left`` seconds (None: without an end).
    ``moves`` is how often they moved, ``dead`` by tunnel why it cannot carry them.
    """

    tunnels: tuple[str, ...]
    group: str | None = None
    groups: int
    tunnel: str
    age: float
    why: str
    leaving: str | None = None
    by_hand: str | None = None
    by_hand_left: float | None = None
    moves: int = 0
    dead: dict[str, str] = {}
