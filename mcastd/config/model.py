"""The configuration as frozen structs: what a valid file says, normalised and complete.

Each field declares a key of the file: its type and range, its default, and below it one line of help. Validation, the
tables of ``docs/configuration.md``, the manual and the comments of ``etc/mcastd.toml`` follow from it
(``mcastd.config.schema``). Durations are seconds, MTUs bytes of an IP packet.
"""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from mcastd.config import value_types as values
from mcastd.config.downstream import MAX_JOINS, Forward, Overlay
from mcastd.config.feed_formats import SEQUENCE, Sequence
from mcastd.config.group_model import Group as Group
from mcastd.config.group_model import Paths as Paths
from mcastd.config.hours import Hours
from mcastd.config.include import INCLUDE
from mcastd.config.pre_shared_key import PskEncoding
from mcastd.config.schema import Implied, Inline
from mcastd.net.gre import PLAIN, GreOptions

Datapath = Literal["auto", "kernel", "userspace"]
RpFilter = Literal["loose", "strict", "keep"]
RpSource = Literal["static", "bootstrap", "auto_rp"]
Mode = Literal["tunnel", "transport", "interface"]
Encapsulation = Literal["gre", "none"]
RouteWord = Literal["groups", "rp", "sources"]
UpstreamProtocol = Literal["pim", "igmp", "none"]

SSM_RANGE: Final = IPv4Network("232.0.0.0/8")
MAX_REPLAY_WINDOW: Final = 4096
"""In packets."""
MAX_LIFETIME: Final = 30 * 86400.0
"""Of an SA, in seconds."""

_SOCKET_PATH: Final = 107  # bytes, of a struct sockaddr_un, its final NUL aside
_ROUTE_WORDS: Final = {"groups": "groups", "rp": "rp", "sources": "sources"}

Identity = Annotated[str, values.IDENTITY]
Lifetime = Annotated[float, Meta(ge=1.0, le=MAX_LIFETIME)]
Positive = Annotated[int, Meta(ge=1, le=2**32 - 1)]
Ranges = Annotated[tuple[IPv4Network, ...], values.array(values.prefix(values.MULTICAST))]
GroupRanges = Annotated[tuple[IPv4Network, ...], values.array(values.prefix(values.MULTICAST), least=1)]


class Daemon(Struct, frozen=True, kw_only=True):
    """``[daemon]``: how the daemon uses its host."""

    datapath: Datapath = "auto"
    """what carries GRE: the kernel, or mcastd over TUN; auto: the kernel if it can"""
    vici_socket: Annotated[Path, values.file_path(absolute=True, longest=_SOCKET_PATH)] = Path("/run/charon.vici")
    """the control socket of strongSwan (charon-systemd)"""
    strongswan_conf: Annotated[Path, values.file_path(absolute=True)] = Path("/etc/strongswan.conf")
    """strongSwan's own settings, read to check what VICI cannot set"""
    runtime_dir: Annotated[Path, values.file_path(absolute=True, longest=_SOCKET_PATH - len("/control.sock"))] = Path(
        "/run/mcastd"
    )
    """the control socket, and the record of what to put back at a stop"""

    @property
    def control_socket(self) -> Path:
        """Where ``mcastd status`` and other commands reach the daemon."""
        return self.runtime_dir / "control.sock"


class Firewall(Struct, frozen=True, kw_only=True):
    """``[firewall]``: the nftables table of mcastd."""

    guard: bool = True
    """drop what should be encrypted and is not, and IGMP towards PIM neighbors"""
    ip_forward: bool = False
    """forward for machines behind this host (net.ipv4.ip_forward)"""


class Streams(Struct, frozen=True, kw_only=True):
    """``[streams]``: what is expected to arrive."""

    hours: Annotated[tuple[Hours, ...], values.several(values.HOURS)] = ()
    """when streams are expected: outside, silence is no problem; empty: always"""
    meter: Literal["auto", "off"] = "auto"
    """measure gaps, bursts and sequence numbers in the kernel; auto: with CAP_BPF"""


class Metrics(Struct, frozen=True, kw_only=True):
    """``[metrics]``: metrics for Prometheus, over HTTP."""

    listen: Annotated[values.Endpoint | None, values.ENDPOINT] = None
    """address and port of /metrics, "127.0.0.1:9464"; without it, none"""
    streams: Literal["named", "all", "none"] = "named"
    """streams with series of their own: of [[feeds]] and [[groups]], all, or none"""


