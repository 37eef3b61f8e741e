"""The walk: every hop in order, and of each path the first that is broken."""

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from mcastd.tools.doctor.facts import Facts
from mcastd.tools.doctor.finding import Finding, Note, Side, Silent
from mcastd.tools.doctor.hops import Hop, applications, delivery, forwarding, gre, host, ipsec, pim, routing, status

_T = TypeVar("_T", bound=Finding | Silent)

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


FOR_ALL: Final = ("privilege", "configuration", "kernel", "daemon", "charon")
"""The hops of what all paths need: behind a finding about the host there, nothing can be examined."""

EXPLAINS: Final = frozenset(
    cause.name.lower()
    for cause in (status.Reported.AGENT_FAILED, status.Reported.CHANGED_BY_ANOTHER_PROGRAM, status.Reported.GUARD_DROPS)
)
"""Causes on this host that explain what looks like the other side's fault, also where their hop comes later."""


_RECENT: Final = 5.0  # seconds; the problem itself lasts a minute longer


class Path(Struct, frozen=True, kw_only=True):
    """A tunnel with its CHILD_SA and peer; or a CHILD_SA, or a peer, that carries no tunnel.

    ``broken`` is the hop of the finding about it, None if there is none. ``groups`` are joined on it, ``failing`` of
    them have a finding of their own, and of ``silent`` nothing arrived, though all that can be seen is well.
    """

    name: str
    tunnel: str | None = None
    child: str | None = None
    peer: str | None = None
    broken: str | None = None
    groups: int = 0
    failing: int = 0
    silent: int = 0


class Walk(Struct, frozen=True, kw_only=True):
    """The result, which is the JSON of ``mcastd doctor --json``.

    ``findings`` are ranked; ``finding`` is the first of them, and ``well`` are the hops before the first one that has
    a finding, in order. ``healthy`` is that there is none.
    """

    schema: int = 1
    healthy: bool
    well: tuple[str, ...]
    finding: Finding | None = None
    findings: tuple[Finding, ...] = ()
    paths: tuple[Path, ...] = ()
    silent: tuple[Silent, ...] = ()
    notes: tuple[Note, ...] = ()


def walk(facts: Facts, tunnel: str | None = None, group: str | None = None) -> Walk:
    """Go from hop to hop. Of each path, and each of its groups, the first finding counts: what is behind it follows.

    A finding that may be the other side's is not made on a path for which there is one of ``EXPLAINS``. With ``tunnel``
    and ``group`` (an address) only what concerns them is reported.
    """
    every = _paths(facts)
    found = list(_found(facts))
    steps = _Steps(every, found, [one for one in found if isinstance(one, Finding) and _explains(facts, one)])
    chosen = [one for one in every if tunnel in (None, one.tunnel)]
    names = {name for one in chosen for name in _chain(one)}

    def wanted(one: Finding | Silent | Note) -> bool:
        concerned = tunnel is None or one.subject in names | {""}
        groups = () if isinstance(one, Note) else one.groups
        return concerned and (group is None or not groups or any(group == _address(entry) for entry in groups))

    findings = tuple(filter(wanted, steps.findings()))
    silent = tuple(filter(wanted, steps.silent()))
    order = tuple(HOPS)
    first = min((order.index(one.hop) for one in findings), default=len(order))
    return Walk(
        healthy=not findings,
        well=order[:first],
        finding=findings[0] if findings else None,
        findings=findings,
        paths=tuple(_judged(facts, one, findings, silent) for one in chosen),
        silent=silent,
        notes=tuple(filter(wanted, steps.notes())),
    )


_SIDES: Final = (Side.HERE, Side.EITHER, Side.THERE)


