"""The formats of the handover files, and what their entries may be. Pure.

``handover.json`` has Generation IDs by tunnel, and neighbours; ``joins`` are those of mcastd 0.1, which has no version.
Another version may have written it: unknown fields are ignored, missing ones are as after a first start.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address
from math import inf
from typing import Annotated, Any, Final, TypeVar

import msgspec

from mcastd.paths import ByHand, Chosen, Order, Paths

VERSION: Final = 1
LARGEST: Final = 4 << 20
"""In bytes; a larger file is not read."""
_HELLO: Final = 65535  # bytes of a PIM message at most

Entry = tuple[IPv4Address, IPv4Address | None]
"""A group and its source; None: (*,G)."""
T = TypeVar("T")


class Join(msgspec.Struct, frozen=True, omit_defaults=True):
    """A join by command: (*,G) where ``source`` is None. ``tunnel`` is the first of ``tunnels``."""

    tunnel: str
    group: str
    source: str | None = None
    tunnels: tuple[str, ...] = ()


class Neighbor(msgspec.Struct, frozen=True):
    """A PIM neighbour and its Hello, as a PIM message."""

    tunnel: str
    address: str
    hello: Annotated[bytes, msgspec.Meta(max_length=_HELLO)]


class Path(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which of several ``tunnels`` carries groups (``group``: this one), and which by command, until a time.

    Times are of the monotonic clock, which goes on until the host is started again.
    """

    tunnels: tuple[str, ...]
    tunnel: str
    since: float
    why: str
    moves: int = 0
    leaving: str | None = None
    leaves_at: float | None = None
    group: str | None = None
    by_hand: str | None = None
    until: float | None = None


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """``handover.json``."""

    version: int = 0
    generation_ids: dict[str, int] = {}
    neighbors: tuple[Neighbor, ...] = ()
    joins: tuple[Join, ...] = ()
    paths: tuple[Path, ...] = ()


def path(one: Path) -> tuple[Order, Chosen, ByHand | None]:
    """What it says. Raises ValueError."""
    order = Order(one.tunnels, IPv4Address(one.group) if one.group else None)
    if not {one.tunnel, one.by_hand or one.tunnel, one.leaving or one.tunnel} <= set(one.tunnels):
        raise ValueError("a tunnel that is not one of several")
    leaves_at = inf if one.leaves_at is None else one.leaves_at
    by_hand = None if one.by_hand is None else ByHand(one.by_hand, inf if one.until is None else one.until)
    return order, Chosen(one.tunnel, one.since, one.why, one.leaving, leaves_at, one.moves), by_hand


def paths(found: Paths) -> tuple[Path, ...]:
    """The same for the file."""
    kept = []
    for order, chosen in found.chosen.items():
        by_hand = found.by_hand.get(order)
        kept.append(
            Path(
                order.tunnels,
                chosen.tunnel,
                chosen.since,
                chosen.why,
                chosen.moves,
                chosen.leaving,
                chosen.leaves_at if chosen.leaves_at < inf else None,
                None if order.group is None else str(order.group),
                None if by_hand is None else by_hand.tunnel,
                by_hand.until if by_hand is not None and by_hand.until < inf else None,
            )
        )
    return tuple(kept)


def entry(join: Join) -> Entry:
    """The group and the source of a join. Raises ValueError."""
    return IPv4Address(join.group), IPv4Address(join.source) if join.source else None


def decode_join(content: bytes) -> Join:
    """A file in ``joins/``. Raises ValueError."""
    try:
        return msgspec.json.decode(content, type=Join)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def decode(content: bytes) -> tuple[State, list[str]]:
    """What can be used, and in words what cannot. Raises ValueError if that is nothing."""
    if len(content) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST} bytes")
    try:
        found = msgspec.json.decode(content, type=dict[str, Any])
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    wrong: list[str] = []
    ids = found.get("generation_ids", {})
    if not isinstance(ids, dict):
        wrong.append("generation_ids: not an object")
        ids = {}
    usable = {name: number for name, number in ids.items() if type(number) is int and 0 <= number < 1 << 32}
    wrong += [f"generation_ids: {name!r:.100}" for name in ids.keys() - usable.keys()]
    neighbors = tuple(_each(found, "neighbors", Neighbor, lambda one: IPv4Address(one.address), wrong))
    joins = tuple(_each(found, "joins", Join, entry, wrong))
    known = tuple(_each(found, "paths", Path, path, wrong))
    return State(VERSION, usable, neighbors, joins, known), wrong


def _each(found: dict[str, Any], field: str, kind: type[T], check: Any, wrong: list[str]) -> Iterator[T]:
    """The entries of a list that can be used; the others are added to ``wrong``."""
    entries = found.get(field, [])
    if not isinstance(entries, list):
        wrong.append(f"{field}: not an array")
        return
    for one in entries:
        try:
            converted = msgspec.convert(one, kind)
            check(converted)
        except (ValueError, RecursionError) as error:
            wrong.append(f"{field}: {one!r:.100}: {error}")
        else:
            yield converted
