"""What keeps a part from working as configured: a code to decide by, the thing's name, and a text for people. Pure."""

from typing import Literal

from msgspec import Struct

ProblemCode = Literal[
    "capability_missing",
    "child_sa_down",
    "firewall_failed",
    "joins_not_joined",
    "keepalives_stopped",
    "path_dead",
    "peer_down",
    "pim_send_failed",
    "state_not_saved",
    "tunnel_down",
]


class Problem(Struct, frozen=True):
    """One thing that is wrong now. ``subject`` names it (``gre1``, ``dc-tun``). Codes are stable, texts are not."""

    code: ProblemCode
    subject: str
    text: str
