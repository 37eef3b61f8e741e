"""The kinds of link that mcastd has the kernel make, for who plans them and for who makes them. Pure."""

from dataclasses import dataclass
from ipaddress import IPv4Address


@dataclass(frozen=True, slots=True)
class Gre:
    """A link of kind ``gre``."""

    local: IPv4Address
    remote: IPv4Address
    ttl: int
    key: int | None = None
    checksum: bool = False
    sequence: bool = False


@dataclass(frozen=True, slots=True)
class Xfrm:
    """A link of kind ``xfrm``: what is sent into it is encrypted by the SAs of its ``if_id``, or dropped."""

    if_id: int