class Child(Struct, frozen=True, kw_only=True):
    """``[peers.NAME.children.NAME]``: one CHILD_SA with one pair of traffic selectors.

    ``interface`` is None where a tunnel without encapsulation is the XFRM interface; ``mss`` None is computed, 0 leaves
    TCP alone.
    """

    name: str
    local_ts: Annotated[IPv4Network, Implied("see below")]
    """our traffic selector"""
    remote_ts: Annotated[IPv4Network, Implied("see below")]
    """the other side's traffic selector"""
    proposals: Annotated[tuple[str, ...], values.array(values.proposal("esp"), least=1)]
    """ESP algorithms (phase 2); a Diffie-Hellman group is the one for PFS"""
    lifetime: Lifetime = 3600.0
    """time after which the CHILD_SA is rekeyed"""
    mode: Mode = "tunnel"
    """ESP mode: "tunnel", "transport", or "interface": tunnel, on an XFRM interface"""
    protocol: Literal["any", "gre"] = "any"
    """protocols of the selectors; "gre": only GRE, as a Cisco's permit gre"""
    replay_window: Annotated[int, Meta(ge=0, le=MAX_REPLAY_WINDOW)] = 1024
    """how many packets late a packet may be; 0: no replay protection"""
    if_id: Positive | None = None
    """ID of the XFRM interface; required in mode "interface", else not allowed"""
    interface: Annotated[str | None, values.text("name of an interface")] = None
    """name of the XFRM interface that carries GRE"""
    snat: IPv4Address | None = None
    """source address for packets to remote_ts: many subnets here, one address there"""
    snat_from: tuple[IPv4Network, ...] = ()
    """sources to which snat applies; empty: all that are not in local_ts"""
    snat_loopback: bool = False
    """add the address of snat to the loopback interface"""
    mss: Annotated[int | None, values.auto(values.integer(0, 65495))] = None
    """largest TCP segment in this child; auto: what fits; 0: unchanged"""


class Peer(Struct, frozen=True, kw_only=True):
    """``[peers.NAME]``: one IKE_SA, authenticated by a pre-shared key or by certificates.

    A standby has no children: while it is active, it has those of the peer that it stands by for.
    """

    name: str
    local: IPv4Address
    """our address; behind a 1:1 NAT the private one"""
    remote: IPv4Address
    """the other side's public address"""
    local_id: Identity
    """our IKE identity; behind a 1:1 NAT the public address"""
    remote_id: Identity
    """the other side's IKE identity"""
    psk_file: Path | None = None
    """file with the pre-shared key and nothing else; this, or certificates"""
    psk_encoding: PskEncoding = "text"
    """how the key is written there; text: its bytes as they are, on one line"""
    local_cert: Path | None = None
    """file with our certificate, PEM or DER"""
    local_key: Path | None = None
    """file with our private key, PEM or DER, not encrypted"""
    remote_cert: Path | None = None
    """file with the other side's certificate, if only that one is accepted"""
    ca_certs: tuple[Path, ...] = ()
    """files of the CAs that may have issued the other side's certificate"""
    proposals: Annotated[tuple[str, ...], values.array(values.proposal("ike"), least=1)]
    """IKE algorithms (phase 1): encryption, integrity, Diffie-Hellman group"""
    version: Literal[2, 1] = 2
    """IKE version; 1 only for gateways that have no IKEv2"""
    lifetime: Lifetime = 4 * 3600.0
    """time after which the IKE_SA is rekeyed"""
    reauthentication: bool = False
    """re-establish the IKE_SA after its lifetime instead of rekeying it"""
    encap: bool = False
    """ESP in UDP even where no NAT is detected"""
    dpd_delay: Annotated[float, Meta(ge=0.0, le=86400.0)] = 30.0
    """silence after which the peer is probed (dead peer detection); 0: never"""
    initiate_timeout: Annotated[float, Meta(ge=0.1, le=3600.0)] = 15.0
    """how long one attempt to connect may take; one without any answer ends after 5s"""
    retry_min: Annotated[float, Meta(ge=0.01, le=3600.0)] = 1.0
    """first pause after a failed attempt; doubled after each that the peer answers"""
    retry_max: Annotated[float, Meta(ge=0.01, le=86400.0)] = 60.0
    """longest pause between attempts; 1h if the peer ignores that CHILD_SA alone"""
    standby_for: Annotated[str | None, values.text("name of a peer")] = None
    """another gateway of that side, used when it is dead; other keys as that peer's"""
    standby_after: Annotated[float, Meta(ge=1.0, le=3600.0)] = 10.0
    """time without its CHILD_SAs after which the next gateway is used"""
    children: tuple[Child, ...] = ()
    """below"""


