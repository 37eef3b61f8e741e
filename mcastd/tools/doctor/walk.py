"""The walk: every hop in order, up to the first that is broken."""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from mcastd.tools.doctor import multicast, path, wire
from mcastd.tools.doctor.facts import Facts
from mcastd.tools.doctor.finding import Finding, Note
from mcastd.tools.doctor.notes import notes

Hop = Callable[[Facts], Finding | None]

HOPS: Final[dict[str, Hop]] = {
    "privilege": path.privilege,
    "configuration": path.configuration,
    "kernel": path.kernel,
    "daemon": path.daemon,
    "charon": path.charon,
    "ike": path.ike,
    "child": path.children,
    "leak_guard": path.leak_guard,
    "esp": wire.esp,
    "gre": path.gre,
    "mtu": path.mtu,
    "keepalives": path.keepalives,
    "neighbor": multicast.neighbor,
    "rp": multicast.rendezvous_point,
    "joins": multicast.joins,
    "packets_on_the_tunnel": multicast.packets_on_the_tunnel,
    "packets_at_an_application": multicast.packets_at_an_application,
    "loss": wire.loss,
}


class Walk(Struct, frozen=True, kw_only=True):
    """The hops that are well, in order, and the first that is not; None if all are well."""

    well: tuple[str, ...]
    finding: Finding | None = None
    notes: tuple[Note, ...] = ()


def walk(facts: Facts) -> Walk:
    """Go from hop to hop; what is behind a broken one is not looked at, since it can only be broken too."""
    well: list[str] = []
    for name, hop in HOPS.items():
        finding = hop(facts)
        if finding is not None:
            return Walk(well=tuple(well), finding=finding)
        well.append(name)
    return Walk(well=tuple(well), notes=notes(facts))
