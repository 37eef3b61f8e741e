"""The agents as a whole: configured, settled, asked for status and closed in loops over them."""

import asyncio
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from typing import Any, Final

from msgspec.structs import replace

from mcastd import group_report, snapshot
from mcastd.active_gateway import ActiveGateways, Move
from mcastd.adapters import REAL, System
from mcastd.agent_set import AgentSet
from mcastd.config.gateways import config_in_use
from mcastd.config.model import Config, UpstreamProtocol
from mcastd.errors import McastdError
from mcastd.file_groups import FileGroups
from mcastd.group_status import GroupReport
from mcastd.health import health, independent, summary
from mcastd.ipsec.messages import PeerWithKey
from mcastd.ipsec.ownership import CONN
from mcastd.problems import Problem
from mcastd.snapshot import Judgement, Snapshots
from mcastd.status import GroupStatus, TunnelStatus
from mcastd.streams.desired import StreamsSnapshot
from mcastd.supervision import Part, Supervisor
from mcastd.system import capabilities
from mcastd.system.log import Logger
from mcastd.wiring import Inputs, Up

_CLOSE_TIMEOUT: Final = 5.0
_STEP: Final = 100  # groups whose rows are made at once: some milliseconds


class Composition(AgentSet):
    """All agents. ``config`` is the configuration in effect."""

    def __init__(
        self,
        config: Config,
        on_change: Callable[[], None],
        log: Logger,
        rng: Random,
        system: System = REAL,
        directory: Path | None = None,
    ) -> None:
        """``on_change`` is the reconcile nudge, upon which ``configure`` is to be called.

        ``directory`` is where the ledger is, if not where the configuration says.
        """
        super().__init__(config, on_change, log, rng, system, directory)
        self.own_problems: Callable[[], Iterable[Problem]] = tuple  # those of the process
        self._log = log
        self._on_change = on_change
        self._memberships = system.memberships
        self.file_groups = FileGroups(self.wanted, self.held, log, on_change)
        self._moving: asyncio.Task[None] | None = None  # moves groups between tunnels, while the agents run
        self.config = config
        self._peers: tuple[PeerWithKey, ...] = ()  # those of the configuration, with their keys
        # The configuration and the peers before a reload, while it is applied.
        self._before: tuple[Config, tuple[PeerWithKey, ...]] | None = None
        self.gateways = ActiveGateways(self.ledger.entries(CONN))  # which of several gateways is active
        self._look_at_gateways: asyncio.TimerHandle | None = None  # the nudge at their next deadline

    def configure(self) -> None:
        """Give every agent what follows from its configuration and from what is up now."""
        up = self._up()
        if self._choose_gateways(up):
            up = self._up()
        self.file_groups.configure(self.config, up)
        up = replace(up, several=self.file_groups.several, carrying=self.file_groups.paths.carrying())
        for part in self.parts:
            part.configure(self._inputs(part, up))

    def _choose_gateways(self, up: Up) -> bool:
        """Have another gateway used where the active one is dead; its CHILD_SAs are down then."""
        now = time.monotonic()
        self.gateways.configure(self.config, now)
        moves = self.gateways.update(self.config, up, self.ipsec.losses(), now)
        for move in moves:
            self._moved(move, up)
        if self._look_at_gateways is not None:
            self._look_at_gateways.cancel()
            self._look_at_gateways = None
        if (deadline := self.gateways.next_deadline()) is not None:
            self._look_at_gateways = asyncio.get_running_loop().call_later(max(0.0, deadline - now), self._on_change)
        return bool(moves)

    def _moved(self, move: Move, up: Up) -> None:
        self._log.warning("gateway_changed", before=move.before, after=move.after, reason=move.cause)
        for part in self.parts:
            if part.agent is self.ipsec:
                part.configure(self._inputs(part, up))

    def use(self, gateway: str) -> str:
        """Make a gateway active by hand. Raises ControlRefused."""
        up = self._up()
        move = self.gateways.use(gateway, up, self.ipsec.losses(), time.monotonic())
        if move.before != move.after:
            self._moved(move, up)
        self._on_change()
        return f"using {gateway}"

    def prepare(self, peers: tuple[PeerWithKey, ...]) -> None:
        """Configure the agents that take down by their configuration, for a ``close`` without a ``start``."""
        self._peers = peers
        for part in self.parts:
            if part.agent is not self.pim:
                part.configure(self._inputs(part, self._up()))

    def expect(self, peers: tuple[PeerWithKey, ...]) -> None:
        """Give every agent what is desired before any of them runs, so that status shows what is not up."""
        self._peers = peers
        self.configure()
        self.want_file()

    def want_file(self) -> None:
        """Desire what the file desires; called after PIM has its configuration, by whose RPs it is joined."""
        deque(self.file_groups.wanting(self.config), 0)

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Run every agent in ``group`` after the guard is in place; ``expect`` comes first."""
        self._moving = group.create_task(self.file_groups.run())
        for part in self.parts:
            part.configure(self._inputs(part, self._up()))
            part.supervisor = Supervisor(part.agent, self._log, self._on_change)
            part.agent.wake.turn()
            part.task = group.create_task(part.supervisor.run())
            if part is self.parts[0]:
                await part.agent.settled()

    async def settled(self) -> None:
        """Return when every agent has applied the configuration, each after those whose state it depends on."""
        for part in self.parts:
            await part.agent.settled()
            self.configure()

    async def apply(self, config: Config, peers: tuple[PeerWithKey, ...]) -> None:
        """Apply another configuration.

        The guard for both configurations comes first. Then the agents follow in reverse order, so that PIM says goodbye
        while its link still exists; an agent whose turn has not come keeps the configuration before, whatever changes.
        """
        self._before = (self.config, self._peers)
        self.config, self._peers = config, peers
        for part in self.parts:
            part.is_behind = True
        try:
            for part in (self.parts[0], *reversed(self.parts)):
                part.is_behind = False
                part.configure(self._inputs(part, self._up()))
                if part.agent is self.pim:
                    steps = self.file_groups.wanting(config)
                    try:
                        for pause in steps:
                            await asyncio.sleep(pause)
                    finally:  # the reload may have taken too long
                        deque(steps, 0)
                await part.agent.settled()
            await self.settled()
        finally:
            self._before = None
            self.configure()
        await self.parts[0].agent.settled()

    def leave_standing(self) -> None:
        """End the agents without restoring anything."""
        if self._moving is not None:
            self._moving.cancel()
        for part in self.parts:
            if part.task is not None:
                part.task.cancel()

    async def close(self) -> None:
        """End the agents in reverse order, each with its teardown; what fails is logged."""
        if self._moving is not None:
            self._moving.cancel()
        for part in reversed(self.parts):
            if part.task is not None:
                part.task.cancel()
                await asyncio.wait({part.task})
            try:
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await part.agent.close()
            except TimeoutError:
                self._log.error("teardown_timeout", part=part.agent.name, seconds=_CLOSE_TIMEOUT)
            except McastdError as error:
                self._log.error("teardown_failed", part=part.agent.name, problem=str(error))
            except Exception:  # the others are still taken down
                self._log.error("teardown_failed", part=part.agent.name, problem=traceback.format_exc())

    def turned(self) -> dict[str, float]:
        """When the loop of each agent that has begun last ran, monotonic."""
        return {part.agent.name: part.agent.wake.turned for part in self.parts if part.task is not None}

    async def refresh(self) -> None:
        """Read the counters that are read on demand only, right before ``snapshots``."""
        await asyncio.gather(*(one.refresh() for one in (self.ipsec, self.firewall, self.streams, self.forward)))

    async def rows(self, now: float) -> tuple[GroupStatus, ...]:
        """Every group that is desired on any tunnel; the loop goes on between the steps, as there may be thousands."""
        names = [name for protocol in ("pim", "igmp", "none") for name in self._upstream(protocol)]
        groups = list(dict.fromkeys(group for name in names for group in self.wanted.of(name).groups()))
        tunnels, streams, found = self.tunnels.status(now), self.streams.status(now), list[GroupStatus]()
        for start in range(0, len(groups), _STEP):
            found += self._rows(groups[start : start + _STEP], tunnels, streams, now)
            await asyncio.sleep(0)
        order = {name: number for number, name in enumerate(names)}
        return tuple(sorted(found, key=lambda row: order.get(row.tunnel, 0)))

    def _rows(
        self, groups: Sequence[IPv4Address], tunnels: Mapping[str, TunnelStatus], streams: StreamsSnapshot, now: float
    ) -> tuple[GroupStatus, ...]:
        unasked, joins = self._upstream("none"), list[GroupStatus]()
        for group in groups:
            joins += self.pim.group(group, now)
            joins += self.igmp_host.group(group, now)
            joins += group_report.expected(self.wanted, unasked, group, now)
        forwarded = self.forward.forwarded(groups) if self.config.downstream else {}
        return snapshot.groups(joins, tunnels, streams, forwarded)

    def snapshots(self, now: float, rows: tuple[GroupStatus, ...] = ()) -> Snapshots:
        """What each agent says, and ``rows`` of groups; ``now`` is monotonic."""
        ipsec = self.ipsec.status(now)
        return Snapshots(
            self.firewall.status(now),
            replace(ipsec, peers=self.gateways.rows(ipsec.peers, self.config, now)),
            self.tunnels.status(now),
            self.keepalive.status(now),
            self.pim.status(now),
            self.streams.status(now),
            paths=self.file_groups.status(now),
            groups=rows,
            follow=self.follow.status(now),
            forward=self.forward.status(now),
            overlay=self.overlay.status(now),
            refused=self.firewall.refused(),
            igmp=self.igmp.status(now),
            not_measured=self.meter.status(now),
        )

    async def group(self, group: IPv4Address, now: float) -> GroupReport:
        """All that is known of one group; beside what sockets have joined, which is read in slices, of it alone."""
        streams = self.streams.status(now)
        known = group_report.Known(
            wanted=self.wanted,
            downstream=self.downstream,
            joins=self._rows((group,), self.tunnels.status(now), streams, now),
            streams=self.streams.group(group, now),
            arrival=streams,
            sockets=await self._memberships(),
            own=[*self._upstream("igmp"), *self.file_groups.several],
            hosts=self.igmp.hosts(group, now),
            forwarded=self.forward.forwarded((group,)),
        )
        return replace(group_report.build(group, known, now), paths=self.file_groups.status(now, group))

    def _upstream(self, protocol: UpstreamProtocol) -> list[str]:
        """The tunnels on which groups are joined by this protocol."""
        return [tunnel.name for tunnel in self.config.tunnels if tunnel.upstream_protocol == protocol]

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong now, of this process and of every agent; the history takes note of it."""
        found = independent(
            (
                *capabilities.problems(),
                *self.own_problems(),
                *(part.supervisor.problem for part in self.parts if part.supervisor and part.supervisor.problem),
                *(problem for part in self.parts for problem in part.agent.problems()),
                *self.gateways.problems(),
                *self.history.problems(),
            )
        )
        self.history.observe(found)
        return found

    def judgement(self) -> Judgement:
        """How things are now."""
        found = self.problems()
        shown = self.history.shown(found)
        return Judgement(health(found, self._in_use), shown, self.history.status(), self.summary(found))

    def summary(self, problems: tuple[Problem, ...]) -> str:
        """One line of how things are. Like ``problems`` it costs the same however many joins there are."""
        return summary(problems, len(self._in_use.peers), len(self.config.tunnels), sum(self._joins().values()))

    @property
    def _in_use(self) -> Config:
        return config_in_use(self.config, self.gateways.active)

    def _joins(self) -> dict[str, int]:
        return self.wanted.counts(tunnel.name for tunnel in self.config.tunnels)

    def _up(self) -> Up:
        return Up(
            guard_in_place=self.firewall.in_place,
            standing=self.firewall.standing,
            children=self.ipsec.children(),
            links=self.tunnels.links(),
            dead_paths=self.keepalive.dead_paths(),
            paths_dead=self.keepalive.paths_dead(),
            neighbors=self.pim.neighbors(),
            keepalives_stopped=self.keepalive.keepalives_stopped(),
            keepalives_arriving=self.keepalive.keepalives_arriving(),
            hello_overdue=self.pim.hello_overdue(),
            has_rp=self.pim.has_rp,
            own_sockets=self.igmp_host.filters,
            several=self.file_groups.several,
            carrying=self.file_groups.paths.carrying(),
            rp_changes=self.pim.rp_changes(),
            joins=self._joins(),
            is_joined=self.wanted.is_wanted,
            wanted_since=partial(self.wanted.since_any, [tunnel.name for tunnel in self.config.tunnels]),
            sas=self.ipsec.sas,
            lost=self.tunnels.lost,
            numbers=self.meter.numbers,
            arrivals=self.streams.arrivals(),
            decrypted=self.streams.decrypted(),
            has_arrived=self.streams.has_arrived if self.streams.is_counting else None,
            elections=self.igmp.elections(),
        )

    def _inputs(self, part: Part[Any], up: Up) -> Inputs:
        active = self.gateways.active
        if self._before is None:
            return Inputs(self.config, self._peers, up, active=active)
        if part.is_behind:
            return Inputs(*self._before, up, active=active)
        return Inputs(self.config, self._peers, up, leaving=self._before[0], active=active)