class Keepalive(Struct, frozen=True, kw_only=True):
    """``[tunnels.NAME.keepalive]``: GRE keepalives, theirs and, with a ``period`` other than 0, ours."""

    reply: bool = True
    """answer the other side's keepalives; else a Cisco sets its tunnel down"""
    max_per_second: Annotated[float, values.number(0.1, 1000.0)] = 10.0
    """limit of answers per second"""
    inner_addresses: tuple[IPv4Address, ...] = ()
    """further addresses of ours that their keepalives may ask for (NAT)"""
    period: Annotated[float, Meta(ge=0.0, le=32767.0)] = 0.0
    """time between our own keepalives; 0: none are sent"""
    retries: Annotated[int, Meta(ge=1, le=254)] = 3
    """how many of ours without an answer mean that the path is dead"""


class RpRange(Struct, frozen=True, kw_only=True):
    """``[[tunnels.NAME.pim.rp]]``: a static rendezvous point for ranges of groups."""

    address: IPv4Address
    """address of the rendezvous point"""
    groups: GroupRanges = (values.MULTICAST,)
    """the groups that it serves"""


class Pim(Struct, frozen=True, kw_only=True):
    """``[tunnels.NAME.pim]``: PIM-SM on the tunnel (RFC 7761). Defaults are the RFC's (section 4.11)."""

    neighbor: IPv4Address | None = None
    """neighbor that is sent joins before its first Hello has arrived"""
    static_neighbor: bool = False
    """the neighbor counts as present even if it sends no Hellos"""
    accept_neighbors: tuple[IPv4Network, ...] = ()
    """neighbors that are accepted; empty: neighbor alone or, without it, all"""
    rp: tuple[RpRange, ...] = ()
    """below"""
    bootstrap: bool = False
    """learn RPs from Bootstrap messages (RFC 5059)"""
    auto_rp: bool = False
    """learn RPs from Cisco's Auto-RP (RP-Discovery messages of mapping agents)"""
    auto_rp_agents: tuple[IPv4Network, ...] = ()
    """mapping agents that are accepted; empty: all"""
    rp_preference: Annotated[tuple[RpSource, ...], values.preference("static", "bootstrap", "auto_rp")] = ("static",)
    """order of the sources of RPs: "static", "bootstrap", "auto_rp", or an array"""
    ssm_ranges: Ranges = (SSM_RANGE,)
    """groups that are joined with sources only and have no RP"""
    hello_period: Annotated[float, Meta(ge=1.0, le=18000.0)] = 30.0
    """time between Hellos"""
    hello_holdtime: Annotated[float, Meta(ge=1.0, le=65535.0)] = 105.0
    """time after which a neighbor that hears no Hello drops us"""
    dr_priority: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 1
    """priority in the election of the designated router"""
    propagation_delay: Annotated[float, Meta(ge=0.0, le=32.767)] = 0.5
    """in the LAN Prune Delay option; advertised only"""
    override_interval: Annotated[float, Meta(ge=0.0, le=65.535)] = 2.5
    """in the LAN Prune Delay option; advertised only"""
    join_prune_period: Annotated[float, Meta(ge=1.0, le=18000.0)] = 60.0
    """time between refreshes of joins; their holdtime is 3.5 times as long"""
    join_repeats: Annotated[int, Meta(ge=0, le=100)] = 6
    """how often a new join is repeated, in case it is lost"""
    join_repeat_interval: Annotated[float, Meta(ge=0.01, le=60.0)] = 0.4
    """time before the first repetition; it doubles with each further one"""


