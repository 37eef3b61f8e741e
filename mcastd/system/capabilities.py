"""The capabilities of this process (capabilities(7))."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from mcastd.problems import Problem

_NEEDED: Final = (
    ("CAP_NET_ADMIN", 12, "create interfaces, addresses and packet filters, or set sysctls"),
    ("CAP_NET_RAW", 13, "use PIM, receive keepalives, or do GRE in user space"),
)


@cache
def missing() -> tuple[tuple[str, str], ...]:
    """The capabilities that mcastd needs and this process lacks, each with what is impossible without it.

    Read once: a process's own do not change, and later there may be no descriptor left to read them with.
    """
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("\nCapEff:")[2].split(maxsplit=1)[0], 16)
    return tuple((name, what) for name, bit, what in _NEEDED if not effective >> bit & 1)


def problems() -> Iterator[Problem]:
    """A problem for each that is missing."""
    for name, what in missing():
        yield Problem("capability_missing", name, f"no {name}: mcastd cannot {what}")
