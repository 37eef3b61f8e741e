"""The router's state as frozen snapshots for status."""

from collections.abc import Mapping
from math import inf

from msgspec.structs import replace

from mcastd.pim.auto_rp_cache import AutoRpMapping
from mcastd.pim.auto_rp_packet import AutoRpType
from mcastd.pim.effects import Entry
from mcastd.pim.interface import Interface
from mcastd.pim.neighbor import Neighbor
from mcastd.pim.router import Router
from mcastd.status import AutoRpStatus, GroupStatus, NeighborStatus, PimStatus


def pim_status(
    router: Router, name: str, running: bool, errors: Mapping[str, int], now: float, problem: str | None = None
) -> PimStatus:
    """PIM on one interface; ``errors`` are counted by the agent and shown among what was dropped."""
    interface = router.interfaces.get(name)
    if interface is None:
        return PimStatus(running=False, problem=problem, dropped=dict(errors))
    static = interface.settings.config.neighbor if interface.settings.config.static_neighbor else None
    neighbors = [_neighbor(neighbor, neighbor.address == static, now) for neighbor in interface.neighbors.all()]
    if static is not None and interface.neighbors.find(static) is None:
        uptime = now - interface.started_at
        neighbors.append(NeighborStatus(address=str(static), uptime=uptime, expires_in=None, static=True))
    return PimStatus(
        running=running,
        problem=problem,
        generation_id=interface.generation_id,
        neighbors=tuple(neighbors),
        auto_rp=tuple(_auto_rp(interface, mapping, now) for mapping in interface.rps.auto_rp.mappings()),
        sent=dict(interface.sent),
        received=dict(interface.received),
        dropped={**interface.dropped, **errors},
    )


def _neighbor(neighbor: Neighbor, static: bool, now: float) -> NeighborStatus:
    return NeighborStatus(
        address=str(neighbor.address),
        uptime=now - neighbor.since,
        expires_in=None if neighbor.expires == inf else neighbor.expires - now,
        generation_id=neighbor.hello.generation_id,
        dr_priority=neighbor.hello.dr_priority,
        secondary_addresses=tuple(map(str, neighbor.hello.addresses)),
        static=static,
    )


def _auto_rp(interface: Interface, mapping: AutoRpMapping, now: float) -> AutoRpStatus:
    return AutoRpStatus(
        groups=str(mapping.groups),
        rp=None if mapping.rp is None else str(mapping.rp),
        kind="mapping" if mapping.kind is AutoRpType.MAPPING else "announcement",
        sender=str(mapping.sender),
        expires_in=None if mapping.expires == inf else mapping.expires - now,
        used=interface.settings.config.auto_rp and mapping.kind is AutoRpType.MAPPING,
    )


def group_statuses(router: Router, now: float) -> tuple[GroupStatus, ...]:
    """Every wanted (*,G) and (S,G) of every interface, also of those that are down."""
    return tuple(
        _group(router, name, Entry(group, source), origins, now)
        for name, membership in router.memberships.items()
        for group, source, origins in membership.entries()
    )


def _group(router: Router, name: str, wanted: Entry, origins: tuple[str, ...], now: float) -> GroupStatus:
    interface = router.interfaces.get(name)
    group, source = wanted.group, wanted.source
    base = GroupStatus(
        group=str(group),
        source=None if source is None else str(source),
        tunnel=name,
        state="not joined",
        origins=origins,
        problem=f"tunnel {name} is down",
    )
    if interface is None:
        return base
    rp = interface.rps.rp(group) if source is None else None
    machines = interface.upstream
    problem = _problem(interface, Entry(group, source, rp), now)
    since, next_join = machines.since(group, source), machines.next_join(group)
    return replace(
        base,
        state="joined" if since is not None and problem is None else "not joined",
        rp=None if rp is None else str(rp),
        upstream=None if machines.neighbor is None else str(machines.neighbor),
        uptime=None if since is None else now - since,
        next_join_in=None if since is None or next_join == inf else next_join - now,
        problem=problem,
    )


def _problem(interface: Interface, entry: Entry, now: float) -> str | None:
    """Why an entry is not joined, or may not be."""
    if entry.source is None and entry.rp is None:
        unused = interface.rps.auto_rp.rp(entry.group)
        hint = f"; Auto-RP has {unused}: set auto_rp = true, or configure it as rp" if unused is not None else ""
        return f"no rendezvous point for {entry.group}{hint}"
    return interface.neighbor_problem(now)
