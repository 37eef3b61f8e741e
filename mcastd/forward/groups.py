"""The groups that receivers behind this host want: planned one by one, for the kernel and for the tunnels. Sans-IO.

A group is planned when what is desired of it changes, and every group when interfaces, tunnels or the configuration do.
One change costs what its group costs, however many groups there are.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from math import inf
from typing import Final

from mcastd.config.downstream import Forward
from mcastd.config.model import SSM_RANGE
from mcastd.errors import McastdError
from mcastd.forward import inherited, plan
from mcastd.forward.admission import Admission
from mcastd.forward.desired import ForwardDesired
from mcastd.forward.inherited import INHERITED
from mcastd.forward.plan import Receiver
from mcastd.forward.table import Table
from mcastd.membership import ANY_SOURCE, NOTHING, DesiredGroup
from mcastd.net.mroute import Key
from mcastd.wanted import HOSTS, STATIC, Wanted

_SOURCES: Final = 1000  # that moved to another tunnel and are remembered


class Groups:
    """``table`` is replaced where the kernel has lost all. ``nudge`` is called when there are groups to plan."""

    def __init__(self, table: Table, wanted: Wanted, downstream: Wanted, nudge: Callable[[], None]) -> None:
        self.table = table
        self.refused: dict[IPv4Address, str] = {}  # groups that could not be desired from a tunnel, and why
        self._wanted = wanted
        self._downstream = downstream
        self._nudge = nudge
        self._desired = ForwardDesired()
        self._dirty: dict[IPv4Address, None] = {}  # groups that are to be planned
        self._asked: dict[IPv4Address, dict[tuple[str, str], DesiredGroup]] = {}  # by group, of a tunnel for a name
        self._admissions: dict[str, Admission] = {}  # by the interface's name
        self._ssm_ranges: dict[str, tuple[IPv4Network, ...]] = {}  # of the tunnels to an interface, by its name
        self._parents: dict[tuple[IPv4Address, IPv4Address], int] = {}  # the VIF that a source of a group moved to
        self._arrived: dict[tuple[IPv4Address, IPv4Address], int] = {}  # its packets when it last came from another VIF
        self._held: dict[str, float] = {}  # until when what is inherited is desired, by the interface's name
        self._confirmed: set[tuple[str, IPv4Address]] = set()  # what is inherited, and hosts have asked for since
        downstream.listen(self._changed)

    def configure(self, desired: ForwardDesired) -> None:
        """Set the interfaces, the tunnels, and on which links this host is the querier."""
        names = {one.name for one in desired.interfaces}
        self._admissions = {name: one for name, one in self._admissions.items() if name in names}
        self._held = {name: until if name in names else -inf for name, until in self._held.items()}  # ends at once
        self._desired = desired
        self._ssm_ranges = {one.name: _ssm_ranges(one, desired) for one in desired.interfaces}
        self.plan_all()

    def plan_all(self) -> None:
        """Every group is to be planned."""
        self._dirty |= dict.fromkeys(self.table.groups()) | dict.fromkeys(self._asked)  # of dicts: no hash is computed
        for one in self._desired.interfaces:
            self._dirty |= dict.fromkeys(self._downstream.of(one.name).groups())
        self._nudge()

    def retry(self) -> None:
        """Others may have left room for what was refused."""
        if self.refused:
            self._dirty |= dict.fromkeys(self.refused)
            self._nudge()

    def plan(self, most: int) -> bool:
        """Plan some groups; returns whether there are more. Raises HostError, and the group is to be planned again."""
        for group in list(self._first(most)):
            self._plan(group)
            self._dirty.pop(group, None)
        if not self._dirty and self.table.full and self.table.take_freed():
            self.table.full.clear()
            self.plan_all()
        return bool(self._dirty)

    def dirty(self, group: IPv4Address) -> None:
        """A group is to be planned."""
        self._dirty[group] = None
        self._nudge()

    def forwards(self, config: Forward) -> bool:
        """Whether this host is the one that forwards to a link."""
        name = config.name
        is_held = name in self._held and name not in self._desired.others
        return name in self._desired.queriers or is_held or self._is_unasked(config)

    def _is_unasked(self, config: Forward) -> bool:
        """Whether no election is held on a link, as without an address; then groups in ``static`` are forwarded."""
        name = config.name
        is_elected = name in self._desired.queriers or name in self._desired.others
        return bool(config.static) and not is_elected and self.table.has_link(name)

    def _joins(self, name: str) -> bool:
        """Whether what is desired on a link is desired upstream.

        So it is after a start, also while another router forwards: this one may take over when its streams arrive.
        """
        return name in self._desired.queriers or name in self._held or name in self._desired.contending

    def count(self, name: str) -> tuple[int, int]:
        """How many groups are forwarded to an interface, and how many are beyond its limit."""
        admission = self._admissions.get(name)
        return (0, 0) if admission is None else (len(admission.admitted), len(admission.refused))

    # What the previous process forwarded

    def inherit(self, now: float) -> Iterator[None]:
        """Desire what the table's entries forward, until hosts have been asked; in steps, for others to have a turn."""
        configured = {one.name: one for one in self._desired.interfaces}
        for group, entries in list(self.table.groups().items()):
            for vif, desired in inherited.desired(entries.values()):
                config = configured.get(self.table.name(vif) or "")
                if config is not None:
                    self._held[config.name] = now + inherited.hold(config)
                    with suppress(McastdError):  # beyond the limit of an interface
                        self._downstream.set_group(config.name, group, INHERITED, desired)
                    yield

    def release(self, now: float) -> Iterator[None]:
        """What no host has asked for since the start is no longer desired; in steps, for others to have a turn."""
        for name in [name for name, until in self._held.items() if now >= until and name not in self._desired.asking]:
            for group, _ in self._downstream.of(name).of_origin(INHERITED):
                self._downstream.set_group(name, group, INHERITED, NOTHING)
                yield
            self._held.pop(name, None)
            self.plan_all()
        if not self._held:
            self._confirmed.clear()

    def next_deadline(self) -> float | None:
        """When ``release`` has something to do; None if never."""
        held = (until for name, until in self._held.items() if name not in self._desired.asking)
        return min(held, default=None)

    # Sources that come by another tunnel

    def parent(self, source: IPv4Address, group: IPv4Address, vif: int) -> bool:
        """Whether packets of a source, which came from ``vif``, are forwarded if they come from another one."""
        entry = self.table.entry(Key(source, group, None))
        tunnels = {self.table.number(name) for one in self._desired.interfaces for name in one.from_}
        return entry is not None and entry.parent != vif and vif in tunnels

    def moved(self, source: IPv4Address, group: IPv4Address, vif: int, arrived: int) -> None:
        """Packets of a source came from ``vif``, while its parent had ``arrived`` packets; twice the same: it moved."""
        key = group, source
        if self._arrived.get(key) == arrived:
            self._parents[key] = vif
            self.dirty(group)
        self._arrived[key] = arrived
        for known in (self._arrived, self._parents):
            if len(known) > _SOURCES:
                del known[next(iter(known))]

    # One group

    def _changed(self, name: str, groups: Sequence[IPv4Address]) -> None:
        if any(one.name == name for one in self._desired.interfaces):
            self._dirty |= dict.fromkeys(groups)
            self._nudge()

    def _first(self, most: int) -> Iterable[IPv4Address]:
        return (group for group, _ in zip(self._dirty, range(most), strict=False))

    def _plan(self, group: IPv4Address) -> None:
        receivers: list[Receiver] = []
        asked: dict[tuple[str, str], DesiredGroup] = {}
        needed: set[int] = set()
        for one in self._desired.interfaces:
            desired = self._admitted(one, group)
            if desired == NOTHING:
                continue
            for name in one.from_:
                tunnel = self._desired.tunnels.get(name)
                joined = desired if tunnel is None else tunnel.joinable(group, desired)
                if joined != NOTHING:
                    asked[name, one.name] = joined
            if not self.forwards(one):
                continue
            vif = self._vif(one.name, needed)
            parents = tuple(number for name in one.from_ if (number := self._vif(name, needed)) is not None)
            if vif is not None and parents:
                receivers.append(Receiver(vif, one.ttl_threshold, parents, desired))
        self.table.match(group, plan.entries(group, receivers, self._parents))
        self._ask(group, asked)

    def _vif(self, name: str, needed: set[int]) -> int | None:
        number = self.table.vif(name, needed)
        if number is not None:
            needed.add(number)
        return number

    def _admitted(self, config: Forward, group: IPv4Address) -> DesiredGroup:
        """What is forwarded of a group to an interface."""
        self._confirm(config.name, group)
        membership, desired = self._downstream.of(config.name), NOTHING
        if self._joins(config.name):
            desired = membership.desired(group)
        elif self._is_unasked(config) and STATIC in membership.origins(group, None):
            desired = ANY_SOURCE
        admission = self._admissions.setdefault(config.name, Admission())
        before = len(admission.admitted)
        found = admission.admit(group, desired, config, self._ssm_ranges[config.name])
        if len(admission.admitted) < before:
            self._dirty |= dict.fromkeys(admission.waiting(config))
        return found

    def _confirm(self, name: str, group: IPv4Address) -> None:
        """What hosts have asked for since the start, and have left, is not desired as inherited either."""
        if name not in self._held:
            return
        membership = self._downstream.of(name)
        desired = membership.desired(group)
        if any(HOSTS in membership.origins(group, source) for source in (None, *desired.sources)):
            self._confirmed.add((name, group))
        elif (name, group) in self._confirmed:
            self._confirmed.discard((name, group))
            self._downstream.set_group(name, group, INHERITED, NOTHING)

    def _ask(self, group: IPv4Address, asked: dict[tuple[str, str], DesiredGroup]) -> None:
        """Desire a group from the tunnels, for each interface behind this host."""
        before = self._asked.get(group, {})
        changes = {key: asked.get(key, NOTHING) for key in (*asked, *before) if asked.get(key) != before.get(key)}
        self.refused.pop(group, None)
        for (tunnel, name), desired in changes.items():
            try:
                self._wanted.set_group(tunnel, group, name, desired)
            except McastdError as error:
                self.refused[group] = str(error)
                asked.pop((tunnel, name), None)
                if (tunnel, name) in before:  # which is desired still
                    asked[tunnel, name] = before[tunnel, name]
        if asked:
            self._asked[group] = asked
        else:
            self._asked.pop(group, None)


def _ssm_ranges(config: Forward, desired: ForwardDesired) -> tuple[IPv4Network, ...]:
    """The groups that are joined with sources only on any of the tunnels to an interface."""
    tunnels = (desired.tunnels.get(name) for name in config.from_)
    return tuple({network for tunnel in tunnels if tunnel is not None for network in tunnel.ssm_ranges}) or (SSM_RANGE,)
