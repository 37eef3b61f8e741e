"""The metrics of what ``mcastd status`` shows, but for its groups: each by the field of status that it shows. Pure.

A time is given as such, in seconds since 1970, and not as an age: so a value changes only with what it is about.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, get_args

from msgspec import Struct

from mcastd.metrics import overlay_families
from mcastd.metrics.family import (
    Family,
    Table,
    ago,
    ahead,
    as_labels,
    by_key,
    code,
    counter,
    each,
    gauge,
    is_set,
    labels,
    size,
    states,
)
from mcastd.metrics.overlay_families import ENDPOINT, OVERLAY
from mcastd.metrics.path_families import PATHS
from mcastd.problems import CharonCode
from mcastd.status import (
    ApplicationsStatus,
    AutoRpStatus,
    ChildStatus,
    FirewallStatus,
    ForwardState,
    ForwardStatus,
    Health,
    HistoryEvent,
    HistoryStatus,
    KeepaliveStatus,
    NeighborStatus,
    NotFollowedReason,
    PeerSaState,
    PeerStatus,
    PimStatus,
    ProblemStatus,
    QuerierStatus,
    RouteStatus,
    SaState,
    Status,
    TunnelState,
    TunnelStatus,
)

DAEMON: Final = Table(
    Status,
    (
        as_labels("mcastd_build_info", "The version of mcastd.", version="version"),
        as_labels(
            "mcastd_config_info", "The configuration that is in effect.", file="config_file", digest="config_digest"
        ),
        ago("mcastd_start_time_seconds", "When the daemon started.", "uptime"),
        states("mcastd_health", "Whether all is well: ok, degraded, or down.", "health", Health),
        size("mcastd_problems", "How many things are wrong now.", "problems"),
        size("mcastd_notes", "How many notes status has, on the configuration and on what is not counted.", "notes"),
        is_set("mcastd_charon_up", "Whether charon answers. SAs may be up without it.", "charon_code", None),
        states("mcastd_charon_problem", "Why charon cannot be used.", "charon_code", CharonCode, "code"),
    ),
)


def _since(item: ProblemStatus, _now: float) -> tuple[tuple[str, float]]:
    return (("", datetime.fromisoformat(item.since).timestamp()),)


PROBLEM: Final = Table(
    ProblemStatus,
    (
        Family(
            "mcastd_problem_start_time_seconds", "gauge", "Since when something is wrong; no series if it is not.",
            ("since",), _since,
        ),
    ),
    {"code": "code", "subject": "subject"},
)  # fmt: skip


class Events(Struct, frozen=True):
    """The events of the last hour, counted by their kind."""

    events: dict[str, int]


HISTORY: Final = Table(
    Events,
    (
        by_key(
            "gauge", "mcastd_recent_events", "What began, ended or was repaired within the last hour.",
            "events", "event", "HistoryStatus.event", "HistoryStatus.count",
        ),
    ),
)  # fmt: skip

FIREWALL: Final = Table(
    FirewallStatus,
    (
        gauge("mcastd_firewall_guard", "Whether the guard is configured.", "guard"),
        gauge("mcastd_firewall_in_place", "Whether the nftables table is in place.", "in_place"),
        each(
            "counter", "mcastd_firewall_leaks_dropped_packets_total", "GRE dropped by the guard: it was not encrypted.",
            "direction", {"out": "leaks_out", "in": "leaks_in"},
        ),
        by_key(
            "counter", "mcastd_firewall_child_leaks_dropped_packets_total",
            "What the guard dropped of that a CHILD_SA is for: it was not encrypted.", "leaks_by_child", "child",
        ),
        counter("mcastd_firewall_igmp_kept_packets_total", "IGMP reports kept from leaving by a tunnel.", "igmp_kept"),
        counter("mcastd_firewall_snat_packets_total", "Packets whose connection got another source.", "snat_packets"),
        counter("mcastd_firewall_mss_clamped_packets_total", "TCP SYNs whose MSS was lowered.", "mss_clamped"),
        counter("mcastd_firewall_repairs_total", "How often a change of another program was undone.", "repairs"),
    ),
)  # fmt: skip

PEER: Final = Table(
    PeerStatus,
    (
        is_set("mcastd_peer_up", "Whether the IKE_SA is up.", "state", "up"),
        states("mcastd_peer_state", "The state of the IKE_SA.", "state", PeerSaState),
        as_labels(
            "mcastd_peer_info", "The peer, as configured.",
            local="local", remote="remote", local_id="local_id", remote_id="remote_id",
        ),
        code("mcastd_peer_problem", "Why the peer is not up.", "problem_code"),
        each(
            "gauge", "mcastd_peer_nat", "Whether there is a NAT before a side.",
            "side", {"local": "nat_local", "remote": "nat_remote"},
        ),
        ago("mcastd_peer_established_time_seconds", "When the IKE_SA was established.", "uptime"),
        ahead("mcastd_peer_rekey_time_seconds", "When the IKE_SA is to be rekeyed.", "rekey_in"),
        ahead("mcastd_peer_reauth_time_seconds", "When the IKE_SA is to be established again.", "reauth_in"),
        ago("mcastd_peer_active_time_seconds", "Since when this one of several gateways is used.", "active_for"),
        counter("mcastd_peer_attempts_total", "How often it was tried to establish an SA.", "attempts"),
    ),
    {"peer": "name"},
)  # fmt: skip

CHILD: Final = Table(
    ChildStatus,
    (
        is_set("mcastd_child_sa_up", "Whether the CHILD_SA is up.", "state", "up"),
        states("mcastd_child_sa_state", "The state of the CHILD_SA.", "state", SaState),
        as_labels(
            "mcastd_child_sa_info", "The CHILD_SA, as configured.",
            local_ts="local_ts", remote_ts="remote_ts", protocol="protocol",
        ),
        code("mcastd_child_sa_problem", "Why the CHILD_SA is not up.", "problem_code"),
        gauge("mcastd_child_sa_udp_encapsulation", "Whether ESP is in UDP.", "encap"),
        gauge("mcastd_child_sa_replay_window_packets", "How many packets late a packet may be.", "replay_window"),
        counter("mcastd_child_sa_received_packets_total", "Packets received; from 0 after a rekeying.", "packets_in"),
        counter("mcastd_child_sa_received_bytes_total", "Bytes received; from 0 after a rekeying.", "bytes_in"),
        counter("mcastd_child_sa_sent_packets_total", "Packets sent; from 0 after a rekeying.", "packets_out"),
        counter("mcastd_child_sa_sent_bytes_total", "Bytes sent; from 0 after a rekeying.", "bytes_out"),
        ago("mcastd_child_sa_last_received_timestamp_seconds", "When the last packet was received.", "last_in_age"),
        ago("mcastd_child_sa_last_sent_timestamp_seconds", "When the last packet was sent.", "last_out_age"),
        ago("mcastd_child_sa_established_time_seconds", "Since when the CHILD_SA is up.", "uptime"),
        ahead("mcastd_child_sa_rekey_time_seconds", "When the CHILD_SA is to be rekeyed.", "rekey_in"),
        ahead("mcastd_child_sa_next_attempt_time_seconds", "When the CHILD_SA is tried again.", "next_try_in"),
    ),
    {"peer": "PeerStatus.name", "child": "name"},
)  # fmt: skip

TUNNEL: Final = Table(
    TunnelStatus,
    (
        is_set("mcastd_tunnel_up", "Whether the tunnel is up.", "state", "up"),
        states("mcastd_tunnel_state", "The state of the tunnel.", "state", TunnelState),
        as_labels(
            "mcastd_tunnel_info", "The tunnel, as configured.",
            local="local", remote="remote", address="address", encapsulation="encapsulation", upstream="upstream",
            datapath="datapath",
        ),
        gauge("mcastd_tunnel_mtu_bytes", "The MTU of the interface.", "mtu"),
        by_key("counter", "mcastd_tunnel_dropped_packets_total", "Dropped by GRE in user space.", "dropped", "reason"),
    ),
    {"tunnel": "name"},
)  # fmt: skip

ROUTE: Final = Table(
    RouteStatus,
    (is_set("mcastd_route_up", "Whether the kernel has the route through the tunnel.", "state", "up"),),
    {"tunnel": "TunnelStatus.name", "prefix": "prefix", "table": "table"},
)

KEEPALIVE: Final = Table(
    KeepaliveStatus,
    (
        counter("mcastd_keepalives_answered_total", "The far end's GRE keepalives that were answered.", "answered"),
        ago("mcastd_keepalives_last_answered_timestamp_seconds", "When one was answered last.", "last_age"),
        gauge("mcastd_keepalives_stopped", "Whether the far end's keepalives have stopped.", "stopped"),
        by_key(
            "counter", "mcastd_keepalives_not_answered_total", "The far end's keepalives that had no answer.",
            "dropped", "reason",
        ),
        by_key(
            "counter", "mcastd_keepalives_icmp_errors_total", "ICMP errors that came for GRE that was sent.",
            "icmp_errors", "error",
        ),
        ago("mcastd_keepalives_last_icmp_error_timestamp_seconds", "When the last of these came.", "icmp_age"),
        counter("mcastd_keepalives_sent_total", "Our own GRE keepalives.", "sent"),
        counter("mcastd_keepalives_received_total", "Answers to our own GRE keepalives.", "received"),
        gauge("mcastd_keepalives_missed", "How many of our keepalives in a row had no answer.", "missed"),
        gauge("mcastd_keepalives_period_seconds", "The time between our keepalives; 0: none are sent.", "period"),
        gauge("mcastd_keepalives_rtt_seconds", "How long the last answer to our keepalives took.", "rtt"),
        Family(
            "mcastd_path_alive", "gauge", "Whether our keepalives are answered.", ("path",),
            lambda item, _now: () if item.path is None else (("", item.path == "alive"),),
        ),
    ),
    {"tunnel": "TunnelStatus.name"},
)  # fmt: skip

PIM: Final = Table(
    PimStatus,
    (
        gauge("mcastd_pim_up", "Whether PIM runs on the tunnel.", "running"),
        code("mcastd_pim_problem", "Why PIM messages cannot be sent.", "problem_code"),
        gauge("mcastd_pim_generation_id", "The Generation ID of our Hellos.", "generation_id"),
        size("mcastd_pim_neighbors", "How many PIM neighbours there are.", "neighbors"),
        by_key("counter", "mcastd_pim_sent_messages_total", "PIM messages sent.", "sent", "type"),
        by_key("counter", "mcastd_pim_received_messages_total", "PIM messages received.", "received", "type"),
        by_key("counter", "mcastd_pim_dropped_messages_total", "PIM messages that were not used.", "dropped", "reason"),
    ),
    {"tunnel": "TunnelStatus.name"},
)

NEIGHBOR: Final = Table(
    NeighborStatus,
    (
        ago("mcastd_pim_neighbor_start_time_seconds", "Since when the neighbour is there.", "uptime"),
        ahead("mcastd_pim_neighbor_expiry_time_seconds", "When it expires without a further Hello.", "expires_in"),
        gauge("mcastd_pim_neighbor_generation_id", "Its Generation ID: another after a restart.", "generation_id"),
        gauge("mcastd_pim_neighbor_dr_priority", "The neighbour's priority as designated router.", "dr_priority"),
    ),
    {"tunnel": "TunnelStatus.name", "neighbor": "address"},
)

AUTO_RP: Final = Table(
    AutoRpStatus,
    (gauge("mcastd_pim_auto_rp_used", "Whether a range that Auto-RP has counts for joins.", "used"),),
    {"tunnel": "TunnelStatus.name", "groups": "groups", "rp": "rp", "kind": "kind", "sender": "sender"},
)


class Applications(Struct, frozen=True):
    """What applications have joined, with the reasons counted."""

    found: ApplicationsStatus
    reasons: dict[str, int]


APPLICATIONS: Final = Table(
    Applications,
    (
        gauge(
            "mcastd_applications_joins", "What is joined since applications on this host have joined it.",
            "found.joins", "ApplicationsStatus.joins",
        ),
        gauge(
            "mcastd_applications_beyond_limit_groups", "Groups that wait since there are too many.",
            "found.beyond_limit", "ApplicationsStatus.beyond_limit",
        ),
        by_key(
            "gauge", "mcastd_applications_not_followed_groups", "Groups not joined for applications; up to 100.",
            "reasons", "reason", "ApplicationsStatus.not_followed", "NotFollowedStatus.reason",
        ),
        Family(
            "mcastd_applications_lost_groups", "gauge", "Groups lost with the interface; up to 100.",
            ("ApplicationsStatus.lost",), lambda item, _now: (("", len(item.found.lost)),),
        ),
    ),
    {"tunnel": "TunnelStatus.name"},
)  # fmt: skip

FORWARD: Final = Table(
    ForwardStatus,
    (
        is_set("mcastd_forward_up", "Whether multicast is forwarded to the interface.", "state", "forwarding"),
        states("mcastd_forward_state", "The state of forwarding to the interface.", "state", ForwardState),
        gauge("mcastd_forward_groups", "Groups that are forwarded.", "groups"),
        gauge("mcastd_forward_refused_groups", "Groups beyond max_groups.", "refused"),
        counter("mcastd_forward_packets_total", "Packets sent to the interface.", "packets"),
        counter("mcastd_forward_bytes_total", "Bytes sent to the interface.", "bytes"),
        counter("mcastd_forward_fragments_total", "Packets in fragments, which a gateway there drops.", "fragments"),
        counter("mcastd_forward_sent_back_total", "How often machines sent to a group that they get.", "sent_back"),
    ),
    {"interface": "name"},
)

IGMP: Final = Table(
    QuerierStatus,
    (
        gauge("mcastd_igmp_querier", "Whether this host is the querier.", "is_ours"),
        states("mcastd_igmp_state", "The state of IGMP there.", "state", QuerierStatus.__annotations__["state"]),
        gauge("mcastd_igmp_version", "The IGMP version of our queries.", "version"),
        size("mcastd_igmp_other_queriers", "How many other routers query.", "others"),
        gauge("mcastd_igmp_groups", "Groups that hosts want.", "groups"),
        gauge("mcastd_igmp_hosts", "Hosts that want groups.", "hosts"),
        Family(
            "mcastd_igmp_pim_router_present", "gauge", "Whether a PIM router was heard.", ("pim_router",),
            lambda item, _now: (("", item.pim_router is not None),),
        ),
        by_key("counter", "mcastd_igmp_sent_messages_total", "IGMP messages sent.", "sent", "type"),
        by_key("counter", "mcastd_igmp_received_messages_total", "IGMP messages received.", "received", "type"),
        by_key("counter", "mcastd_igmp_dropped_total", "IGMP messages and joins not used.", "dropped", "reason"),
    ),
    {"interface": "ForwardStatus.name"},
)  # fmt: skip

TABLES: Final = (
    DAEMON, PROBLEM, HISTORY, FIREWALL, PEER, CHILD, TUNNEL, ROUTE, KEEPALIVE, PIM, NEIGHBOR, AUTO_RP, APPLICATIONS,
    FORWARD, IGMP, OVERLAY, ENDPOINT, PATHS,
)  # fmt: skip


def items(status: Status) -> Iterator[tuple[Table, str, Any]]:
    """All that status shows but for its groups: the table, the labels, and the item."""
    yield DAEMON, "", status
    for problem in status.problems:
        yield PROBLEM, labels(code=problem.code, subject=problem.subject), problem
    yield HISTORY, "", Events(_counted(status.history))
    if status.firewall is not None:
        yield FIREWALL, "", status.firewall
    for peer in status.peers:
        yield PEER, labels(peer=peer.name), peer
        for child in peer.children:
            yield CHILD, labels(peer=peer.name, child=child.name), child
    for tunnel in status.tunnels:
        yield from _of_tunnel(tunnel, labels(tunnel=tunnel.name))
    for path in status.paths:
        yield PATHS, labels(tunnels=",".join(path.tunnels), group=path.group or ""), path
    for interface in status.forward:
        yield FORWARD, labels(interface=interface.name), interface
        if interface.igmp is not None:
            yield IGMP, labels(interface=interface.name), interface.igmp
    yield from overlay_families.items(status.overlay)


def _of_tunnel(tunnel: TunnelStatus, name: str) -> Iterator[tuple[Table, str, Any]]:
    yield TUNNEL, name, tunnel
    for route in tunnel.routes:
        yield ROUTE, f"{name},{labels(prefix=route.prefix, table=str(route.table))}", route
    if tunnel.keepalive is not None:
        yield KEEPALIVE, name, tunnel.keepalive
    if (pim := tunnel.pim) is not None:
        yield PIM, name, pim
        for neighbor in pim.neighbors:
            yield NEIGHBOR, f"{name},{labels(neighbor=neighbor.address)}", neighbor
        for one in pim.auto_rp:
            known = labels(groups=one.groups, rp=one.rp or "", kind=one.kind, sender=one.sender)
            yield AUTO_RP, f"{name},{known}", one
    if (found := tunnel.applications) is not None:
        reasons: dict[str, int] = dict.fromkeys(get_args(NotFollowedReason), 0)
        for group in found.not_followed:
            reasons[group.reason] += 1
        yield APPLICATIONS, name, Applications(found, reasons)


def _counted(history: tuple[HistoryStatus, ...]) -> dict[str, int]:
    found: dict[str, int] = dict.fromkeys(get_args(HistoryEvent), 0)
    for one in history:
        found[one.event] += one.count
    return found
