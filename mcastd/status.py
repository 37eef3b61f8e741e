"""Frozen snapshots of the daemon's state: all that ``mcastd status`` shows, and all that doctor asks the daemon for.

Addresses are text, so that a snapshot is its JSON. The field names are the JSON keys of ``mcastd status --json`` and
stay stable. Ages and uptimes are seconds.
"""

from typing import Literal

from msgspec import Struct

from mcastd.overlay_status import OverlayStatus
from mcastd.path_status import PathStatus as PathStatus
from mcastd.problems import ProblemCode

SaState = Literal["up", "connecting", "waiting", "down"]
PeerSaState = Literal[SaState, "standby"]
JoinState = Literal["joined", "not joined", "expected"]
ForwardState = Literal["forwarding", "standby", "waiting"]
TunnelState = Literal["up", "waiting", "down"]
RouteState = Literal["up", "waiting", "taken"]
PathState = Literal["alive", "dead"]
ArrivalState = Literal["arriving", "silent", "never_arrived"]
NotFollowedReason = Literal["off", "excepted", "out_of_range", "no_rp", "source_specific", "limit"]
Health = Literal["ok", "degraded", "down"]
HistoryEvent = Literal["began", "ended", "repaired"]


class ProblemStatus(Struct, frozen=True):
    """One thing that is wrong now. ``since`` is the time when it began (RFC 3339, UTC); codes are stable, texts not."""

    code: ProblemCode
    subject: str
    since: str
    text: str


class HistoryStatus(Struct, frozen=True):
    """What happened within the last hour, ``count`` times, the last time ``last_age`` seconds ago.

    ``what`` is the code of the problem that began or ended, or what of the ``subject`` was repaired.
    """

    event: HistoryEvent
    subject: str
    what: str
    count: int
    last_age: float


class ChildStatus(Struct, frozen=True, kw_only=True):
    """One configured CHILD_SA. It is ``waiting`` for its next attempt, or ``down`` without one.

    ``problem_code`` and ``problem`` (its text) say why it is not up. ``last_in_age`` and ``last_out_age`` are those of
    the last packets, None before the first one of this SA: a rekeying begins another. They are charon's, whole seconds.
    ``mode`` is the negotiated one; ``interface``, with the ``if_id``, is tunnel mode bound to an XFRM interface.
    """

    name: str
    state: SaState
    local_ts: str
    remote_ts: str
    proposal: str | None = None
    encap: bool | None = None
    mode: str | None = None
    spi_in: str | None = None
    spi_out: str | None = None
    bytes_in: int = 0
    packets_in: int = 0
    bytes_out: int = 0
    packets_out: int = 0
    last_in_age: float | None = None
    last_out_age: float | None = None
    uptime: float | None = None
    rekey_in: float | None = None
    problem: str | None = None
    problem_code: ProblemCode | None = None
    next_try_in: float | None = None
    protocol: str = "any"
    if_id: int | None = None
    replay_window: int | None = None


class PeerStatus(Struct, frozen=True, kw_only=True):
    """One peer. ``problem_code`` and ``problem`` (its text) say why it is not up, e.g. that the PSK differs.

    Of several gateways of one side those that are not used are ``standby``; ``active_for`` is for how many seconds the
    other one has been used, ``active_because`` why, if not from the start. ``standby_for`` is as configured.
    """

    name: str
    state: PeerSaState
    local: str
    remote: str
    local_id: str
    remote_id: str
    proposal: str | None = None
    nat_local: bool | None = None
    nat_remote: bool | None = None
    uptime: float | None = None
    reauth_in: float | None = None
    rekey_in: float | None = None
    attempts: int = 0
    problem: str | None = None
    problem_code: ProblemCode | None = None
    standby_for: str | None = None
    active_for: float | None = None
    active_because: str | None = None
    children: tuple[ChildStatus, ...] = ()


class KeepaliveStatus(Struct, frozen=True, kw_only=True):
    """The keepalives of one tunnel, theirs and ours.

    ``answered`` are theirs, ``last_age`` is that of the last answer, ``stopped`` that by their pace three are missing,
    ``dropped`` what was not answered, by reason. ``icmp_errors`` came for GRE that this host had sent, by their errno:
    the other side has no tunnel for it, or not yet; ``icmp_age`` is that of the last one.
    ``sent`` are ours, one every ``period`` seconds (0: none), ``received`` their answers, ``missed`` how many in a row
    had none, ``rtt`` in seconds. ``path`` is ``alive``, or ``dead`` until the next answer; None: not known, not asked.
    """

    reply: bool
    answered: int = 0
    last_age: float | None = None
    stopped: bool = False
    dropped: dict[str, int] = {}
    icmp_errors: dict[str, int] = {}
    icmp_age: float | None = None
    period: float = 0.0
    sent: int = 0
    received: int = 0
    rtt: float | None = None
    path: PathState | None = None
    missed: int = 0


