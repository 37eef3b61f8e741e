"""The configuration as frozen structs: what a valid file says, normalised and complete.

Units: durations are seconds, MTUs are bytes of an IP packet. Nothing here reads a file; ``mcastd.config.load`` does.
"""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Literal

from msgspec import Struct

Datapath = Literal["auto", "kernel", "userspace"]
RpFilter = Literal["loose", "strict", "keep"]
RpPreference = Literal["static", "bootstrap"]

SSM_RANGE = IPv4Network("232.0.0.0/8")
LINK_LOCAL_GROUPS = IPv4Network("224.0.0.0/24")


class Daemon(Struct, frozen=True, kw_only=True):
    """``[daemon]``: where the daemon meets its host."""

    datapath: Datapath = "auto"
    vici_socket: Path = Path("/run/charon.vici")
    runtime_dir: Path = Path("/run/mcastd")

    @property
    def control_socket(self) -> Path:
        """Where ``mcastd status`` and its like ask."""
        return self.runtime_dir / "control.sock"


class Child(Struct, frozen=True, kw_only=True):
    """``[peers.NAME.children.NAME]``: one CHILD_SA with one pair of traffic selectors."""

    name: str
    local_ts: IPv4Network
    remote_ts: IPv4Network
    proposals: tuple[str, ...]
    lifetime: float = 3600.0
    mode: Literal["tunnel", "transport"] = "tunnel"


class Peer(Struct, frozen=True, kw_only=True):
    """``[peers.NAME]``: one IKE_SA."""

    name: str
    local: IPv4Address
    remote: IPv4Address
    local_id: str
    remote_id: str
    psk_file: Path
    proposals: tuple[str, ...]
    version: Literal[1, 2] = 2
    lifetime: float = 4 * 3600.0
    dpd_delay: float = 30.0
    initiate_timeout: float = 15.0
    retry_min: float = 1.0
    retry_max: float = 60.0
    children: tuple[Child, ...] = ()


class Keepalive(Struct, frozen=True, kw_only=True):
    """``[tunnels.NAME.keepalive]``: GRE keepalives."""

    reply: bool = True
    max_per_second: float = 10.0


class RpRange(Struct, frozen=True, kw_only=True):
    """``[[tunnels.NAME.pim.rp]]``: a static rendezvous point for ranges of groups."""

    address: IPv4Address
    groups: tuple[IPv4Network, ...] = (IPv4Network("224.0.0.0/4"),)


class Pim(Struct, frozen=True, kw_only=True):
    """``[tunnels.NAME.pim]``: PIM-SM on the tunnel (RFC 7761). Defaults are the RFC's (section 4.11)."""

    neighbor: IPv4Address | None = None
    static_neighbor: bool = False
    accept_neighbors: tuple[IPv4Network, ...] = ()
    rp: tuple[RpRange, ...] = ()
    rp_preference: RpPreference = "static"
    bootstrap: bool = False
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
    """``[tunnels.NAME]``: one GRE interface. ``mtu`` None is ``auto``; ``child`` None is GRE without IPsec."""

    name: str
    local: IPv4Address
    remote: IPv4Address
    address: IPv4Interface
    peer_address: IPv4Address | None = None
    child: str | None = None
    mtu: int | None = None
    key: int | None = None
    ttl: int = 255
    rp_filter: RpFilter = "loose"
    keepalive: Keepalive = Keepalive()
    pim: Pim | None = None


class Group(Struct, frozen=True, kw_only=True):
    """``[[groups]]``: a group to join on a tunnel; with sources, (S,G) for each, else (*,G)."""

    group: IPv4Address
    tunnel: str
    sources: tuple[IPv4Address, ...] = ()


class Config(Struct, frozen=True, kw_only=True):
    """A whole, valid file."""

    daemon: Daemon = Daemon()
    peers: tuple[Peer, ...] = ()
    tunnels: tuple[Tunnel, ...] = ()
    groups: tuple[Group, ...] = ()