class _Steps:
    """What is left of what the hops found, when what only follows is taken out."""

    def __init__(
        self, paths: tuple[Path, ...], found: list[Finding | Silent | Note], explaining: list[Finding]
    ) -> None:
        self._paths = paths
        self._kept: list[Finding | Silent | Note] = []
        self._broken: set[str] = set()  # paths with a finding
        self._failing: set[tuple[str, str]] = set()  # paths with groups that have a finding
        self._named: set[str] = set()  # the subjects of findings
        for one in found:
            claims = isinstance(one, Finding) and one.side is not Side.HERE
            local = next((other for other in explaining if claims and self._concern(other) & self._concern(one)), one)
            self._take(local)

    def findings(self) -> list[Finding]:
        """The findings, ranked: what concerns more, then what this side can change, then in the order of the walk."""
        order = tuple(HOPS)
        found = [one for one in self._kept if isinstance(one, Finding)]
        found = _merged(found, lambda one: (one.hop, one.problem, one.subject))
        return sorted(found, key=lambda one: (self._breadth(one), _SIDES.index(one.side), order.index(one.hop)))

    def silent(self) -> list[Silent]:
        """The groups that are silent on paths that are well."""
        return _merged([one for one in self._kept if isinstance(one, Silent)], lambda one: one.subject)

    def notes(self) -> list[Note]:
        """The notes."""
        return [one for one in self._kept if isinstance(one, Note)]

    def _concern(self, one: Finding | Silent | Note) -> set[str]:
        """The paths that something is about; none if it stands for itself."""
        return {path.name for path in self._paths if one.subject in ("", *_chain(path))}

    def _take(self, one: Finding | Silent | Note) -> None:
        """Keep one, unless it follows from what was kept before."""
        paths = self._concern(one)
        groups = () if isinstance(one, Note) else one.groups
        failing = {(path, group) for path in paths for group in groups}
        if paths and (paths <= self._broken or (failing and failing <= self._failing)):
            return
        if one.hop == "status" and isinstance(one, Finding):
            touched = self._broken | {path for path, _ in self._failing}
            if touched & paths or one.subject in self._named or (touched and one.problem == "feed_silent"):
                return
        self._kept.append(one)
        if isinstance(one, Finding):
            self._named.add(one.subject)
            self._failing |= failing
            self._broken |= set() if groups else paths

    def _breadth(self, one: Finding) -> int:
        """0 for what concerns all paths, and the more the less it concerns; last what stands for itself."""
        if one.subject == "" and one.hop in FOR_ALL:
            return 0
        concern = self._concern(one)
        if not concern or one.hop == "loss":
            return len(self._paths) + 3
        return len(self._paths) + 2 if one.groups else 1 + len(self._paths) - len(concern)


def _explains(facts: Facts, one: Finding) -> bool:
    """Whether a cause here explains others: what is repaired often, only while that goes on."""
    history = facts.status.history if facts.status else ()
    repaired = [entry.last_age for entry in history if entry.event == "repaired" and entry.subject == one.subject]
    often = one.problem == status.Reported.CHANGED_BY_ANOTHER_PROGRAM.name.lower()
    return one.problem in EXPLAINS and not (often and repaired and min(repaired) > _RECENT)


def _found(facts: Facts) -> Iterator[Finding | Silent | Note]:
    """What all hops find, in order, up to a finding about what all paths need."""
    for name, hop in HOPS.items():
        for one in hop(facts):
            yield replace(one, hop=name)
            if isinstance(one, Finding) and one.subject == "" and name in FOR_ALL:
                return


def _merged(found: list[_T], same: Callable[[_T], object]) -> list[_T]:
    """One for all groups of which the ``same`` is said."""
    merged: dict[object, _T] = {}
    for number, one in enumerate(found):
        key = same(one) if one.groups else number
        had = merged.setdefault(key, one)
        if had is not one:
            merged[key] = replace(had, groups=tuple(dict.fromkeys((*had.groups, *one.groups))))
    return list(merged.values())


def _paths(facts: Facts) -> tuple[Path, ...]:
    """The paths of the configuration, those of tunnels first."""
    peers = facts.in_use
    owners = {child.name: peer.name for peer in peers for child in peer.children}
    tunnels = [
        Path(name=one.name, tunnel=one.name, child=one.child, peer=owners.get(one.child or ""))
        for one in facts.configured
    ]
    carrying = {one.child for one in facts.configured}
    others = [Path(name=child, child=child, peer=peer) for child, peer in owners.items() if child not in carrying]
    bare = [Path(name=peer.name, peer=peer.name) for peer in peers if not peer.children]
    return (*tunnels, *others, *bare)


def _chain(path: Path) -> tuple[str, ...]:
    return tuple(name for name in (path.peer, path.child, path.tunnel) if name is not None)


def _address(entry: str) -> str:
    """The group of a join in the notation of PIM."""
    return entry.rpartition(", ")[2].rstrip(")")


def _judged(facts: Facts, path: Path, findings: tuple[Finding, ...], silent: tuple[Silent, ...]) -> Path:
    about = [one for one in findings if one.subject in ("", *_chain(path))]
    whole = [one.hop for one in about if not one.groups]
    joined = [] if path.tunnel is None else list(facts.joins(path.tunnel))
    return replace(
        path,
        broken=whole[0] if whole else None,
        groups=len(joined),
        failing=sum(len(one.groups) for one in about),
        silent=sum(len(one.groups) for one in silent if one.subject == path.tunnel),
    )
