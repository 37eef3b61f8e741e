"""What one look at the host, the daemon and the tunnels saw: frozen, so that hops are pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from mcastd.config.model import Config, Tunnel
from mcastd.errors import Problem
from mcastd.links import Way
from mcastd.net.gre import GreHeader
from mcastd.status import ChildStatus, GroupStatus, PeerStatus, Status, TunnelStatus
from mcastd.tools.doctor.proc import UdpSocket


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the host can do; None is not known."""

    gre: bool | None = None
    esp: bool | None = None
    xfrm_interface: bool | None = None
    tun: bool = True
    nft: bool = True


@dataclass(frozen=True, slots=True)
class Link:
    """A tunnel's interface. ``mtu`` is in bytes of an IP packet."""

    mtu: int
    up: bool
    multicast: bool


@dataclass(frozen=True, slots=True)
class Stream:
    """What passed on a tunnel of one group from one source to one UDP port."""

    group: IPv4Address
    source: IPv4Address
    port: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Echoes through a tunnel to its far end, with DF set: were a small one and one of the full MTU answered?

    ``refused`` is that this host would not send the full one (EMSGSIZE), and the MTU that it knows instead, if it does.
    """

    size: int
    small: bool = False
    full: bool = False
    refused: int | None = None


@dataclass(frozen=True, slots=True)
class GreSeen:
    """GRE that arrived on this host, outside of the tunnels: its ends and its header, 0 for the sequence number."""

    source: IPv4Address
    destination: IPv4Address
    header: GreHeader


@dataclass(frozen=True, slots=True)
class Esp:
    """ESP of one SPI, as it passed on the wire: by which ``peer``, how many packets, and how many numbers between the
    first and the last were ``missing``. The ``late``st one came so many places behind a later one.
    """

    peer: IPv4Address
    packets: int
    missing: int = 0
    late: int = 0


@dataclass(frozen=True, slots=True)
class Wire:
    """ESP of one direction, by SPI; ``whole`` unless more passed than was looked at."""

    sas: dict[int, Esp] = field(default_factory=dict)
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Heard:
    """What came in on one tunnel during the look: packets by stream, IP fragments; ``capped`` if that is not all."""

    streams: dict[Stream, int] = field(default_factory=dict)
    fragments: int = 0
    capped: bool = False


@dataclass(frozen=True, slots=True)
class TunnelFacts:
    """One tunnel on the host. ``rp_filter`` is the effective value.

    ``received`` is what the interface counted during the look, ``total`` since it was made.
    ``delivered`` is what of ``heard.streams`` the host gave to somebody. ``way_to`` is, for each group and source
    and for the far endpoint of GRE, the interface that the host's routes lead to; None without a route.
    """

    link: Link | None = None
    rp_filter: int = 0
    received: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)
    heard: Heard = field(default_factory=Heard)
    delivered: dict[Stream, int] = field(default_factory=dict)
    probe: Probe | None = None
    way_to: dict[IPv4Address, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything. Counters are what they rose by during the look, which took ``seconds``.

    ``ways`` are those to the peers, None without a route; ``addresses`` this host's own. ``source_filters`` are, by
    interface and group, the sources that somebody has asked for; ``strangers`` are, by port, programs other than the
    charon of the configuration that hold a port of IKE; ``multicast_routers`` are the interfaces of a
    multicast routing daemon, which is not ours.
    """

    config_file: str
    config: Config | None = None
    config_errors: tuple[str, ...] = ()
    config_notes: tuple[Problem, ...] = ()
    privileged: bool = True
    kernel: Kernel = Kernel()
    silent: str | None = None
    before: Status | None = None
    status: Status | None = None
    seconds: float = 0.0
    tunnels: dict[str, TunnelFacts] = field(default_factory=dict)
    ways: dict[IPv4Address, Way | None] = field(default_factory=dict)
    addresses: frozenset[IPv4Address] = frozenset()
    wire_in: Wire = Wire()
    wire_out: Wire = Wire()
    gre_seen: Mapping[GreSeen, int] = field(default_factory=dict)
    memberships: dict[str, frozenset[IPv4Address]] = field(default_factory=dict)
    source_filters: dict[tuple[str, IPv4Address], frozenset[IPv4Address]] = field(default_factory=dict)
    strangers: dict[int, str] = field(default_factory=dict)
    multicast_routers: frozenset[str] = frozenset()
    sockets: tuple[UdpSocket, ...] = ()
    socket_drops: dict[int, int] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)

    def peers(self) -> tuple[PeerStatus, ...]:
        """The peers, as the daemon has them."""
        return self.status.peers if self.status else ()

    def children(self) -> dict[str, ChildStatus]:
        """The children by name."""
        return {child.name: child for peer in self.peers() for child in peer.children}

    def risen(self, child: str) -> tuple[int, int]:
        """By how many packets a child's counters rose during the look, in and out."""
        first = {c.name: c for peer in (self.before.peers if self.before else ()) for c in peer.children}.get(child)
        last = self.children().get(child)
        if first is None or last is None or first.spi_in != last.spi_in:
            return (last.packets_in, last.packets_out) if last else (0, 0)
        return last.packets_in - first.packets_in, last.packets_out - first.packets_out

    def carried(self, peer: PeerStatus) -> tuple[int, int] | None:
        """By how many packets all children of a peer rose, in and out; None where an SA is another one by now."""
        before = {child.name: child for was in (self.before.peers if self.before else ()) for child in was.children}
        if any(child.name not in before or child.spi_in != before[child.name].spi_in for child in peer.children):
            return None
        risen = [self.risen(child.name) for child in peer.children]
        return sum(count for count, _ in risen), sum(count for _, count in risen)

    def configured(self) -> tuple[Tunnel, ...]:
        """The tunnels of the file."""
        return self.config.tunnels if self.config else ()

    def told(self, tunnel: str) -> TunnelStatus | None:
        """What the daemon says of a tunnel."""
        return next((one for one in (self.status.tunnels if self.status else ()) if one.name == tunnel), None)

    def told_before(self, tunnel: str) -> TunnelStatus | None:
        """What it said at the beginning of the look."""
        return next((one for one in (self.before.tunnels if self.before else ()) if one.name == tunnel), None)

    def groups(self, tunnel: str) -> tuple[GroupStatus, ...]:
        """The joins of a tunnel."""
        return tuple(one for one in (self.status.groups if self.status else ()) if one.tunnel == tunnel)
