"""What the doctor observed on the host, of the daemon and on the tunnels: frozen, so that the hops are pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address
from typing import Literal, NamedTuple

from mcastd.config.gateways import in_use
from mcastd.config.model import Config, Peer, Tunnel
from mcastd.errors import ConfigProblem
from mcastd.links import NextHop
from mcastd.net.gre import GreHeader
from mcastd.problems import ProblemCode
from mcastd.status import ChildStatus, GroupStatus, PeerStatus, Status, TunnelStatus
from mcastd.tools.doctor.firewall import Rule
from mcastd.tools.doctor.proc import Proc

Feature = Literal["ip_gre", "esp4", "xfrm_interface", "tun", "nft"]
"""What a host may lack: a module of the kernel, ``/dev/net/tun``, or a program."""


class Interface(NamedTuple):
    """A tunnel's interface. ``mtu`` is in bytes of an IP packet."""

    mtu: int
    up: bool
    multicast: bool


class Stream(NamedTuple):
    """The packets of one group from one source to one UDP port."""

    group: IPv4Address
    source: IPv4Address
    port: int


class Probe(NamedTuple):
    """Two ICMP echoes through a tunnel with DF set, a small one and one of ``size`` bytes: which were answered.

    ``refused`` is the path MTU that this host knows, if it refused to send the large one (EMSGSIZE).
    """

    size: int
    small: bool = False
    full: bool = False
    refused: int | None = None


class GreSeen(NamedTuple):
    """GRE that arrived at this host outside of the tunnels: its endpoints and its header, with sequence number 0."""

    source: IPv4Address
    destination: IPv4Address
    header: GreHeader


class Way(NamedTuple):
    """How a packet leaves this host: the interface, and the source address."""

    interface: str
    source: IPv4Address


class Esp(NamedTuple):
    """ESP of one SPI on the wire: its ``peer``, the number of packets, and how many sequence numbers between the first
    and the last were ``missing``. The most delayed packet came ``late`` sequence numbers behind a later one.
    ``interface`` is where one was seen, ``ways`` how they left this host.
    """

    peer: IPv4Address
    packets: int
    missing: int = 0
    late: int = 0
    interface: str = ""
    ways: frozenset[Way] = frozenset()


class Control(NamedTuple):
    """IKE or PIM (a Hello to all routers, or to us) on the wire, by the other side's address and the interface."""

    protocol: Literal["ike", "pim"]
    address: IPv4Address
    interface: str


@dataclass(frozen=True, slots=True)
class ControlSeen:
    """How many packets of IKE and PIM arrived and left, and how many of them were delivered on this host.

    ``ways`` are, by the address of the peer, those by which IKE left this host.
    """

    arrived: Mapping[Control, int] = field(default_factory=dict)
    left: Mapping[Control, int] = field(default_factory=dict)
    delivered: Mapping[Control, int] = field(default_factory=dict)
    ways: Mapping[IPv4Address, frozenset[Way]] = field(default_factory=dict)

    def of(self, kind: Literal["arrived", "left", "delivered"], protocol: str, address: IPv4Address) -> int:
        """How many packets of one address; on a bridge the same show on two interfaces."""
        seen: Mapping[Control, int] = getattr(self, kind)
        return max((count for one, count in seen.items() if one[:2] == (protocol, address)), default=0)


@dataclass(frozen=True, slots=True)
class Wire:
    """ESP of one direction, by SPI; not ``complete`` if more passed than was looked at."""

    sas: dict[int, Esp] = field(default_factory=dict)
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Multicast:
    """Multicast that passed an interface: packets by stream, and IP fragments; not all if ``capped``.

    ``ttls`` are the largest TTL of each stream, ``whole`` the length of its largest packet that may not be fragmented.
    """

    streams: dict[Stream, int] = field(default_factory=dict)
    ttls: dict[Stream, int] = field(default_factory=dict)
    whole: dict[Stream, int] = field(default_factory=dict)
    fragments: int = 0
    capped: bool = False