class NeighborStatus(Struct, frozen=True, kw_only=True):
    """A PIM neighbour. ``expires_in`` is None where its Holdtime is infinite."""

    address: str
    uptime: float
    expires_in: float | None
    generation_id: int | None = None
    dr_priority: int | None = None
    secondary_addresses: tuple[str, ...] = ()
    static: bool = False


class AutoRpStatus(Struct, frozen=True, kw_only=True):
    """A range that Auto-RP has a rendezvous point for, or (``rp`` None) none on purpose; ``expires_in`` None is never.

    ``mapping`` is of a mapping agent, ``announcement`` of a candidate RP; ``used`` is that it counts for joins.
    """

    groups: str
    rp: str | None
    kind: Literal["mapping", "announcement"]
    sender: str
    expires_in: float | None
    used: bool = False


class PimStatus(Struct, frozen=True, kw_only=True):
    """PIM on one tunnel. ``problem`` is why PIM messages cannot be sent."""

    running: bool
    problem: str | None = None
    problem_code: ProblemCode | None = None
    generation_id: int | None = None
    neighbors: tuple[NeighborStatus, ...] = ()
    auto_rp: tuple[AutoRpStatus, ...] = ()
    sent: dict[str, int] = {}
    received: dict[str, int] = {}
    dropped: dict[str, int] = {}


class RouteStatus(Struct, frozen=True, kw_only=True):
    """A prefix through a tunnel. ``state`` is ``up``, ``waiting`` (for the tunnel) or ``taken`` (by another route)."""

    prefix: str
    table: int
    state: RouteState
    problem: str | None = None


class NotFollowedStatus(Struct, frozen=True):
    """A group that an application has joined on a tunnel, and which is not, or not wholly, joined upstream for it.

    ``reason`` is ``off`` (``follow`` is false), ``excepted``, ``out_of_range`` (of ``follow``), ``no_rp`` (it has no
    rendezvous point), ``source_specific`` (it was joined without a source), or ``limit``.
    """

    group: str
    reason: NotFollowedReason


class ApplicationsStatus(Struct, frozen=True, kw_only=True):
    """What applications on this host have joined on a tunnel's interface, and ``joins`` of it are joined upstream.

    ``beyond_limit`` are how many groups wait since there are too many. ``lost`` are groups whose memberships the kernel
    dropped with the interface. ``not_followed`` and ``lost`` are the first 100. ``problem`` is why not all is seen.
    """

    joins: int = 0
    not_followed: tuple[NotFollowedStatus, ...] = ()
    beyond_limit: int = 0
    lost: tuple[str, ...] = ()
    problem: str | None = None


class TunnelStatus(Struct, frozen=True, kw_only=True):
    """One tunnel. ``state`` is ``up``, ``waiting`` (for its CHILD_SA) or ``down``.

    ``encapsulation`` is ``gre``, or ``none`` where the tunnel is an XFRM interface; ``address`` is our primary address
    on it, ``addresses`` are the others. ``upstream`` is how groups are joined on it: ``pim``, ``igmp``, or ``none``:
    they are not, and the far end sends unasked.
    """

    name: str
    state: TunnelState
    datapath: str | None
    local: str
    remote: str
    address: str
    addresses: tuple[str, ...] = ()
    encapsulation: str = "gre"
    upstream: str = "pim"
    mtu: int | None = None
    mtu_reason: str | None = None
    problem: str | None = None
    dropped: dict[str, int] = {}
    routes: tuple[RouteStatus, ...] = ()
    keepalive: KeepaliveStatus | None = None
    pim: PimStatus | None = None
    applications: ApplicationsStatus | None = None


class GroupStatus(Struct, frozen=True, kw_only=True):
    """One join on one tunnel. ``source`` None is (*,G); ``problem`` says why it is not joined.

    It is ``expected`` on a tunnel whose far end sends unasked. ``tunnels`` are all on which this group and source are
    desired, ``origins`` by what. ``arrival`` is None where it is not known: not joined, just joined, or not counted.
    ``forwarded_to`` are the downstream interfaces that get it, and ``forwarded`` the packets that were forwarded.
    ``feeds`` are the names of its ``[[feeds]]``, on whatever port.
    """

    group: str
    source: str | None
    tunnel: str
    state: JoinState
    feeds: tuple[str, ...] = ()
    tunnels: tuple[str, ...] = ()
    rp: str | None = None
    upstream: str | None = None
    origins: tuple[str, ...] = ()
    arrival: ArrivalState | None = None
    uptime: float | None = None
    next_join_in: float | None = None
    problem: str | None = None
    problem_code: ProblemCode | None = None
    forwarded_to: tuple[str, ...] = ()
    forwarded: int | None = None


