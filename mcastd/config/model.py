"""The configuration as frozen structs: what a valid file says, normalised and complete.

Units: durations are seconds, MTUs are bytes of an IP packet. Nothing here reads a file; ``mcastd.config.load`` does.
"""

import hashlib
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Literal

from msgspec import Struct

from mcastd.net.gre import PLAIN, GreOptions

Datapath = Literal["auto", "kernel", "userspace"]
RpFilter = Literal["loose", "strict", "keep"]
RpSource = Literal["static", "bootstrap", "auto_rp"]
Mode = Literal["tunnel", "transport", "interface"]
Encapsulation = Literal["gre", "none"]
RouteWord = Literal["groups", "rp", "sources"]

SSM_RANGE = IPv4Network("232.0.0.0/8")
LINK_LOCAL_GROUPS = IPv4Network("224.0.0.0/24")
MAX_JOINS = 20_000
"""On one tunnel: those of the file by themselves, and all together for who asks for one more."""


class Daemon(Struct, frozen=True, kw_only=True):
    """``[daemon]``: where the daemon meets its host."""

    datapath: Datapath = "auto"
    vici_socket: Path = Path("/run/charon.vici")
    strongswan_conf: Path = Path("/etc/strongswan.conf")
    runtime_dir: Path = Path("/run/mcastd")

    @property
    def control_socket(self) -> Path:
        """Where ``mcastd status`` and its like ask."""
        return self.runtime_dir / "control.sock"


class Firewall(Struct, frozen=True, kw_only=True):
    """``[firewall]``: our nftables table. ``guard`` keeps GRE that is not encrypted from leaving and from coming in."""

    guard: bool = True
    ip_forward: bool = False


class Child(Struct, frozen=True, kw_only=True):
    """``[peers.NAME.children.NAME]``: one CHILD_SA with one pair of traffic selectors.

    ``mode`` ``"interface"`` is tunnel mode bound to an XFRM interface by ``if_id``; ``interface`` is its name, None
    where a tunnel without encapsulation is that interface. ``protocol`` ``"gre"`` limits the selectors to GRE.
    ``snat`` is the address that what goes to ``remote_ts`` leaves with; ``mss`` None is computed, 0 leaves TCP alone.
    """

    name: str
    local_ts: IPv4Network
    remote_ts: IPv4Network
    proposals: tuple[str, ...]
    lifetime: float = 3600.0
    mode: Mode = "tunnel"
    protocol: Literal["any", "gre"] = "any"
    replay_window: int = 1024
    if_id: int | None = None
    interface: str | None = None
    snat: IPv4Address | None = None
    snat_from: tuple[IPv4Network, ...] = ()
    snat_loopback: bool = False
    mss: int | None = None


class Peer(Struct, frozen=True, kw_only=True):
    """``[peers.NAME]``: one IKE_SA, authenticated by a pre-shared key or by certificates.

    ``reauthentication`` makes it afresh after its lifetime instead of rekeying it; ``encap`` forces ESP into UDP.
    """

    name: str
    local: IPv4Address
    remote: IPv4Address
    local_id: str
    remote_id: str
    proposals: tuple[str, ...]
    psk_file: Path | None = None
    local_cert: Path | None = None
    local_key: Path | None = None
    remote_cert: Path | None = None
    ca_certs: tuple[Path, ...] = ()
    version: Literal[1, 2] = 2
    lifetime: float = 4 * 3600.0
    reauthentication: bool = False
    encap: bool = False
    dpd_delay: float = 30.0
    initiate_timeout: float = 15.0
    retry_min: float = 1.0
    retry_max: float = 60.0
    children: tuple[Child, ...] = ()


class Keepalive(Struct, frozen=True, kw_only=True):
    """``[tunnels.NAME.keepalive]``: GRE keepalives, theirs and, with a ``period`` other than 0, ours.

    ``inner_addresses`` are further addresses of ours that the far end may put inside, as a NAT makes it know us.
    """

    reply: bool = True
    max_per_second: float = 10.0
    inner_addresses: tuple[IPv4Address, ...] = ()
    period: float = 0.0
    retries: int = 3


class RpRange(Struct, frozen=True, kw_only=True):
    """``[[tunnels.NAME.pim.rp]]``: a static rendezvous point for ranges of groups."""

    address: IPv4Address
    groups: tuple[IPv4Network, ...] = (IPv4Network("224.0.0.0/4"),)


class Pim(Struct, frozen=True, kw_only=True):
    """``[tunnels.NAME.pim]``: PIM-SM on the tunnel (RFC 7761). Defaults are the RFC's (section 4.11).

    ``auto_rp_agents`` are the mapping agents that are accepted; empty accepts all. ``rp_preference`` is the order in
    which sources of rendezvous points are asked; those that it does not name follow.
    """

    neighbor: IPv4Address | None = None
    static_neighbor: bool = False
    accept_neighbors: tuple[IPv4Network, ...] = ()
    rp: tuple[RpRange, ...] = ()
    bootstrap: bool = False
    auto_rp: bool = False
    auto_rp_agents: tuple[IPv4Network, ...] = ()
    rp_preference: tuple[RpSource, ...] = ("static",)
    ssm_ranges: tuple[IPv4Network, ...] = (SSM_RANGE,)
    hello_period: float = 30.0
    hello_holdtime: float = 105.0
    dr_priority: int = 1
    propagation_delay: float = 0.5
    override_interval: float = 2.5
    join_prune_period: float = 60.0
    join_repeats: int = 6
    join_repeat_interval: float = 0.4


class Tunnel(Struct, frozen=True, kw_only=True):
    """``[tunnels.NAME]``: one GRE interface, or an XFRM interface without GRE (``encapsulation`` ``"none"``).

    ``mtu`` None is ``auto``; ``child`` None is GRE without IPsec. ``routes`` go through it, ``"groups"``, ``"rp"`` and
    ``"sources"`` standing for what the rest of the file says; ``route_table`` None is the main table.

    ``address`` is the primary one, which PIM speaks from; ``addresses`` are further ones.
    """

    name: str
    local: IPv4Address
    remote: IPv4Address
    address: IPv4Interface
    peer_address: IPv4Address | None = None
    addresses: tuple[IPv4Interface, ...] = ()
    child: str | None = None
    encapsulation: Encapsulation = "gre"
    mtu: int | None = None
    gre: GreOptions = PLAIN
    routes: tuple[IPv4Network | RouteWord, ...] = ("groups",)
    route_table: int | None = None
    rule_from: tuple[IPv4Network, ...] = ()
    rp_filter: RpFilter = "loose"
    keepalive: Keepalive = Keepalive()
    pim: Pim | None = None

    @property
    def own_addresses(self) -> tuple[IPv4Interface, ...]:
        """All of our addresses on the tunnel, the primary one first."""
        return (self.address, *self.addresses)


class Group(Struct, frozen=True, kw_only=True):
    """``[[groups]]``: a group to join on a tunnel; with sources, (S,G) for each, else (*,G)."""

    group: IPv4Address
    tunnel: str
    sources: tuple[IPv4Address, ...] = ()


class Config(Struct, frozen=True, kw_only=True):
    """A whole, valid file."""

    daemon: Daemon = Daemon()
    firewall: Firewall = Firewall()
    peers: tuple[Peer, ...] = ()
    tunnels: tuple[Tunnel, ...] = ()
    groups: tuple[Group, ...] = ()


def digest(config: Config) -> str:
    """A short name of what a configuration says: the same for the same values, whatever file they are from."""
    return hashlib.sha256(repr(config).encode()).hexdigest()[:16]