@dataclass(frozen=True, slots=True)
class TunnelFacts:
    """One tunnel on the host.

    ``received`` are the packets that the interface counted during the observation, ``total`` since it was created.
    ``delivered`` is what of ``arrived.streams`` the host passed on to sockets; with ``exact`` all was counted, and the
    same groups were joined all the time. ``route_to`` is, for each group and
    source and for the remote GRE endpoint, the interface that the host's routes lead to; None without a route.
    """

    interface: Interface | None = None
    received: int = 0
    total: int = 0
    arrived: Multicast = field(default_factory=Multicast)
    delivered: dict[Stream, int] = field(default_factory=dict)
    exact: bool = False
    probe: Probe | None = None
    route_to: dict[IPv4Address, str | None] = field(default_factory=dict)

    @property
    def unanswered(self) -> bool:
        """Whether an echo to the far end of the tunnel was not answered."""
        return self.probe is not None and not self.probe.small

    def lacks(self, count: int, passed: int) -> bool:
        """Whether more of what arrived was not passed on than one in twenty, or one in four if that is not exact."""
        return passed < (count * 19 // 20 if self.exact else count * 3 // 4)


@dataclass(frozen=True, slots=True)
class Downstream:
    """An interface to machines behind this host: its MTU, None if it does not exist, and what left by it.

    ``ways`` are those by which VXLAN left this host for the machines that get groups; None if it is no overlay.
    """

    mtu: int | None = None
    sent: Multicast = field(default_factory=Multicast)
    ways: frozenset[Way] | None = None


class TunnelView(NamedTuple):
    """A tunnel that the daemon knows: its configuration, its status at the end, what was observed, its CHILD_SA."""

    tunnel: Tunnel
    status: TunnelStatus
    seen: TunnelFacts
    child: ChildStatus | None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that was observed.

    Counters are what they rose by during the observation, which took ``seconds``, and ended at ``moment`` (with a time
    zone). ``lacks`` is what the host certainly does not have. ``before`` and ``status`` are the daemon's status at the
    start and the end, or ``daemon_error`` why there is none. ``routes`` are those to the peers, None without a route;
    ``addresses`` are this host's own, each with its interface, ``vrfs`` the VRFs of interfaces. ``rule_220_missing`` is
    that table 220 has routes and no rule leads to it. ``rules`` are those of this host's firewalls that drop or
    translate. ``downstream`` are the interfaces that are forwarded to, ``routing_holders`` other programs that route
    multicast. ``control`` is IKE and PIM on the wire. ``port_holders`` are, by UDP port, programs other than the
    configured charon that hold a port of IKE. ``holders`` are, by the inode of a UDP socket, the process that has it,
    where memberships of applications were lost, packets were dropped or some wait; ``stopped`` are those of processes
    that are stopped (SIGSTOP).
    """

    config_file: str
    config: Config | None = None
    config_errors: tuple[str, ...] = ()
    config_notes: tuple[ConfigProblem, ...] = ()
    privileged: bool = True
    lacks: frozenset[Feature] = frozenset()
    daemon_error: str | None = None
    before: Status | None = None
    status: Status | None = None
    seconds: float = 0.0
    moment: datetime | None = None
    tunnels: dict[str, TunnelFacts] = field(default_factory=dict)
    routes: dict[IPv4Address, NextHop | None] = field(default_factory=dict)
    addresses: Mapping[IPv4Address, str] = field(default_factory=dict)
    vrfs: Mapping[str, str] = field(default_factory=dict)
    rule_220_missing: bool = False
    rules: tuple[Rule, ...] = ()
    downstream: Mapping[str, Downstream] = field(default_factory=dict)
    routing_holders: tuple[str, ...] = ()
    wire_in: Wire = field(default_factory=Wire)
    wire_out: Wire = field(default_factory=Wire)
    gre_seen: Mapping[GreSeen, int] = field(default_factory=dict)
    control: ControlSeen = field(default_factory=ControlSeen)
    port_holders: dict[int, str] = field(default_factory=dict)
    holders: Mapping[int, str] = field(default_factory=dict)
    stopped: frozenset[int] = frozenset()
    proc: Proc = field(default_factory=Proc)

    @property
    def peers(self) -> tuple[PeerStatus, ...]:
        """The peers in the daemon's status, but for gateways that stand by."""
        return tuple(one for one in self.status.peers if one.state != "standby") if self.status else ()

    @property
    def in_use(self) -> tuple[Peer, ...]:
        """The peers of the configuration file, but for gateways that stand by."""
        active = {one.standby_for or one.name: one.name for one in self.peers}
        return in_use(self.config.peers, active) if self.config else ()

    @property
    def configured(self) -> tuple[Tunnel, ...]:
        """The tunnels of the configuration file."""
        return self.config.tunnels if self.config else ()

    @property
    def forwarded_from(self) -> frozenset[str]:
        """The tunnels that mcastd forwards from."""
        return frozenset(name for one in (self.config.downstream if self.config else ()) for name in one.from_)

    def views(self) -> Iterator[TunnelView]:
        """The configured tunnels that the daemon knows, in the order of the file."""
        children = {child.name: child for peer in self.peers for child in peer.children}
        for tunnel in self.configured:
            if (status := _tunnel(self.status, tunnel.name)) is not None:
                seen = self.tunnels.get(tunnel.name, TunnelFacts())
                yield TunnelView(tunnel, status, seen, children.get(tunnel.child or ""))

    def groups(self) -> Iterator[tuple[TunnelView, GroupStatus]]:
        """The joins, by tunnel in the order of the file."""
        for view in self.views():
            yield from ((view, group) for group in self.joins(view.tunnel.name))

    def joins(self, tunnel: str) -> Iterator[GroupStatus]:
        """The joins of one tunnel."""
        return (group for group in (self.status.groups if self.status else ()) if group.tunnel == tunnel)

    def is_reported(self, *codes: ProblemCode, subject: str) -> bool:
        """Whether the daemon has one of these problems with something."""
        problems = self.status.problems if self.status else ()
        return any(one.code in codes and one.subject == subject for one in problems)

    def is_new(self, group: GroupStatus) -> bool:
        """Whether a group was joined only during the observation."""
        return group.uptime is not None and group.uptime < self.seconds

    def was_forwarded(self, group: GroupStatus, interface: str) -> bool:
        """Whether a group was forwarded to an interface at the beginning."""
        joined = (group.tunnel, group.group, group.source)
        groups = self.before.groups if self.before else ()
        return any(interface in one.forwarded_to and (one.tunnel, one.group, one.source) == joined for one in groups)

    def tunnel_before(self, tunnel: str) -> TunnelStatus | None:
        """The status of a tunnel at the beginning."""
        return _tunnel(self.before, tunnel)

    def replaced(self, child: ChildStatus) -> bool:
        """Whether a CHILD_SA is another one than at the beginning."""
        return (before := self._before(child)) is None or before.spi_in != child.spi_in

    def passed(self, child: ChildStatus) -> tuple[int, int]:
        """By how many packets the counters of a CHILD_SA rose, in and out; all of them for one that was replaced."""
        before = self._before(child)
        if before is None or before.spi_in != child.spi_in:
            return child.packets_in, child.packets_out
        return child.packets_in - before.packets_in, child.packets_out - before.packets_out

    def _before(self, child: ChildStatus) -> ChildStatus | None:
        children = (one for peer in (self.before.peers if self.before else ()) for one in peer.children)
        return next((one for one in children if one.name == child.name), None)


def _tunnel(status: Status | None, name: str) -> TunnelStatus | None:
    return next((one for one in (status.tunnels if status else ()) if one.name == name), None)
