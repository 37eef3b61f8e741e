"""The groups that sockets of this host have joined."""

from ipaddress import IPv4Address
from pathlib import Path

from mcastd.net import memberships


def joined() -> dict[str, frozenset[IPv4Address]]:
    """The groups, by interface; empty where the kernel does not say."""
    try:
        return memberships.parse(Path("/proc/thread-self/net/igmp").read_text())
    except OSError:
        return {}
