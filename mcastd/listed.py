"""Lists that may be long, and what has names, in words. Pure."""

from collections.abc import Collection, Iterable
from itertools import islice


def listed(items: Collection[object], most: int, separator: str = ", ") -> str:
    """The first items, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return separator.join(map(str, islice(items, most))) + more


def with_names(what: object, names: Iterable[str]) -> str:
    """``239.1.1.1``, or ``239.1.1.1 (trades, quotes)``."""
    found = ", ".join(names)
    return f"{what} ({found})" if found else f"{what}"
