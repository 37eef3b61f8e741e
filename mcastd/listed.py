"""Lists that may be long, in words. Pure."""

from collections.abc import Collection
from itertools import islice


def listed(items: Collection[object], most: int, separator: str = ", ") -> str:
    """The first items, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return separator.join(map(str, islice(items, most))) + more