class OtherQuerierStatus(Struct, frozen=True, kw_only=True):
    """Another router whose general queries were heard; ``heard_age`` is seconds since the last one."""

    address: str
    version: int
    heard_age: float


class QuerierStatus(Struct, frozen=True, kw_only=True):
    """IGMP on one downstream interface.

    ``state`` is ``querier``, ``non-querier`` where another router is, ``waiting`` where we do not query before our
    streams arrive, unless there is no other, ``listener`` where we are not to query, or ``down`` without the interface.
    ``querier`` is the address of the elected querier, or of the one that a listener hears, ``is_ours`` that it is this
    host; ``version`` is that of our queries. ``others`` are all other routers that were heard. ``groups`` and ``hosts``
    are those that are known there, ``pim_router`` is the address of a PIM router that was heard. ``dropped`` are
    messages, and joins beyond a limit, by reason.
    """

    state: Literal["querier", "non-querier", "waiting", "listener", "down"] = "down"
    address: str | None = None
    querier: str | None = None
    is_ours: bool = False
    version: int = 3
    others: tuple[OtherQuerierStatus, ...] = ()
    groups: int = 0
    hosts: int = 0
    pim_router: str | None = None
    problem: str | None = None
    sent: dict[str, int] = {}
    received: dict[str, int] = {}
    dropped: dict[str, int] = {}


class ForwardStatus(Struct, frozen=True, kw_only=True):
    """Multicast routing to one downstream interface, ``[forward.NAME]``.

    ``state`` is ``forwarding``, ``standby`` where another router is the querier, or ``waiting`` for the interface or
    the election; ``problem`` says why. ``groups`` are forwarded, ``refused`` are beyond ``max_groups``; ``packets`` and
    ``bytes`` were sent. ``sent_back`` is how often machines there sent to a group that is forwarded to them, which goes
    nowhere: once in 3 s for each source. ``fragments`` are packets that left in fragments where a gateway drops them.
    """

    name: str
    state: ForwardState
    tunnels: tuple[str, ...] = ()
    groups: int = 0
    refused: int = 0
    packets: int = 0
    bytes: int = 0
    sent_back: int = 0
    fragments: int = 0
    problem: str | None = None
    igmp: QuerierStatus | None = None


class StreamStatus(Struct, frozen=True, kw_only=True):
    """What arrived on a tunnel from one source for one group and UDP port. ``rate`` is packets a second, if known.

    ``feed`` is the name of its ``[[feeds]]``.
    """

    tunnel: str
    source: str
    port: int
    state: ArrivalState
    packets: int
    last_age: float
    rate: float | None = None
    feed: str | None = None


class FirewallStatus(Struct, frozen=True, kw_only=True):
    """Our nftables table. While ``guard`` is set and not ``in_place``, the tunnels that need it stay down.

    ``leaks_out`` and ``leaks_in`` are GRE packets that the guard dropped, ``leaks_by_child`` what it dropped of that a
    CHILD_SA is for, ``igmp_kept`` IGMP reports of this host that were kept from leaving by a tunnel, ``repairs`` how
    often a change of another program was undone.
    """

    guard: bool
    in_place: bool
    leaks_out: int = 0
    leaks_in: int = 0
    leaks_by_child: dict[str, int] = {}
    igmp_kept: int = 0
    snat_packets: int = 0
    mss_clamped: int = 0
    repairs: int = 0
    problem: str | None = None


class Status(Struct, frozen=True, kw_only=True):
    """Everything. ``health`` is ``ok`` without any ``problems`` (then ``healthy`` is true, and the exit code 0).

    It is ``down`` where nothing that is desired can arrive by any tunnel of a peer, otherwise ``degraded``.
    ``schema`` rises when a key is removed or changes its meaning, not when one is added.
    ``notes`` are what was worth saying about the configuration when it was read, though it is no error;
    ``config_digest`` is the configuration's that is in effect (``mcastd.config.digest``). ``charon`` and
    ``charon_code`` say why charon cannot be used.
    """

    schema: int = 1
    version: str
    pid: int
    uptime: float
    health: Health
    healthy: bool
    problems: tuple[ProblemStatus, ...] = ()
    history: tuple[HistoryStatus, ...] = ()
    summary: str
    config_file: str
    config_digest: str | None = None
    charon: str | None = None
    charon_code: ProblemCode | None = None
    firewall: FirewallStatus | None = None
    peers: tuple[PeerStatus, ...] = ()
    tunnels: tuple[TunnelStatus, ...] = ()
    paths: tuple[PathStatus, ...] = ()
    groups: tuple[GroupStatus, ...] = ()
    forward: tuple[ForwardStatus, ...] = ()
    overlay: tuple[OverlayStatus, ...] = ()
    notes: tuple[str, ...] = ()
