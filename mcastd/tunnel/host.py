"""Carrying out a link's plan on the host: links, addresses and sysctls, each remembered before it is changed."""

import asyncio
from ipaddress import IPv4Address, IPv4Interface

from mcastd.errors import HostError
from mcastd.links import Gre, Xfrm
from mcastd.system import sysctl
from mcastd.system.fdstore import FdStore
from mcastd.system.ledger import Ledger
from mcastd.system.netlink import Link, Netlink
from mcastd.tunnel import plan
from mcastd.tunnel.routing import RouteKeeper
from mcastd.tunnel.userspace import Pump

ALIAS = "made by mcastd"
_LOOPBACK = 1
_IPV6_MTU = 1280
# What the ledger calls a link of ours, and what the kernel does.
_KIND = {"kernel": "gre", "userspace": "tun", "xfrm": "xfrm"}
_MADE_AS = {Gre: "kernel", plan.Pumped: "userspace", Xfrm: "xfrm"}


class Host:
    """The host as far as tunnels are concerned: ``find`` reads it, ``carry_out`` changes it, ``remove`` puts back.

    ``routes`` keeps what is routed through the links.
    """

    def __init__(self, netlink: Netlink, ledger: Ledger, store: FdStore) -> None:
        self.netlink = netlink
        self._store = store
        self.routes = RouteKeeper(netlink, ledger)
        self._ledger = ledger
        self.pumps: dict[str, Pump] = {}

    async def find(self, name: str, endpoint: IPv4Address | None) -> tuple[plan.Found, Link | None]:
        """What the host shows of one link and of the GRE endpoint, and the link if there is one."""
        link = await self.netlink.link(name)
        everywhere = await self.netlink.addresses()
        endpoint_present = any(address.interface.ip == endpoint for address in everywhere)
        if link is None:
            return plan.Found(endpoint_present=endpoint_present), None
        return plan.Found(
            exists=True,
            ours=self._ours(link),
            shape=self._shape(link),
            pump_left=self._store.has(_tun(name)),
            mtu=link.mtu,
            up=link.up,
            multicast=link.multicast,
            addresses=tuple((a.interface, a.peer) for a in everywhere if a.index == link.index),
            endpoint_present=endpoint_present,
            rp_filter=sysctl.read(_rp_filter(name)),
        ), link

    def _shape(self, link: Link) -> plan.Shape | None:
        if link.detail is not None:
            return link.detail
        pump = self.pumps.get(link.name)
        return plan.Pumped(pump.gre) if pump is not None and pump.started else None

    def was_pumped(self, name: str) -> bool:
        """Whether a link that we made, maybe in an earlier life, carries GRE in user space."""
        return self._ledger.entries("link").get(name) == _MADE_AS[plan.Pumped]

    async def carry_out(self, name: str, actions: list[plan.Action]) -> None:
        """Do the actions in order; raises HostError at the first that the host refuses."""
        for action in actions:
            match action:
                case plan.Refuse(reason):
                    raise HostError(reason)
                case plan.AddEndpoint(address):
                    await self._add_endpoint(address)
                case plan.DeleteLink():
                    await self._delete_link(name)
                case plan.CreateLink(shape):
                    await self._create(name, shape)
                case plan.AdoptLink(gre):
                    tun, sock = (self._store.take(left) for left in (_tun(name), _gre(name)))
                    numbers = self._store.take(_sequence(name)) if gre.options.sequence else None
                    self._start(Pump(name, gre, tun=tun, sock=sock, numbers=numbers))
                case plan.AddAddress(address, peer):
                    await self.netlink.add_address((await self._link(name)).index, address, peer)
                case plan.DeleteAddress(address, peer):
                    await self.netlink.delete_address((await self._link(name)).index, address, peer)
                case plan.SetRpFilter(value):
                    _set_rp_filter(name, value)
                case plan.SetLink(mtu, multicast, up):
                    link = await self._link(name)
                    if mtu is not None and link.mtu < _IPV6_MTU <= mtu:
                        up = await self._enlarge(link, mtu) or up
                    await self.netlink.set_link(link, mtu=mtu, up=up, multicast=multicast)

    async def _enlarge(self, link: Link, mtu: int) -> bool | None:
        """Let IPv6 come back without addresses: below its least MTU it leaves a link, and forgets to be quiet."""
        await self.netlink.set_link(link, up=False)
        await self.netlink.set_link(link, mtu=mtu)
        await self.netlink.quiet_ipv6(link.index)
        return link.up or None

    async def remove(self, name: str) -> None:
        """Take our link of that name away, and its routes with it."""
        await self._delete_link(name)
        self.routes.forget(name)
        self._ledger.forget("link", name)

    async def add_loopback(self, address: IPv4Address) -> None:
        """Put an address on the loopback, unless some interface has it already."""
        if all(found.interface.ip != address for found in await self.netlink.addresses()):
            await self._add_endpoint(IPv4Interface(address))

    async def _add_endpoint(self, address: IPv4Interface) -> None:
        self._ledger.remember("endpoint", str(address))
        await self.netlink.add_address(_LOOPBACK, address)

    async def remove_endpoint(self, address: str) -> None:
        """Take an endpoint's address, put there by us, off the loopback."""
        await self.netlink.delete_address(_LOOPBACK, IPv4Interface(address))
        self._ledger.forget("endpoint", address)

    async def _create(self, name: str, shape: plan.Shape) -> None:
        self._close_pump(name)
        # There is no such link: what an earlier life remembered of one no longer holds.
        self._ledger.forget("link", name)
        self._ledger.remember("link", name, _MADE_AS[type(shape)])
        try:
            await self._make(name, shape)
        except HostError:
            self._ledger.forget("link", name)
            raise
        link = await self._link(name)
        await self.netlink.quiet_ipv6(link.index)
        await self.netlink.set_alias(link.index, ALIAS)

    async def _make(self, name: str, shape: plan.Shape) -> None:
        match shape:
            case Gre():
                await self.netlink.add_gre(name, shape)
            case Xfrm():
                await self.netlink.add_xfrm(name, shape)
            case plan.Pumped(gre):
                self._start(Pump(name, gre))

    def _start(self, pump: Pump) -> None:
        pump.start(asyncio.get_running_loop())
        self.pumps[pump.name] = pump
        # Closing the one would take the interface away, and closing the other what waits to be read.
        self._store.keep(_tun(pump.name), pump.tun)
        self._store.keep(_gre(pump.name), pump.sock)
        if pump.numbers is not None:
            self._store.keep(_sequence(pump.name), pump.numbers)

    def _ours(self, link: Link) -> bool:
        """Whether we made it: of a name that we made, somebody may have made another kind of link since."""
        return link.kind == _KIND.get(str(self._ledger.entries("link").get(link.name)))

    def _close_pump(self, name: str) -> None:
        pump = self.pumps.pop(name, None)
        if pump is not None:
            pump.close()
        for descriptor in (_tun(name), _gre(name), _sequence(name)):
            self._store.drop(descriptor)

    async def _delete_link(self, name: str) -> None:
        self._close_pump(name)
        link = await self.netlink.link(name)
        if link is not None and self._ours(link):
            await self.netlink.delete_link(name)

    async def _link(self, name: str) -> Link:
        link = await self.netlink.link(name)
        if link is None:
            raise HostError(f"interface {name} went away while it was set up")
        return link


def _tun(name: str) -> str:
    return f"{name}.tun"


def _gre(name: str) -> str:
    return f"{name}.gre"


def _sequence(name: str) -> str:
    return f"{name}.sequence"


def _rp_filter(name: str) -> str:
    return f"net/ipv4/conf/{name}/rp_filter"


def _set_rp_filter(name: str, value: str) -> None:
    try:
        sysctl.write(_rp_filter(name), value)
    except HostError as error:
        raise HostError(f'{error}; set it before, in conf/default, or have rp_filter = "keep"') from error
