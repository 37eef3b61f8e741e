"""What keeps a part from working as configured: a code to decide by, the thing's name, and a text for people. Pure."""

from typing import Literal

from msgspec import Struct

CharonCode = Literal["charon_gone", "charon_refused", "charon_unclear", "connection_missing", "connection_not_ours"]
ForeignCode = Literal["foreign_connection", "foreign_sa", "removed_from_charon"]
PathCode = Literal["ike_not_sent", "ike_sa_unanswered", "no_answer", "udp_4500_blocked", "path_dead"]
RouteCode = Literal["no_way", "not_encrypted", "remote_is_local", "route_to_peer", "rule_220_missing"]
VrfCode = Literal["peer_in_vrf", "tunnel_in_vrf"]
SilenceCode = Literal["keepalives_stopped", "hello_overdue"]
IdentityCode = Literal["peer_identity", "peer_psk", "psk_or_identity"]
CertificateCode = Literal["certificate_issuer_unknown", "certificate_key_mismatch", "certificate_not_pinned"]
CertificateTrustCode = Literal["certificate_or_identity", "certificate_untrusted"]
AgreementCode = Literal["ike_proposal", "esp_proposal", "traffic_selectors", "attempt_refused", "attempt_timeout"]
HostCode = Literal["capability_missing", "firewall_failed", "host_cannot", "local_address_missing"]
StateCode = Literal["control_socket_failed", "metrics_failed", "start_failed", "state_not_saved"]
RenewalCode = Literal["reauth_failed", "rekey_failed"]
GuardCode = Literal["guard_drops"]
DownCode = Literal["peer_down", "child_sa_down", "tunnel_down"]
GatewayCode = Literal["on_standby"]
PimCode = Literal["joins_not_joined", "nothing_joined", "pim_neighbor_missing", "pim_send_failed", "rp_missing"]
FollowCode = Literal["follow_failed", "follow_limit_reached", "memberships_lost"]
IgmpHostCode = Literal["igmp_join_failed"]
ArrivalCode = Literal[
    "all_silent", "child_sa_silent", "feed_silent", "group_silent", "not_delivered", "nothing_ever_arrived"
]
CountingCode = Literal["streams_set_full"]
ForwardCode = Literal[
    "downstream_missing",
    "forward_failed",
    "forward_not_joined",
    "fragments_forwarded",
    "groups_limit",
    "multicast_routing_taken",
    "vif_limit",
]
IgmpCode = Literal["downstream_without_address", "hosts_limit", "igmp_failed", "pim_router_on_segment"]
MembersCode = Literal["members_file_old", "members_file_wrong"]
OverlayCode = Literal["overlay_failed", "overlay_not_exact", "overlay_unreachable"]
DaemonCode = Literal["agent_failed", "reconcile_failed", "changed_by_another_program", "flapping"]
AuthenticationCode = Literal[IdentityCode, CertificateCode, CertificateTrustCode]
PathsCode = Literal[
    PathCode, RouteCode, VrfCode, SilenceCode, ArrivalCode, RenewalCode, DownCode, PimCode, IgmpHostCode
]
OwnCode = Literal[
    CountingCode,
    FollowCode,
    ForwardCode,
    IgmpCode,
    MembersCode,
    OverlayCode,
    HostCode,
    StateCode,
    GuardCode,
    GatewayCode,
    DaemonCode,
    ForeignCode,
]
ProblemCode = Literal[CharonCode, AuthenticationCode, AgreementCode, PathsCode, OwnCode]


class Problem(Struct, frozen=True):
    """One thing that is wrong now. ``subject`` names it (``gre1``, ``dc-tun``). Codes are stable, texts are not."""

    code: ProblemCode
    subject: str
    text: str
