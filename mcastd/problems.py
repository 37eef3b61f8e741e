"""What keeps a part from working as configured: a code to decide by, the thing's name, and a text for people. Pure."""

from typing import Literal

from msgspec import Struct

ProblemCode = Literal[
    "attempt_refused",
    "attempt_timeout",
    "capability_missing",
    "certificate_issuer_unknown",
    "certificate_key_mismatch",
    "certificate_not_pinned",
    "certificate_or_identity",
    "certificate_untrusted",
    "charon_gone",
    "charon_refused",
    "charon_unclear",
    "child_sa_down",
    "connection_missing",
    "connection_not_ours",
    "esp_proposal",
    "firewall_failed",
    "host_cannot",
    "ike_not_sent",
    "ike_proposal",
    "ike_sa_unanswered",
    "joins_not_joined",
    "local_address_missing",
    "no_answer",
    "path_dead",
    "peer_down",
    "peer_identity",
    "peer_psk",
    "pim_neighbor_missing",
    "pim_send_failed",
    "psk_or_identity",
    "rp_missing",
    "state_not_saved",
    "traffic_selectors",
    "tunnel_down",
    "udp_4500_blocked",
]


class Problem(Struct, frozen=True):
    """One thing that is wrong now. ``subject`` names it (``gre1``, ``dc-tun``). Codes are stable, texts are not."""

    code: ProblemCode
    subject: str
    text: str
