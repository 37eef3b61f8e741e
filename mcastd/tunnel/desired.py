"""What the tunnel agent is configured with, and what it shows to the agents above it. Pure."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address

import msgspec

from mcastd.config.model import Config, Tunnel
from mcastd.links import Gre, Link, Vxlan, Xfrm
from mcastd.paths import Order
from mcastd.tunnel.addresses import Entry
from mcastd.tunnel.mtu import Carrier


class TunnelsDesired(msgspec.Struct, frozen=True):
    """The configuration, and by its name what each CHILD_SA is to the tunnel that it carries.

    ``heard`` are the peers whose packets are decrypted, by name; ``carrying`` is which of several
    tunnels carries the groups that have these.
    """

    config: Config
    carriers: Mapping[str, Carrier]
    heard: frozenset[str] = frozenset()
    carrying: Mapping[Order, str] = msgspec.field(default_factory=dict)

    def carrier(self, tunnel: Tunnel) -> Carrier:
        """What carries a tunnel."""
        if tunnel.child is None:
            return Carrier(up=True, up_count=1, remote=tunnel.remote)
        return self.carriers.get(tunnel.child, Carrier())


class TunGre(msgspec.Struct, frozen=True):
    """The parameters of a TUN interface whose packets mcastd puts into GRE itself."""

    gre: Gre


Parameters = Gre | TunGre | Xfrm | Vxlan
"""What cannot be changed without making the link again."""


class LinkDesired(msgspec.Struct, frozen=True):
    """One link as configured, with what is known by now. ``up`` is whether it may be set up; it is never set down.

    ``endpoint`` is the local GRE endpoint, which has to be an address of this host; ``addresses`` are the tunnel's, the
    primary one first. An XFRM interface below GRE has neither. ``rp_filter`` None keeps what is set.
    """

    name: str
    parameters: Parameters
    mtu: int
    up: bool
    endpoint: IPv4Address | None = None
    addresses: tuple[Entry, ...] = ()
    rp_filter: str | None = None


class LinkView(msgspec.Struct, frozen=True):
    """The link of a tunnel. ``up`` is that the link and its CHILD_SA are up; ``up_count`` is how often they came up.

    ``address`` is the primary address of this host on it, ``secondary`` are the others; ``mtu`` is in bytes.
    """

    index: int
    mtu: int
    address: IPv4Address
    up: bool
    up_count: int
    secondary: tuple[IPv4Address, ...] = ()


def gre(tunnel: Tunnel) -> Gre:
    """The GRE of a tunnel."""
    return Gre(tunnel.local, tunnel.remote, tunnel.gre)


def differences(link: Link, before: LinkDesired, desired: LinkDesired) -> Iterator[str]:
    """What another program has changed of a link that was made like ``before``, as far as that is still desired."""
    if before.up and desired.up and not link.up:
        yield "set up"
    if before.mtu == desired.mtu != link.mtu:
        yield "MTU"
    if not link.multicast:
        yield "MULTICAST flag"
