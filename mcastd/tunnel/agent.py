"""The tunnels of this host: reads it, asks the plan, carries it out, and keeps it so."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from mcastd.config.model import Child, Config, Datapath, Tunnel
from mcastd.errors import HostError
from mcastd.links import Gre, Xfrm
from mcastd.problems import Problem
from mcastd.status import RouteStatus, TunnelState, TunnelStatus
from mcastd.system.fdstore import FdStore
from mcastd.system.ledger import Ledger
from mcastd.system.log import Logger
from mcastd.system.netlink import GreUnsupported, Link, Netlink, changes
from mcastd.system.wake import Wake
from mcastd.tunnel import plan, routes
from mcastd.tunnel.desired import LinkView, TunnelsDesired
from mcastd.tunnel.host import Host
from mcastd.tunnel.mtu import Carrier, interface_mtu, tunnel_mtu

_AUDIT_PERIOD = 30.0
_RETRY_PERIOD = 1.0
_DEBOUNCE = 0.05
_RULES = "rules"
_RP_FILTER = {"loose": "2", "strict": "1", "keep": None}


@dataclass(frozen=True, slots=True)
class _State:
    tunnel: Tunnel
    link: LinkView | None = None
    mtu_reason: str | None = None
    problem: str | None = None
    routed: bool = False
    taken: frozenset[IPv4Network] = frozenset()


class TunnelAgent:
    """All tunnels of the configuration. ``on_change`` is called after any LinkView may have changed."""

    name = "tunnels"

    def __init__(
        self, *, ledger: Ledger, log: Logger, on_change: Callable[[], None], store: FdStore | None = None
    ) -> None:
        self._ledger = ledger
        self._store = store or FdStore()
        self._log = log
        self._on_change = on_change
        self.wake = Wake()
        self._wanted: tuple[Tunnel, ...] = ()
        self._children: Mapping[str, Child] = {}
        self._prefixes: Mapping[str, tuple[IPv4Network, ...]] = {}
        self._carriers: Mapping[str, Carrier] = {}
        self._backend: plan.Backend | None = None
        self._fixed: Datapath = "auto"
        self._states: dict[str, _State] = {}
        # By the tunnel's name: whether the path is up, the count of its CHILD_SA then, and how often the path came up.
        self._ups: dict[str, tuple[bool, int, int]] = {}
        self._desired: TunnelsDesired | None = None
        self._problems: dict[str, str] = {}
        self._host: Host | None = None

    def configure(self, desired: TunnelsDesired) -> None:
        """Set the tunnels, XFRM interfaces and loopback addresses of CHILD_SAs, and the routes."""
        if desired == self._desired:
            return
        self._desired, config = desired, desired.config
        self._wanted = config.tunnels
        self._children = {child.name: child for peer in config.peers for child in peer.children}
        self._prefixes = {tunnel.name: routes.prefixes(tunnel, config.groups) for tunnel in config.tunnels}
        datapath = config.daemon.datapath
        if datapath != self._fixed or self._backend is None:
            self._fixed = datapath
            self._backend = None if datapath == "auto" else datapath
        self._carriers = desired.carriers
        self._gate()
        self.wake.set()

    async def settled(self) -> None:
        """Return when the last configure has been carried out, or has failed and says so in status."""
        await self.wake.settled()

    def links(self) -> dict[str, LinkView]:
        """The links that exist, by the tunnel's name."""
        return {name: state.link for name, state in self._states.items() if state.link is not None}

    async def run(self) -> None:
        """Reconcile at every nudge, at every change that the kernel reports, and now and then."""
        async with Netlink() as netlink, asyncio.TaskGroup() as group:
            self._host = Host(netlink, self._ledger, self._store)
            group.create_task(self._watch_kernel())
            while True:
                failed = self._problems or any(state.problem for state in self._states.values())
                await self.wake.wait(_RETRY_PERIOD if failed else _AUDIT_PERIOD)
                await self._reconcile(self._host)
                self.wake.finished()

    async def remove_inherited(self, config: Config) -> None:
        """Remove the kernel's GRE links of the previous process that ``config`` does not have; raises HostError.

        The kernel sends through them by itself, and only the previous process's nftables table guards them.
        """
        wanted = {tunnel.name: plan.gre(tunnel) for tunnel in config.tunnels if tunnel.encapsulation == "gre"}
        async with Netlink() as netlink:
            host = Host(netlink, self._ledger, self._store)
            for name in self._ledger.entries("link"):
                found, _ = await host.find(name, None)
                if found.ours and isinstance(found.shape, Gre) and found.shape != wanted.get(name):
                    await host.remove(name)
                    self._log.info("tunnel_removed", tunnel=name)

    async def close(self) -> None:
        """Remove what we made: rules, links with their routes, then endpoints, as the ledger has it."""
        async with Netlink() as netlink:
            host = Host(netlink, self._ledger, self._store)
            if self._host is not None:
                host.pumps = self._host.pumps
            await self._match_rules(host, frozenset())
            # The newest first: GRE before the XFRM interface that encrypts it.
            for name in reversed(self._ledger.entries("link")):
                await self._remove(host, name)
            for address in self._ledger.entries("endpoint"):
                await self._remove_endpoint(host, address)

    def status(self, now: float) -> dict[str, TunnelStatus]:
        """The tunnels, by name, without what the agents above know."""
        return {tunnel.name: self._tunnel_status(tunnel) for tunnel in self._wanted}

    def problems(self) -> Iterator[Problem]:
        """The tunnels that are not up."""
        for tunnel in self._wanted:
            if (state := self._state(tunnel)) != "up":
                yield Problem("tunnel_down", tunnel.name, f"tunnel {tunnel.name} is {state}")

    async def _watch_kernel(self) -> None:
        async for _ in changes():
            await asyncio.sleep(_DEBOUNCE)
            self.wake.set()

    async def _reconcile(self, host: Host) -> None:
        before = self.links()
        wanted = {tunnel.name: tunnel for tunnel in self._wanted}
        interfaces = {child.interface: child for child in self._children.values() if child.interface is not None}
        for name in reversed(self._ledger.entries("link")):
            if name not in wanted and name not in interfaces:
                await self._remove(host, name)
                self._states.pop(name, None)
        for name in self._problems.keys() - interfaces.keys() - {_RULES}:
            del self._problems[name]
        for name, child in interfaces.items():
            await self._reconcile_interface(host, name, child)
        for tunnel in self._wanted:
            await self._reconcile_one(host, tunnel)
        for name in self._states.keys() - wanted.keys():
            del self._states[name]
        for name in self._ups.keys() - wanted.keys():
            del self._ups[name]
        await self._match_rules(host, frozenset(rule for tunnel in self._wanted for rule in routes.rules(tunnel)))
        loopbacks = {child.snat for child in self._children.values() if child.snat is not None and child.snat_loopback}
        for loopback in loopbacks:
            await self._add_loopback(host, loopback)
        ends = {tunnel.local for tunnel in self._wanted if tunnel.encapsulation == "gre"}
        endpoints = {f"{address}/32" for address in loopbacks | ends}
        for address in self._ledger.entries("endpoint").keys() - endpoints:
            await self._remove_endpoint(host, address)
        self._gate()
        if before != self.links():
            self._on_change()

    async def _remove(self, host: Host, name: str) -> None:
        """Remove a link of ours; where the host refuses, say so, and leave it in the ledger for the next time."""
        try:
            await host.remove(name)
        except HostError as error:
            self._log.error("tunnel_not_removed", tunnel=name, problem=str(error))
        else:
            self._log.info("tunnel_removed", tunnel=name)

    async def _remove_endpoint(self, host: Host, address: str) -> None:
        try:
            await host.remove_endpoint(address)
        except HostError as error:
            self._log.error("endpoint_not_removed", address=address, problem=str(error))

    async def _add_loopback(self, host: Host, address: IPv4Address) -> None:
        try:
            await host.add_loopback(address)
        except HostError as error:
            self._log.error("address_not_added", address=str(address), problem=str(error))

    async def _match_rules(self, host: Host, wanted: frozenset[tuple[IPv4Network, int]]) -> None:
        try:
            await host.routes.match_rules(wanted)
            self._problems.pop(_RULES, None)
        except HostError as error:
            self._failed(_RULES, error)

    async def _reconcile_interface(self, host: Host, name: str, child: Child) -> None:
        """The XFRM interface below GRE, and the routes that bring GRE into it."""
        assert child.if_id is not None
        ends = {IPv4Network(tunnel.remote) for tunnel in self._wanted if tunnel.child == child.name}
        carrier = self._carriers.get(child.name, Carrier(mode="interface"))
        mtu = interface_mtu(carrier, await self._path_mtu(host, carrier))
        try:
            # Up before its child: without an SA it drops what is sent into it, while without it GRE would go elsewhere.
            link = await self._carry_out(host, plan.Wanted(name, Xfrm(child.if_id), mtu, up=True))
            selected = {child.remote_ts} - {routes.EVERYWHERE}
            taken = ends & await host.routes.match(link, routes.MAIN_TABLE, ends | selected)
            if taken:
                raise HostError(f"{name}: a route that is not mcastd's leads {min(taken)} elsewhere; remove it")
            self._problems.pop(name, None)
        except HostError as error:
            self._failed(name, error)

    def _failed(self, what: str, error: HostError) -> None:
        if self._problems.get(what) != str(error):
            self._log.error("reconcile_failed", part=what, problem=str(error))
        self._problems[what] = str(error)

    async def _reconcile_one(self, host: Host, tunnel: Tunnel) -> None:
        old = self._states.get(tunnel.name)
        began = time.monotonic()
        try:
            state = await self._match(host, tunnel)
        except HostError as error:
            state = _State(tunnel, problem=str(error))
        if state.problem is not None and (old is None or old.problem != state.problem):
            self._log.error("tunnel_failed", tunnel=tunnel.name, problem=state.problem)
        if state.taken and (old is None or old.taken != state.taken):
            taken = ", ".join(map(str, sorted(state.taken)))
            self._log.warning("route_taken", tunnel=tunnel.name, prefixes=taken)
        self._states[tunnel.name] = state
        if state.link != (old.link if old else None) and state.link is not None:
            self._log.info(
                "tunnel_up" if state.link.up else "tunnel_created",
                tunnel=tunnel.name, mtu=state.link.mtu, address=str(tunnel.address), datapath=self._datapath(tunnel),
                took_ms=round((time.monotonic() - began) * 1000),
            )  # fmt: skip

    async def _match(self, host: Host, tunnel: Tunnel) -> _State:
        carrier = self._carrier(tunnel)
        child = self._children.get(tunnel.child or "")
        if child is not None and child.interface in self._problems:
            raise HostError(self._problems[child.interface])
        mtu, reason = await self._mtu(host, tunnel, carrier)
        if self._backend is None and host.was_pumped(tunnel.name):
            self._backend = "userspace"
        wanted = self._link_wanted(tunnel, mtu, carrier.up)
        try:
            link = await self._carry_out(host, wanted)
        except GreUnsupported:
            if self._fixed == "kernel":
                raise
            self._backend = "userspace"
            self._log.info("gre_in_user_space", tunnel=tunnel.name)
            return await self._match(host, tunnel)
        if not isinstance(wanted.shape, Xfrm):
            self._backend = "userspace" if isinstance(wanted.shape, plan.Pumped) else "kernel"
        up = link.up and carrier.up
        secondary = tuple(address.ip for address in tunnel.addresses)
        view = LinkView(
            tunnel.name, link.index, link.mtu, tunnel.address.ip, up, self._up_count(tunnel, up, carrier), secondary
        )
        if not link.up:  # the kernel takes no routes through it yet
            return _State(tunnel, view, reason)
        try:
            table = tunnel.route_table or routes.MAIN_TABLE
            taken = await host.routes.match(link, table, self._prefixes.get(tunnel.name, ()))
        except HostError as error:
            return _State(tunnel, view, reason, str(error))
        return _State(tunnel, view, reason, routed=True, taken=taken)

    def _up_count(self, tunnel: Tunnel, up: bool, carrier: Carrier) -> int:
        """How often the path came up: also when the CHILD_SA went down and up again between two looks."""
        was_up, child_count, count = self._ups.get(tunnel.name, (False, 0, 0))
        if up and (not was_up or carrier.up_count != child_count):
            count += 1
        self._ups[tunnel.name] = (up, carrier.up_count if up else child_count, count)
        return count

    def _link_wanted(self, tunnel: Tunnel, mtu: int, up: bool) -> plan.Wanted:
        gre = plan.gre(tunnel)
        shape: plan.Shape = plan.Pumped(gre) if self._backend == "userspace" else gre
        endpoint: IPv4Address | None = tunnel.local
        if tunnel.encapsulation == "none":
            child = self._children[tunnel.child or ""]
            assert child.if_id is not None
            shape, endpoint = Xfrm(child.if_id), None
        addresses = plan.addresses(tunnel)
        return plan.Wanted(tunnel.name, shape, mtu, up, endpoint, addresses, _RP_FILTER[tunnel.rp_filter])

    async def _carry_out(self, host: Host, wanted: plan.Wanted) -> Link:
        found, link = await host.find(wanted.name, wanted.endpoint)
        actions = plan.plan(wanted, found)
        await host.carry_out(wanted.name, actions)
        if actions or link is None:
            link = await host.netlink.link(wanted.name)
        if link is None:
            raise HostError(f"interface {wanted.name} went away while it was set up")
        return link

    def _carrier(self, tunnel: Tunnel) -> Carrier:
        if tunnel.child is None:
            return Carrier(up=True, up_count=1, remote=tunnel.remote)
        return self._carriers.get(tunnel.child, Carrier())

    async def _path_mtu(self, host: Host, carrier: Carrier) -> int | None:
        path = await host.netlink.link_towards(carrier.remote) if carrier.remote is not None else None
        return path.mtu if path else None

    async def _mtu(self, host: Host, tunnel: Tunnel, carrier: Carrier) -> tuple[int, str]:
        if tunnel.mtu is not None:
            return tunnel.mtu, "configured"
        lower = None
        if tunnel.encapsulation == "gre":
            lower = await host.netlink.link_towards(tunnel.remote, tunnel.local)
            if lower is None or lower.name == tunnel.name:
                lower = await host.netlink.link_towards(tunnel.remote)
        path = await self._path_mtu(host, carrier)
        return tunnel_mtu(tunnel, carrier, path, (lower.name, lower.mtu) if lower else None)

    def _gate(self) -> None:
        """Let the pumps forward only while their child is up: at other times GRE would leave in the clear."""
        if self._host is not None:
            up = {tunnel.name for tunnel in self._wanted if self._carrier(tunnel).up}
            for name, pump in self._host.pumps.items():
                pump.forwarding = name in up

    def _datapath(self, tunnel: Tunnel) -> plan.Backend | None:
        return "kernel" if tunnel.encapsulation == "none" else self._backend

    def _state(self, tunnel: Tunnel) -> TunnelState:
        link = self._states.get(tunnel.name, _State(tunnel)).link
        return "down" if link is None else "up" if link.up else "waiting"

    def _tunnel_status(self, tunnel: Tunnel) -> TunnelStatus:
        state = self._states.get(tunnel.name, _State(tunnel))
        pump = self._host.pumps.get(tunnel.name) if self._host else None
        return TunnelStatus(
            name=tunnel.name,
            state=self._state(tunnel),
            datapath=self._datapath(tunnel),
            encapsulation=tunnel.encapsulation,
            local=str(tunnel.local),
            remote=str(tunnel.remote),
            address=str(tunnel.address),
            addresses=tuple(map(str, tunnel.addresses)),
            mtu=state.link.mtu if state.link else None,
            mtu_reason=state.mtu_reason,
            problem=state.problem or (self._problems.get(_RULES) if tunnel.route_table else None),
            dropped=dict(pump.dropped) if pump else {},
            routes=tuple(self._route_status(tunnel, state)),
        )

    def _route_status(self, tunnel: Tunnel, state: _State) -> Iterator[RouteStatus]:
        for prefix in self._prefixes.get(tunnel.name, ()):
            taken = prefix in state.taken
            yield RouteStatus(
                prefix=str(prefix),
                table=tunnel.route_table or routes.MAIN_TABLE,
                state="taken" if taken else "up" if state.routed else "waiting",
                problem="a route that is not mcastd's leads it elsewhere" if taken else None,
            )
