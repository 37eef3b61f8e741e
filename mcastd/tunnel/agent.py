"""The tunnel agent: reads the host, compares it with the configuration, and applies the difference."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv4Network
from typing import Final, Literal

from msgspec.structs import replace

from mcastd.config.model import Child, Config, Tunnel
from mcastd.errors import HostError, LinkUnsupported
from mcastd.history import History
from mcastd.links import Gre, Link, Xfrm
from mcastd.problems import Problem
from mcastd.status import TunnelStatus
from mcastd.system.fdstore import FdStore
from mcastd.system.ledger import Ledger
from mcastd.system.log import Logger
from mcastd.system.sysctl import Sysctls
from mcastd.system.wake import Wake
from mcastd.tunnel import prefixes, routes
from mcastd.tunnel.addresses import addresses, loopbacks, snat
from mcastd.tunnel.desired import LinkDesired, LinkView, TunGre, TunnelsDesired, gre
from mcastd.tunnel.host import Host
from mcastd.tunnel.kernel import Netlink
from mcastd.tunnel.marks import ENDPOINT
from mcastd.tunnel.mtu import Carrier, interface_mtu, tunnel_mtu
from mcastd.tunnel.report import State, link_state, tunnel_status
from mcastd.tunnel.standing import standing
from mcastd.tunnel.userspace import GreDevices, Pump
from mcastd.tunnel.ways import Ways

_AUDIT_PERIOD: Final = 30.0  # seconds between two looks at the host without a notification
_RETRY_PERIOD: Final = 1.0  # seconds to the next attempt after a failure
_RULES, _NETLINK, _WAYS = _PARTS = "rules", "netlink", "routes"  # parts that are not interfaces
_RP_FILTER: Final = {"loose": "2", "strict": "1", "keep": None}


class TunnelAgent:
    """All tunnels of the configuration. ``on_change`` is called after any LinkView may have changed."""

    name = "tunnels"

    def __init__(
        self,
        *,
        netlink: Netlink,
        sysctls: Sysctls,
        devices: GreDevices,
        ledger: Ledger,
        store: FdStore,
        history: History,
        log: Logger,
        on_change: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._log = log
        self._on_change = on_change
        self._history = history
        self._host = Host(netlink, sysctls, devices, ledger, store, self._repaired)
        self._ways = Ways(netlink)
        self.wake = Wake()
        self.wake.set()  # an empty configuration has something to do as well: what is in the ledger
        self._desired = TunnelsDesired(Config(), {})
        # What the current pass of the loop works on, also if something else is configured meanwhile.
        self._current = self._desired
        self._children: Mapping[str, Child] = {}  # CHILD_SAs of the configuration, by name
        self._routable = prefixes.Routable()  # what the current configuration has to be routed
        self._routes = prefixes.Desired()  # through which tunnel it is to be routed
        self._datapath: Literal["kernel", "userspace"] | None = None  # what does GRE; None until the first link is made
        self._states: dict[str, State] = {}  # by the tunnel's name
        self._problems: dict[str, str] = {}  # of XFRM interfaces below GRE, by name, and of the rules

    def configure(self, desired: TunnelsDesired) -> None:
        """Set the tunnels, the XFRM interfaces and loopback addresses of CHILD_SAs, and the routes."""
        if desired != self._desired:
            self._desired = desired
            self._host.name_loopbacks(loopbacks(desired.config))
            self._set_forwarding()
            self.wake.set()

    async def settled(self) -> None:
        """Return when the loop has acted on the last configure, or has failed and reports it in status."""
        await self.wake.settled()

    @property
    def pumps(self) -> Mapping[str, Pump]:
        """What does GRE in user space, by the tunnel's name."""
        return self._host.pumps

    def lost(self) -> dict[str, int]:
        """What arrived by GRE in user space and was dropped, by ``interface/TUNNEL/REASON``."""
        ends = Counter((pump.gre.local, pump.gre.remote) for pump in self.pumps.values())
        return {
            f"interface/{name}/{reason}": count
            for name, pump in self.pumps.items()
            for reason, count in pump.lost().items()
            # Each of two tunnels between the same endpoints gets what is for the other one's key.
            if reason != "gre_key" or ends[pump.gre.local, pump.gre.remote] == 1
        }

    def links(self) -> dict[str, LinkView]:
        """The links that exist, by the tunnel's name."""
        return {name: state.link for name, state in self._states.items() if state.link is not None}

    async def run(self) -> None:
        """Reconcile at every nudge, after changes that the kernel reports, and periodically."""
        netlink = self._host.netlink
        while True:
            try:
                async with netlink, netlink.changes() as changes, asyncio.TaskGroup() as group:
                    self._limit_routes()
                    self.wake.set()  # for what has changed before
                    group.create_task(self.wake.follow(changes))
                    await self._reconcile_forever()
            except* HostError as errors:
                with self._reporting(_NETLINK):
                    raise errors.exceptions[0] from None
            self._on_change()
            await self.wake.wait(_RETRY_PERIOD)
            self.wake.finished()

    async def _reconcile_forever(self) -> None:
        while True:
            failed = self._problems or any(state.problem for state in self._states.values())
            await self.wake.wait(_RETRY_PERIOD if failed else _AUDIT_PERIOD)
            await self._reconcile()
            self.wake.finished()

    async def inherit(self, config: Config) -> None:
        """Find what the previous process left, and remove its GRE links that ``config`` does not have.

        The kernel sends through them by itself, and only the previous process's nftables table guards them. Raises
        HostError.
        """
        desired = {tunnel.name: gre(tunnel) for tunnel in config.tunnels if tunnel.encapsulation == "gre"}
        async with self._host.netlink:
            await self._adopt()
            for name in self._host.made():
                link = await self._host.find(name)
                if link is not None and isinstance(link.parameters, Gre) and link.parameters != desired.get(name):
                    await self._host.remove(name)
                    self._log.info("tunnel_removed", tunnel=name)

    async def standing(self, config: Config) -> dict[str, LinkView]:
        """Find what the previous process left; returns the tunnels of ``config`` that are up. Raises HostError."""
        async with self._host.netlink:
            await self._adopt()
            return await standing(self._host, config)

    async def _adopt(self) -> None:
        for found in await self._host.adopt():
            self._log.warning("inherited_by_mark", what=found)

    async def close(self) -> None:
        """Remove what mcastd has made, as the ledger has it: rules, links with their routes, then endpoints."""
        async with self._host.netlink:
            await self._match_rules(frozenset())
            for name in self._host.made():
                await self._remove(name)
            await self._remove_loopbacks(set())

    def status(self, now: float) -> dict[str, TunnelStatus]:
        """The tunnels, by name, without what the agents above know."""
        found = {}
        for tunnel in self._desired.config.tunnels:
            state, routed = self._states.get(tunnel.name, State()), self._routes.prefixes.get(tunnel.name, {})
            if tunnel.route_table is not None and state.problem is None:
                state = replace(state, problem=self._problems.get(_RULES))
            pump = self.pumps.get(tunnel.name)
            dropped = dict(pump.dropped) if pump is not None else {}
            found[tunnel.name] = tunnel_status(tunnel, state, self._datapath_of(tunnel), routed, dropped)
        return found

    def problems(self) -> Iterator[Problem]:
        """The tunnels that are not up, what the host refuses, and what is sent where it should not."""
        for tunnel in self._desired.config.tunnels:
            state = self._states.get(tunnel.name, State())
            if (shown := link_state(state)) != "up":
                yield Problem("tunnel_down", tunnel.name, f"tunnel {tunnel.name} is {shown}")
            elif state.problem is not None:
                yield Problem("reconcile_failed", tunnel.name, state.problem)
        for part in self._problems.keys() & set(_PARTS):
            yield Problem("reconcile_failed", part, f"{part}: {self._problems[part]}")
        yield from self._ways.problems

    async def _take_desired(self) -> None:
        """Begin to work on the desired state that was configured last."""
        before, desired = self._current, self._desired
        config, found = desired.config, self._routable
        if before.config.groups is not config.groups or before.config.tunnels != config.tunnels:
            found = prefixes.Routable()
            for _ in found.finding(config):
                await asyncio.sleep(0)
        if found is not self._routable or before.carrying != desired.carrying:
            self._routes = prefixes.desired(found, desired.carrying, self._routes)
        self._current, self._routable = desired, found
        self._children = {child.name: child for peer in config.peers for child in peer.children}
        if config.daemon.datapath != "auto":
            self._datapath = config.daemon.datapath
        if before.config is not config:
            self._limit_routes()

    def _limit_routes(self) -> None:
        """Let the kernel report the routes that packets of a tunnel may take, and no others, which may be many."""
        ends = {end for tunnel in self._current.config.tunnels for end in (tunnel.local, tunnel.remote)}
        ends |= {peer.remote for peer in self._current.config.peers}
        self._host.netlink.limit_routes(self._routable.watched.union(map(IPv4Network, ends)))

    async def _reconcile(self) -> None:
        before = (self.links(), list(self.problems()))
        if self._current is not self._desired:
            await self._take_desired()
        tunnels = {tunnel.name: tunnel for tunnel in self._current.config.tunnels}
        interfaces = {child.interface: child for child in self._children.values() if child.interface is not None}
        for name in self._host.made():
            if name not in tunnels and name not in interfaces:
                await self._remove(name)
        for name in self._states.keys() - tunnels.keys():
            del self._states[name]
        for name in self._problems.keys() - interfaces.keys() - {_RULES, _WAYS}:
            del self._problems[name]
        for name, child in interfaces.items():
            await self._reconcile_interface(name, child)
        for tunnel in sorted(tunnels.values(), key=lambda one: one.name not in self._routes.first):
            await self._reconcile_tunnel(tunnel)
        await self._match_rules(frozenset(rule for tunnel in tunnels.values() for rule in routes.rules(tunnel)))
        for address in snat(self._current.config):
            with self._logging("address_not_added", address=str(address)):
                await self._host.add_loopback(address)
        await self._remove_loopbacks(loopbacks(self._current.config))
        with self._reporting(_WAYS):
            up = [name for name, view in self.links().items() if view.up]
            await self._ways.look(self._current, up, time.monotonic())
        self._set_forwarding()
        if before != (self.links(), list(self.problems())):
            self._on_change()

    async def _remove(self, name: str) -> None:
        """Remove a link; what the host refuses stays in the ledger for the next time."""
        with self._logging("tunnel_not_removed", tunnel=name):
            if await self._host.remove(name):
                self._log.info("tunnel_removed", tunnel=name)
            else:
                self._log.warning("link_not_ours", tunnel=name)

    async def _remove_loopbacks(self, desired: set[IPv4Address]) -> None:
        """Remove the addresses that mcastd has put on the loopback, but for the desired ones."""
        for address in self._ledger.entries(ENDPOINT).keys() - {f"{one}/32" for one in desired}:
            with self._logging("endpoint_not_removed", address=address):
                await self._host.remove_loopback(address)

    def _repaired(self, subject: str, what: str) -> None:
        self._history.repaired(subject, what)
        self._on_change()

    @contextmanager
    def _logging(self, event: str, **fields: str) -> Iterator[None]:
        """Log what the host refuses, and continue."""
        try:
            yield
        except HostError as error:
            self._log.error(event, **fields, problem=str(error))

    @contextmanager
    def _reporting(self, part: str) -> Iterator[None]:
        """Keep what the host refuses as the problem of a part, and log it when it is a new one."""
        try:
            yield
        except HostError as error:
            if self._problems.get(part) != str(error):
                self._log.error("reconcile_failed", part=part, problem=str(error))
            self._problems[part] = str(error)
        else:
            self._problems.pop(part, None)

    async def _match_rules(self, desired: frozenset[tuple[IPv4Network, int]]) -> None:
        with self._reporting(_RULES):
            await self._host.routes.match_rules(desired)

    async def _reconcile_interface(self, name: str, child: Child) -> None:
        """The XFRM interface below GRE, and the routes that lead GRE into it."""
        assert child.if_id is not None
        tunnels = self._current.config.tunnels
        ends = {IPv4Network(tunnel.remote) for tunnel in tunnels if tunnel.child == child.name}
        carrier = self._current.carriers.get(child.name, Carrier(mode="interface"))
        with self._reporting(name):
            mtu = interface_mtu(carrier, await self._path_mtu(carrier))
            # Up before its CHILD_SA: without an SA it drops what is sent into it; without it GRE would go elsewhere.
            link = await self._host.match(LinkDesired(name, Xfrm(child.if_id), mtu, up=True))
            selected = {child.remote_ts} - {routes.EVERYWHERE}
            taken = ends & await self._host.routes.match(link, routes.MAIN_TABLE, ends | selected)
            if taken:
                raise HostError(f"{name}: a route that is not mcastd's leads {min(taken)} elsewhere; remove it")

    async def _reconcile_tunnel(self, tunnel: Tunnel) -> None:
        old = self._states.get(tunnel.name, State())
        began = time.monotonic()
        try:
            state = await self._match(tunnel, old)
        except HostError as error:
            state = await self._failed(tunnel, old, str(error))
        self._states[tunnel.name] = state
        if state.problem is not None and old.problem != state.problem:
            self._log.error("tunnel_failed", tunnel=tunnel.name, problem=state.problem)
        if state.taken and old.taken != state.taken:
            taken = ", ".join(map(str, sorted(state.taken)))
            self._log.warning("route_taken", tunnel=tunnel.name, prefixes=taken)
        if state.link != old.link and state.link is not None:
            self._log.info(
                "tunnel_up" if state.link.up else "tunnel_created",
                tunnel=tunnel.name,
                mtu=state.link.mtu,
                address=str(tunnel.address),
                datapath=self._datapath_of(tunnel),
                took_ms=round((time.monotonic() - began) * 1000),
            )

    async def _failed(self, tunnel: Tunnel, old: State, problem: str) -> State:
        """What is known after a look that failed: the link stays, unless it is another one or none."""
        up = self._current.carrier(tunnel).up and old.link is not None and old.link.up
        with suppress(HostError):
            link = await self._host.find(tunnel.name)
            if old.link is None or link is None or link.index != old.link.index:
                return State(problem=problem, up_count=old.up_count)
            up = up and link.up
        return replace(old, link=replace(old.link, up=up) if old.link else None, problem=problem)

    async def _match(self, tunnel: Tunnel, old: State) -> State:
        """Make the link and the routes of a tunnel as desired; raises HostError if there is no link then."""
        carrier = self._current.carrier(tunnel)
        child = self._children.get(tunnel.child or "")
        if child is not None and child.interface in self._problems:
            raise HostError(self._problems[child.interface])
        mtu, reason = await self._mtu(tunnel, carrier)
        link = await self._match_link(tunnel, mtu, carrier.up)
        up = link.up and carrier.up
        was_up = old.link is not None and old.link.up
        # The CHILD_SA may have been down between two looks, which its count shows; another far end is another path.
        carrier_count = carrier.up_count + self._host.changes[tunnel.name]
        count = old.up_count + (up and not (was_up and carrier_count == old.carrier_count))
        secondary = tuple(address.ip for address in tunnel.addresses)
        view = LinkView(link.index, link.mtu, tunnel.address.ip, up, count, secondary)
        state = State(view, reason, up_count=count, carrier_count=carrier_count)
        if not link.up:  # the kernel accepts no routes through it yet
            return state
        try:
            table = tunnel.route_table or routes.MAIN_TABLE
            taken = await self._host.routes.match(link, table, *self._routes.of(tunnel.name))
        except HostError as error:
            return replace(state, problem=str(error))
        return replace(state, routed=True, taken=taken)

    async def _match_link(self, tunnel: Tunnel, mtu: int, up: bool) -> Link:
        """Make the link of a tunnel as desired, with GRE in user space if the kernel has none."""
        desired = LinkDesired(
            tunnel.name, gre(tunnel), mtu, up, tunnel.local, addresses(tunnel), _RP_FILTER[tunnel.rp_filter]
        )
        if tunnel.encapsulation == "none":
            if_id = self._children[tunnel.child or ""].if_id
            assert if_id is not None
            return await self._host.match(replace(desired, parameters=Xfrm(if_id), endpoint=None))
        if self._datapath is None and self._host.was_in_user_space(tunnel.name):
            self._datapath = "userspace"
        if self._datapath != "userspace":
            try:
                link = await self._host.match(desired)
            except LinkUnsupported:
                if self._current.config.daemon.datapath == "kernel":
                    raise
                self._datapath = "userspace"
                self._log.info("gre_in_user_space", tunnel=tunnel.name)
            else:
                self._datapath = "kernel"
                return link
        return await self._host.match(replace(desired, parameters=TunGre(gre(tunnel))))

    async def _path_mtu(self, carrier: Carrier) -> int | None:
        path = await self._host.netlink.link_towards(carrier.remote) if carrier.remote is not None else None
        return path.mtu if path else None

    async def _mtu(self, tunnel: Tunnel, carrier: Carrier) -> tuple[int, str]:
        """The MTU of a tunnel and the reason for it."""
        if tunnel.mtu is not None:
            return tunnel.mtu, "configured"
        below = [await self._host.netlink.link_towards(tunnel.remote, source) for source in (tunnel.local, None)]
        lower = next(((link.name, link.mtu) for link in below if link is not None and link.name != tunnel.name), None)
        return tunnel_mtu(tunnel, carrier, await self._path_mtu(carrier), lower)

    def _set_forwarding(self) -> None:
        """Let pumps forward while their CHILD_SAs are up: at other times GRE would leave in the clear."""
        up = {tunnel.name for tunnel in self._desired.config.tunnels if self._desired.carrier(tunnel).up}
        for name, pump in self.pumps.items():
            pump.forwarding = name in up

    def _datapath_of(self, tunnel: Tunnel) -> str | None:
        return "kernel" if tunnel.encapsulation == "none" else self._datapath
