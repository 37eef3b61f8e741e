"""Sysctls under /proc/sys/net."""

from pathlib import Path

from mcastd.errors import HostError

_ROOT = Path("/proc/sys")


def read(name: str) -> str | None:
    """The value of ``net/ipv4/conf/gre1/rp_filter`` and its like; None where this kernel has no such sysctl."""
    try:
        return (_ROOT / name).read_text().strip()
    except FileNotFoundError:
        return None


def write(name: str, value: str) -> None:
    """Set a sysctl; raises HostError when the host refuses."""
    try:
        (_ROOT / name).write_text(value)
    except OSError as error:
        raise HostError(f"sysctl {name} = {value}: {error.strerror}") from error
