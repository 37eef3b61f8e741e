"""What the kernel is asked for and shows: links, addresses, routes, rules and next hops. Pure."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import msgspec

from mcastd.net.gre import PLAIN, GreOptions


class Gre(msgspec.Struct, frozen=True):
    """The parameters of a link of kind ``gre``."""

    local: IPv4Address
    remote: IPv4Address
    options: GreOptions = PLAIN


class Xfrm(msgspec.Struct, frozen=True):
    """The parameters of a link of kind ``xfrm``: the SAs of its ``if_id`` encrypt what is sent into it."""

    if_id: int


class Vxlan(msgspec.Struct, frozen=True):
    """The parameters of a link of kind ``vxlan`` without a remote endpoint of its own, and which learns.

    What it has learned from an endpoint that is silent it forgets after ``ageing`` seconds.
    """

    vni: int
    local: IPv4Address
    port: int = 4789
    ageing: int = 300


class Link(msgspec.Struct, frozen=True):
    """A network interface. ``kind`` is the kernel's (``gre``, ``tun``, ``veth``, ...), ``mtu`` is in bytes.

    ``master`` is the index of the VRF, bridge or bond that it belongs to.
    """

    index: int
    name: str
    kind: str | None
    mtu: int
    up: bool
    multicast: bool
    parameters: Gre | Xfrm | Vxlan | None = None
    alias: str = ""
    master: int | None = None

    def __str__(self) -> str:
        return f"link {self.name}"


@dataclass(frozen=True, slots=True)
class Address:
    """An IPv4 address of the interface ``index``; ``peer`` is the far end of a point-to-point address.

    ``label`` is the interface's name, unless the address was given another one; "" leaves it to the kernel.
    """

    index: int
    interface: IPv4Interface
    peer: IPv4Address | None = None
    label: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"address {self.interface}"


class Route(msgspec.Struct, frozen=True):
    """A route to the interface ``index``, which is None if there are several next hops or none.

    ``protocol`` is who made it (RTPROT_*).
    """

    prefix: IPv4Network
    index: int | None
    table: int
    protocol: int

    def __str__(self) -> str:
        return f"route {self.prefix}"


class Rule(msgspec.Struct, frozen=True):
    """``from SOURCE lookup TABLE``; the kernel evaluates rules of a lower ``priority`` first."""

    source: IPv4Network
    table: int
    priority: int
    protocol: int

    def __str__(self) -> str:
        return f"rule from {self.source} lookup {self.table}"


class NextHop(msgspec.Struct, frozen=True):
    """Where packets to an address are sent: an interface and, unless the address is on the link, a gateway.

    ``unresolved`` is that ARP for the next hop is not answered.
    """

    interface: str
    gateway: IPv4Address | None = None
    unresolved: bool = False
