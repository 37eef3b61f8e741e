"""The tunnels of this host: reads it, asks the plan, carries it out, and keeps it so."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from mcastd.config.model import Datapath, Tunnel
from mcastd.errors import HostError
from mcastd.status import TunnelStatus
from mcastd.system.ledger import Ledger
from mcastd.system.log import Logger
from mcastd.system.netlink import GreUnsupported, Netlink, changes
from mcastd.system.wake import Wake
from mcastd.tunnel import plan
from mcastd.tunnel.host import Host
from mcastd.tunnel.mtu import Carrier, tunnel_mtu

_AUDIT_PERIOD = 30.0
_RETRY_PERIOD = 1.0
_DEBOUNCE = 0.05
_RP_FILTER = {"loose": "2", "strict": "1", "keep": None}


@dataclass(frozen=True, slots=True)
class LinkView:
    """A tunnel as the agents above it need it. ``up`` is link and child; ``generation`` counts the child's comings.

    ``address`` is our primary one, ``secondary`` are the others.
    """

    name: str
    index: int
    mtu: int
    address: IPv4Address
    up: bool
    generation: int
    secondary: tuple[IPv4Address, ...] = ()


@dataclass(frozen=True, slots=True)
class _State:
    tunnel: Tunnel
    link: LinkView | None = None
    mtu_reason: str | None = None
    problem: str | None = None


class TunnelAgent:
    """All tunnels of the configuration. ``on_change`` is called after any LinkView may have changed."""

    def __init__(self, *, ledger: Ledger, log: Logger, on_change: Callable[[], None]) -> None:
        self._ledger = ledger
        self._log = log
        self._on_change = on_change
        self._wake = Wake()
        self._wanted: tuple[Tunnel, ...] = ()
        self._loopbacks: frozenset[IPv4Address] = frozenset()
        self._carriers: Mapping[str, Carrier] = {}
        self._backend: plan.Backend | None = None
        self._fixed: Datapath = "auto"
        self._states: dict[str, _State] = {}
        self._host: Host | None = None

    @property
    def datapath(self) -> plan.Backend | None:
        """How GRE is carried; None until the first tunnel has been made."""
        return self._backend

    def configure(
        self, tunnels: tuple[Tunnel, ...], datapath: Datapath, loopbacks: frozenset[IPv4Address] = frozenset()
    ) -> None:
        """Set the tunnels that should be there, and addresses that the host should have besides their endpoints."""
        self._wanted = tunnels
        self._loopbacks = loopbacks
        if datapath != self._fixed or self._backend is None:
            self._fixed = datapath
            self._backend = None if datapath == "auto" else datapath
        self._wake.set()

    def carry(self, carriers: Mapping[str, Carrier]) -> None:
        """Say, by the tunnel's name, what carries each tunnel and whether it is up."""
        if carriers != self._carriers:
            self._carriers = dict(carriers)
            self._gate()
            self._wake.set()

    async def settled(self) -> None:
        """Return when the last configure has been carried out, or has failed and says so in status."""
        await self._wake.settled()

    def link(self, name: str) -> LinkView | None:
        """One tunnel's link, if it is there."""
        state = self._states.get(name)
        return state.link if state else None

    async def run(self) -> None:
        """Reconcile at every nudge, at every change that the kernel reports, and now and then."""
        async with Netlink() as netlink, asyncio.TaskGroup() as group:
            self._host = Host(netlink, self._ledger)
            group.create_task(self._watch_kernel())
            while True:
                failed = any(state.problem for state in self._states.values())
                await self._wake.wait(_RETRY_PERIOD if failed else _AUDIT_PERIOD)
                await self._reconcile(netlink, self._host)
                self._wake.finished()

    async def close(self) -> None:
        """Remove what we made: links, then endpoints, as the ledger has it."""
        async with Netlink() as netlink:
            host = Host(netlink, self._ledger)
            if self._host is not None:
                host.pumps = self._host.pumps
            for name in self._ledger.entries("link"):
                await self._remove(host, name)
            for address in self._ledger.entries("endpoint"):
                await self._remove_endpoint(host, address)

    def status(self) -> dict[str, TunnelStatus]:
        """The tunnels, by name, without what the agents above know."""
        return {tunnel.name: self._tunnel_status(tunnel) for tunnel in self._wanted}

    async def _watch_kernel(self) -> None:
        async for _ in changes():
            await asyncio.sleep(_DEBOUNCE)
            self._wake.set()

    async def _reconcile(self, netlink: Netlink, host: Host) -> None:
        before = {name: state.link for name, state in self._states.items()}
        wanted = {tunnel.name: tunnel for tunnel in self._wanted}
        for name in self._ledger.entries("link").keys() - wanted.keys():
            await self._remove(host, name)
            self._states.pop(name, None)
        for tunnel in self._wanted:
            await self._reconcile_one(netlink, host, tunnel)
        for name in self._states.keys() - wanted.keys():
            del self._states[name]
        for loopback in self._loopbacks:
            await self._add_loopback(host, loopback)
        endpoints = {f"{address}/32" for address in (*self._loopbacks, *(tunnel.local for tunnel in self._wanted))}
        for address in self._ledger.entries("endpoint").keys() - endpoints:
            await self._remove_endpoint(host, address)
        self._gate()
        if before != {name: state.link for name, state in self._states.items()}:
            self._on_change()

    async def _remove(self, host: Host, name: str) -> None:
        """Remove a link of ours; where the host refuses, say so, and leave it in the ledger for the next time."""
        try:
            await host.remove(name)
        except HostError as error:
            self._log.error("tunnel not removed", tunnel=name, problem=str(error))
        else:
            self._log.info("tunnel removed", tunnel=name)

    async def _remove_endpoint(self, host: Host, address: str) -> None:
        try:
            await host.remove_endpoint(address)
        except HostError as error:
            self._log.error("endpoint not removed", address=address, problem=str(error))

    async def _add_loopback(self, host: Host, address: IPv4Address) -> None:
        try:
            await host.add_loopback(address)
        except HostError as error:
            self._log.error("address not added", address=str(address), problem=str(error))

    async def _reconcile_one(self, netlink: Netlink, host: Host, tunnel: Tunnel) -> None:
        old = self._states.get(tunnel.name)
        began = time.monotonic()
        try:
            state = await self._match(netlink, host, tunnel)
        except HostError as error:
            state = _State(tunnel, problem=str(error))
            if old is None or old.problem != state.problem:
                self._log.error("tunnel failed", tunnel=tunnel.name, problem=str(error))
        self._states[tunnel.name] = state
        if state.link != (old.link if old else None) and state.link is not None:
            self._log.info(
                "tunnel up" if state.link.up else "tunnel made",
                tunnel=tunnel.name, mtu=state.link.mtu, address=str(tunnel.address), datapath=self._backend,
                took_ms=round((time.monotonic() - began) * 1000),
            )  # fmt: skip

    async def _match(self, netlink: Netlink, host: Host, tunnel: Tunnel) -> _State:
        carrier = self._carriers.get(tunnel.name, Carrier())
        mtu, reason = await self._mtu(netlink, tunnel, carrier)
        found, link = await host.find(tunnel)
        wanted = plan.Wanted(tunnel, self._backend or "kernel", mtu, carrier.up, _RP_FILTER[tunnel.rp_filter])
        try:
            actions = plan.plan(wanted, found)
            await host.carry_out(tunnel, actions)
        except GreUnsupported:
            if self._fixed == "kernel":
                raise
            self._backend = "userspace"
            self._log.info("the kernel has no GRE; it is done in user space", tunnel=tunnel.name)
            return await self._match(netlink, host, tunnel)
        self._backend = wanted.backend
        if actions or link is None:
            link = await netlink.link(tunnel.name)
        if link is None:
            raise HostError(f"interface {tunnel.name} went away while it was set up")
        view = LinkView(
            tunnel.name,
            link.index,
            link.mtu,
            tunnel.address.ip,
            link.up and carrier.up,
            carrier.generation,
            tuple(address.ip for address in tunnel.addresses),
        )
        return _State(tunnel, view, reason)

    async def _mtu(self, netlink: Netlink, tunnel: Tunnel, carrier: Carrier) -> tuple[int, str]:
        if tunnel.mtu is not None:
            return tunnel.mtu, "configured"
        lower = await netlink.link_towards(tunnel.remote, tunnel.local)
        if lower is None or lower.name == tunnel.name:
            lower = await netlink.link_towards(tunnel.remote)
        path = await netlink.link_towards(carrier.remote) if carrier.remote is not None else None
        return tunnel_mtu(tunnel, carrier, path.mtu if path else None, (lower.name, lower.mtu) if lower else None)

    def _gate(self) -> None:
        """Let the pumps forward only while their child is up: at other times GRE would leave in the clear."""
        if self._host is not None:
            for name, pump in self._host.pumps.items():
                pump.forwarding = self._carriers.get(name, Carrier()).up

    def _tunnel_status(self, tunnel: Tunnel) -> TunnelStatus:
        state = self._states.get(tunnel.name, _State(tunnel))
        up = state.link is not None and state.link.up
        pump = self._host.pumps.get(tunnel.name) if self._host else None
        return TunnelStatus(
            name=tunnel.name,
            state="up" if up else "down" if state.link is None else "waiting",
            datapath=self._backend,
            local=str(tunnel.local),
            remote=str(tunnel.remote),
            address=str(tunnel.address),
            addresses=tuple(map(str, tunnel.addresses)),
            mtu=state.link.mtu if state.link else None,
            mtu_reason=state.mtu_reason,
            problem=state.problem,
            dropped=dict(pump.dropped) if pump else {},
        )
