"""The walk: every hop in order, up to the first that is broken."""

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from mcastd.tools.doctor.facts import Facts
from mcastd.tools.doctor.finding import Finding, Note
from mcastd.tools.doctor.hops import Hop, applications, delivery, forwarding, gre, host, ipsec, pim, routing, status

HOPS: Final[dict[str, Hop]] = {
    "privilege": host.privilege,
    "configuration": host.configuration,
    "kernel": host.kernel,
    "daemon": host.daemon,
    "charon": host.charon,
    "routes": routing.routes,
    "ike": ipsec.ike,
    "child": ipsec.child_sa,
    "leak_guard": ipsec.leak_guard,
    "esp": ipsec.esp,
    "gre": gre.gre,
    "mtu": gre.mtu,
    "keepalives": gre.keepalives,
    "neighbor": pim.neighbor,
    "rp": pim.rendezvous_point,
    "joins": pim.joins,
    "packets_on_the_tunnel": pim.packets_on_the_tunnel,
    "memberships": applications.memberships,
    "packets_at_an_application": delivery.packets_at_an_application,
    "followed": applications.followed,
    "forwarding": forwarding.forwarding,
    "status": status.status,
    "loss": ipsec.loss,
}


class Walk(Struct, frozen=True, kw_only=True):
    """The result, which is the JSON of ``mcastd doctor --json``.

    ``well`` are the hops without a problem, in order, and ``finding`` is the problem of the first other one.
    """

    schema: int = 1
    healthy: bool
    well: tuple[str, ...]
    finding: Finding | None = None
    notes: tuple[Note, ...] = ()


def walk(facts: Facts) -> Walk:
    """Go from hop to hop up to a finding: what is behind a broken hop can only be broken too. Notes are without one."""
    well: list[str] = []
    notes: list[Note] = []
    for name, hop in HOPS.items():
        for found in hop(facts):
            if isinstance(found, Finding):
                return Walk(healthy=False, well=tuple(well), finding=replace(found, hop=name))
            notes.append(replace(found, hop=name))
        well.append(name)
    return Walk(healthy=True, well=tuple(well), notes=tuple(notes))
