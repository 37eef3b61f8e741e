"""What the kernel lets this process do (capabilities(7))."""

from pathlib import Path
from typing import Final

_NEEDED: Final = (
    ("CAP_NET_ADMIN", 12, "make interfaces, addresses and packet filters, or set sysctls"),
    ("CAP_NET_RAW", 13, "speak PIM, hear keepalives, or carry GRE itself"),
)


def missing() -> tuple[tuple[str, str], ...]:
    """The capabilities that we need and do not have, each with what cannot be done without it."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("\nCapEff:")[2].split(maxsplit=1)[0], 16)
    return tuple((name, what) for name, bit, what in _NEEDED if not effective >> bit & 1)
