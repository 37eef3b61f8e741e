"""What is asked of the kernel and what it tells, for who reckons with it and for who speaks to it. Pure."""

from dataclasses import dataclass
from ipaddress import IPv4Address

from mcastd.net.gre import PLAIN, GreOptions


@dataclass(frozen=True, slots=True)
class Gre:
    """A link of kind ``gre``."""

    local: IPv4Address
    remote: IPv4Address
    options: GreOptions = PLAIN


@dataclass(frozen=True, slots=True)
class Xfrm:
    """A link of kind ``xfrm``: what is sent into it is encrypted by the SAs of its ``if_id``, or dropped."""

    if_id: int


@dataclass(frozen=True, slots=True)
class Way:
    """Where this host's routes to an address lead: an interface and, unless that is on the link, a gateway.

    ``silent`` is that the next hop does not answer the question for its link-layer address (ARP).
    """

    interface: str
    gateway: IPv4Address | None = None
    silent: bool = False
