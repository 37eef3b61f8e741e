"""What the tunnel agent is configured with, and what it shows to the agents above it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from mcastd.config.model import Config
from mcastd.tunnel.mtu import Carrier


@dataclass(frozen=True, slots=True)
class TunnelsDesired:
    """The configuration and, by the CHILD_SA's name, what each CHILD_SA is to the tunnel that it carries."""

    config: Config
    carriers: Mapping[str, Carrier]


@dataclass(frozen=True, slots=True)
class LinkView:
    """The link of a tunnel. ``up`` is that the link is up and its CHILD_SA too; ``up_count`` how often that came true.

    ``address`` is our primary address on it, ``secondary`` are the others; ``mtu`` is in bytes.
    """

    name: str
    index: int
    mtu: int
    address: IPv4Address
    up: bool
    up_count: int
    secondary: tuple[IPv4Address, ...] = ()
