"""What the processes of a bench have in common: they are alone in a network namespace, and answer on stdout."""

import os
import sys
from pathlib import Path
from typing import Final

import msgspec

_SETTINGS: Final = {
    "net/ipv6/conf/default/disable_ipv6": "1",  # nothing but the bursts is to be counted
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/rp_filter": "0",
}
_LINE: Final = 65536


def begin(cpus: str) -> None:
    """Run on these CPUs (``0,2``) alone, and let the namespace send nothing by itself."""
    os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
    for name, value in _SETTINGS.items():
        path = Path("/proc/sys") / name
        if path.exists():
            path.write_text(value)


def question() -> bytes:
    """The line that has come. When the command has ended, this process does, too."""
    line = os.read(sys.stdin.fileno(), _LINE)
    if not line:
        sys.exit(0)
    return line


def answer(message: object) -> None:
    """Write a line."""
    os.write(sys.stdout.fileno(), msgspec.json.encode(message) + b"\n")