class Tunnel(Struct, frozen=True, kw_only=True):
    """``[tunnels.NAME]``: one GRE interface, or an XFRM interface without GRE (``encapsulation`` ``"none"``).

    ``mtu`` None is ``auto``; ``child`` None is GRE without IPsec; ``route_table`` None is the main table.
    """

    name: str
    child: Annotated[str | None, values.text("name of a child")] = None
    """the CHILD_SA that carries the tunnel; without one, GRE is not encrypted"""
    local: Annotated[IPv4Address, Implied("see below")]
    """our GRE endpoint, inside local_ts of the child"""
    remote: Annotated[IPv4Address, Implied("see below")]
    """the other side's GRE endpoint, inside remote_ts of the child"""
    address: IPv4Interface
    """our address on the tunnel, the source of PIM messages"""
    peer_address: IPv4Address | None = None
    """the other side's address on the tunnel"""
    addresses: tuple[IPv4Interface, ...] = ()
    """further addresses of ours on the tunnel"""
    mtu: Annotated[int | None, values.auto(values.integer(576, 65535))] = None
    """MTU of the interface; auto: what fits after encapsulation"""
    encapsulation: Encapsulation = "gre"
    """if "none", there is no GRE: the tunnel is the XFRM interface of its child"""
    gre: Annotated[GreOptions, Inline] = PLAIN
    routes: tuple[Annotated[IPv4Network | RouteWord, values.or_word(values.prefix(), _ROUTE_WORDS)], ...] = ("groups",)
    """routes through the tunnel: "groups", "rp", "sources", and prefixes"""
    route_table: Positive | None = None
    """routing table for these routes, with a rule for it, instead of the main one"""
    rule_from: tuple[IPv4Network, ...] = ()
    """sources to which the rule for route_table is limited"""
    rp_filter: RpFilter = "loose"
    """reverse path filter of the interface: "loose", "strict", or "keep": unchanged"""
    upstream: Annotated[UpstreamProtocol | None, Implied('"pim" with a table pim, else "none"')] = None
    """how groups are joined: by PIM, by IGMP, or not: the far end sends unasked"""
    follow: Annotated[
        bool | tuple[IPv4Network, ...], values.or_boolean(values.array(values.prefix(values.MULTICAST)))
    ] = True
    """join what applications on this host join: true, or in these ranges"""
    follow_except: Ranges = ()
    """ranges of groups that are not followed"""
    follow_limit: Annotated[int, Meta(ge=1, le=MAX_JOINS)] = 1000
    """how many entries of applications are followed"""
    linger: Annotated[float, Meta(ge=0.0, le=3600.0)] = 5.0
    """time for which a group stays joined when the last application has left it"""
    keepalive: Annotated[Keepalive, Implied("see below")] = Keepalive()
    """GRE keepalives"""
    pim: Pim | None = None
    """PIM-SM on the tunnel"""

    @property
    def own_addresses(self) -> tuple[IPv4Interface, ...]:
        """All of our addresses on the tunnel, the primary one first."""
        return (self.address, *self.addresses)

    @property
    def upstream_protocol(self) -> UpstreamProtocol:
        """How groups are joined on the tunnel; it is "pim" only if there is ``pim``."""
        return self.upstream or ("none" if self.pim is None else "pim")

    @property
    def ssm_ranges(self) -> tuple[IPv4Network, ...]:
        """The groups that are joined on the tunnel with sources only."""
        return (SSM_RANGE,) if self.pim is None else self.pim.ssm_ranges


class Feed(Struct, frozen=True, kw_only=True, rename={"label": "name"}):
    """``[[feeds]]``: what streams are. It joins nothing, and holds for every group that is wanted, by whatever."""

    label: Annotated[str, values.LABEL]
    """name of the feed, in problems and in mcastd streams"""
    groups: GroupRanges = ()
    """its groups, one by one or as ranges; those of pair need not be named again"""
    port: Annotated[int | None, values.integer(1, 65535)] = None
    """its UDP port; without it, all ports"""
    sequence: Annotated[Sequence | None, SEQUENCE] = None
    """where its packets have their sequence number"""
    pair: Annotated[tuple[values.GroupPort, ...], values.two(values.GROUP_PORT)] = ()
    """two groups with the same numbers, A and B, with their ports if these differ"""
    max_silence: Annotated[float | None, Meta(ge=1.0, le=86400.0)] = None
    """silence of a group that is wanted, after which the feed is a problem"""
    hours: Annotated[tuple[Hours, ...], values.several(values.HOURS)] = ()
    """when it is expected, for max_silence; empty: as in [streams]"""

    @property
    def sides(self) -> tuple[values.GroupPort, ...]:
        """The pair, with the ports."""
        return tuple(values.GroupPort(one.group, one.port or self.port) for one in self.pair)

    @property
    def places(self) -> tuple[tuple[IPv4Network, int | None], ...]:
        """All its groups, each with the port, or None for all ports."""
        paired = tuple((IPv4Network(one.group), one.port) for one in self.sides)
        groups = {group for group, _ in paired}
        return (*((one, self.port) for one in self.groups if one not in groups), *paired)


class Config(Struct, frozen=True, kw_only=True):
    """A whole, valid file. ``include`` is empty: the tables of these files are there."""

    include: Annotated[tuple[str, ...], INCLUDE] = ()
    """files with more [[groups]] and [[feeds]], or patterns; relative to this one"""
    daemon: Daemon = Daemon()
    firewall: Firewall = Firewall()
    streams: Streams = Streams()
    metrics: Metrics = Metrics()
    peers: tuple[Peer, ...] = ()
    tunnels: tuple[Tunnel, ...] = ()
    paths: Paths = Paths()
    groups: tuple[Group, ...] = ()
    feeds: tuple[Feed, ...] = ()
    forward: tuple[Forward, ...] = ()
    overlay: tuple[Overlay, ...] = ()

    @property
    def downstream(self) -> tuple[Forward, ...]:
        """All interfaces to machines that receive."""
        return (*self.forward, *self.overlay)
