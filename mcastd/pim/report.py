"""The router's state as frozen snapshots for status."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from math import inf

from msgspec.structs import replace

from mcastd.pim.auto_rp_cache import AutoRpMapping
from mcastd.pim.auto_rp_packet import AutoRpType
from mcastd.pim.interface import Interface
from mcastd.pim.neighbor import Neighbor
from mcastd.pim.router import Router
from mcastd.problems import Problem, ProblemCode
from mcastd.status import AutoRpStatus, GroupStatus, NeighborStatus, PimStatus


def pim_status(
    router: Router, name: str, running: bool, errors: Mapping[str, int], now: float, problem: str | None = None
) -> PimStatus:
    """PIM on one interface; ``errors`` are counted by the agent and shown among the dropped packets."""
    code: ProblemCode | None = None if problem is None else "pim_send_failed"
    interface = router.interfaces.get(name)
    if interface is None:
        return PimStatus(running=False, problem=problem, problem_code=code, dropped=dict(errors))
    dropped = {**interface.dropped, **errors}
    if refused := router.wanted.of(name).refused:
        dropped["too_many_joins"] = refused
    return PimStatus(
        running=running,
        problem=problem,
        problem_code=code,
        generation_id=interface.generation_id,
        neighbors=tuple(_neighbors(interface, now)),
        auto_rp=tuple(_auto_rp(interface, mapping, now) for mapping in interface.rps.auto_rp.mappings()),
        sent=dict(interface.sent),
        received=dict(interface.received),
        dropped=dropped,
    )


def _neighbors(interface: Interface, now: float) -> list[NeighborStatus]:
    """The neighbours, and a static one even if no Hello of it was received."""
    config = interface.settings.config
    static = config.neighbor if config.static_neighbor else None
    found = [_neighbor(neighbor, neighbor.address == static, now) for neighbor in interface.neighbors.all()]
    if static is not None and interface.neighbors.find(static) is None:
        uptime = now - interface.started_at
        found.append(NeighborStatus(address=str(static), uptime=uptime, expires_in=None, static=True))
    return found


def _neighbor(neighbor: Neighbor, static: bool, now: float) -> NeighborStatus:
    return NeighborStatus(
        address=str(neighbor.address),
        uptime=now - neighbor.since,
        expires_in=_remaining(neighbor.expires, now),
        generation_id=neighbor.hello.generation_id,
        dr_priority=neighbor.hello.dr_priority,
        secondary_addresses=tuple(map(str, neighbor.hello.addresses)),
        static=static,
    )


def _auto_rp(interface: Interface, mapping: AutoRpMapping, now: float) -> AutoRpStatus:
    return AutoRpStatus(
        groups=str(mapping.groups),
        rp=_text(mapping.rp),
        kind="mapping" if mapping.kind is AutoRpType.MAPPING else "announcement",
        sender=str(mapping.sender),
        expires_in=_remaining(mapping.expires, now),
        used=interface.settings.config.auto_rp and mapping.kind is AutoRpType.MAPPING,
    )


def group_statuses(router: Router, names: Iterable[str], group: IPv4Address, now: float) -> tuple[GroupStatus, ...]:
    """The desired (*,G) and (S,G) of one group on these interfaces, also on those that do not run."""
    return tuple(
        _group(router, name, group, source, origins, now)
        for name in names
        for _, source, origins in router.wanted.of(name).entries_of(group)
    )


def _group(
    router: Router, name: str, group: IPv4Address, source: IPv4Address | None, origins: tuple[str, ...], now: float
) -> GroupStatus:
    base = GroupStatus(
        group=str(group),
        source=_text(source),
        tunnel=name,
        tunnels=router.wanted.where(group, source),
        state="not joined",
        origins=origins,
        problem=f"tunnel {name} is down",
        problem_code="tunnel_down",
    )
    interface = router.interfaces.get(name)
    if interface is None:
        return base
    upstream = interface.upstream
    rp = interface.rps.rp(group) if source is None else None
    has_rp = source is not None or rp is not None
    problem = interface.neighbor_problem(now) if has_rp else _rp_missing(interface, group)
    since, next_join = upstream.since(group, source), upstream.next_join(group)
    return replace(
        base,
        state="joined" if since is not None and problem is None else "not joined",
        rp=_text(rp),
        upstream=_text(upstream.neighbor),
        uptime=None if since is None else now - since,
        next_join_in=None if since is None else _remaining(next_join, now),
        problem=None if problem is None else problem.text,
        problem_code=None if problem is None else problem.code,
    )


def _rp_missing(interface: Interface, group: IPv4Address) -> Problem:
    unused = interface.rps.auto_rp.rp(group)
    hint = f"; Auto-RP has {unused}: set auto_rp = true, or configure it as rp" if unused is not None else ""
    return Problem("rp_missing", interface.settings.name, f"no rendezvous point for {group}{hint}")


def _text(address: IPv4Address | None) -> str | None:
    return None if address is None else str(address)


def _remaining(deadline: float, now: float) -> float | None:
    """Seconds until a deadline; None if it never comes."""
    return None if deadline == inf else deadline - now
