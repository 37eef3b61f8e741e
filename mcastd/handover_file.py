"""The formats of the handover files, and what their entries may be. Pure.

``handover.json`` has Generation IDs by tunnel, and neighbours; ``joins`` are those of mcastd 0.1, which has no version.
Another version may have written it: unknown fields are ignored, missing ones are as after a first start.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Annotated, Any, Final, TypeVar

import msgspec

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


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """``handover.json``."""

    version: int = 0
    generation_ids: dict[str, int] = {}
    neighbors: tuple[Neighbor, ...] = ()
    joins: tuple[Join, ...] = ()


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
    return State(VERSION, usable, neighbors, joins), wrong


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
