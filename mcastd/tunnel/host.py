"""Carrying out a tunnel's plan on the host: links, addresses and sysctls, each remembered before it is changed."""

import asyncio
from ipaddress import IPv4Address, IPv4Interface

from mcastd.config.model import Tunnel
from mcastd.errors import HostError
from mcastd.system import sysctl
from mcastd.system.ledger import Ledger
from mcastd.system.netlink import GreLink, Link, Netlink
from mcastd.tunnel import plan
from mcastd.tunnel.userspace import Pump

ALIAS = "made by mcastd"
_LOOPBACK = 1
_IPV6_MTU = 1280
_KIND = {"kernel": "gre", "userspace": "tun"}


class Host:
    """The host as far as tunnels are concerned: ``find`` reads it, ``carry_out`` changes it, ``remove`` puts back."""

    def __init__(self, netlink: Netlink, ledger: Ledger) -> None:
        self._netlink = netlink
        self._ledger = ledger
        self.pumps: dict[str, Pump] = {}

    async def find(self, tunnel: Tunnel) -> tuple[plan.Found, Link | None]:
        """What the host shows of one tunnel, and its link if there is one."""
        link = await self._netlink.link(tunnel.name)
        everywhere = await self._netlink.addresses()
        endpoint_present = any(address.interface.ip == tunnel.local for address in everywhere)
        if link is None:
            return plan.Found(endpoint_present=endpoint_present), None
        gre = link.gre
        return plan.Found(
            exists=True,
            ours=self._ours(link),
            kind=link.kind,
            gre=(gre.local, gre.remote, gre.ttl, gre.key) if gre else None,
            pump_running=tunnel.name in self.pumps and self.pumps[tunnel.name].started,
            mtu=link.mtu,
            up=link.up,
            multicast=link.multicast,
            addresses=tuple((a.interface, a.peer) for a in everywhere if a.index == link.index),
            endpoint_present=endpoint_present,
            rp_filter=sysctl.read(_rp_filter(tunnel.name)),
        ), link

    async def carry_out(self, tunnel: Tunnel, actions: list[plan.Action]) -> None:
        """Do the actions in order; raises HostError at the first that the host refuses."""
        for action in actions:
            match action:
                case plan.Refuse(reason):
                    raise HostError(reason)
                case plan.AddEndpoint(address):
                    await self._add_endpoint(address)
                case plan.DeleteLink():
                    await self._delete_link(tunnel.name)
                case plan.CreateLink(backend):
                    await self._create(tunnel, backend)
                case plan.AddAddress(address, peer):
                    await self._netlink.add_address((await self._link(tunnel)).index, address, peer)
                case plan.DeleteAddress(address, peer):
                    await self._netlink.delete_address((await self._link(tunnel)).index, address, peer)
                case plan.SetRpFilter(value):
                    sysctl.write(_rp_filter(tunnel.name), value)
                case plan.SetLink(mtu, multicast, up):
                    link = await self._link(tunnel)
                    if mtu is not None and link.mtu < _IPV6_MTU <= mtu:
                        up = await self._enlarge(link, mtu) or up
                    await self._netlink.set_link(link, mtu=mtu, up=up, multicast=multicast)

    async def _enlarge(self, link: Link, mtu: int) -> bool | None:
        """Let IPv6 come back without addresses: below its least MTU it leaves a link, and forgets to be quiet."""
        await self._netlink.set_link(link, up=False)
        await self._netlink.set_link(link, mtu=mtu)
        await self._netlink.quiet_ipv6(link.index)
        return link.up or None

    async def remove(self, name: str) -> None:
        """Take our link of that name away."""
        await self._delete_link(name)
        self._ledger.forget("link", name)

    async def add_loopback(self, address: IPv4Address) -> None:
        """Put an address on the loopback, unless some interface has it already."""
        if all(found.interface.ip != address for found in await self._netlink.addresses()):
            await self._add_endpoint(IPv4Interface(address))

    async def _add_endpoint(self, address: IPv4Interface) -> None:
        self._ledger.remember("endpoint", str(address))
        await self._netlink.add_address(_LOOPBACK, address)

    async def remove_endpoint(self, address: str) -> None:
        """Take an endpoint's address, put there by us, off the loopback."""
        await self._netlink.delete_address(_LOOPBACK, IPv4Interface(address))
        self._ledger.forget("endpoint", address)

    async def _create(self, tunnel: Tunnel, backend: plan.Backend) -> None:
        self._close_pump(tunnel.name)
        # There is no such link: what an earlier life remembered of one no longer holds.
        self._ledger.forget("link", tunnel.name)
        self._ledger.remember("link", tunnel.name, backend)
        try:
            await self._make(tunnel, backend)
        except HostError:
            self._ledger.forget("link", tunnel.name)
            raise
        link = await self._link(tunnel)
        await self._netlink.quiet_ipv6(link.index)
        await self._netlink.set_alias(link.index, ALIAS)

    async def _make(self, tunnel: Tunnel, backend: plan.Backend) -> None:
        if backend == "kernel":
            await self._netlink.add_gre(tunnel.name, GreLink(tunnel.local, tunnel.remote, tunnel.ttl, tunnel.key))
            return
        pump = Pump(tunnel.name, tunnel.local, tunnel.remote, tunnel.key, tunnel.ttl)
        pump.start(asyncio.get_running_loop())
        self.pumps[tunnel.name] = pump

    def _ours(self, link: Link) -> bool:
        """Whether we made it: of a name that we made, somebody may have made another kind of link since."""
        return link.kind == _KIND.get(str(self._ledger.entries("link").get(link.name)))

    def _close_pump(self, name: str) -> None:
        pump = self.pumps.pop(name, None)
        if pump is not None:
            pump.close()

    async def _delete_link(self, name: str) -> None:
        self._close_pump(name)
        link = await self._netlink.link(name)
        if link is not None and self._ours(link):
            await self._netlink.delete_link(name)

    async def _link(self, tunnel: Tunnel) -> Link:
        link = await self._netlink.link(tunnel.name)
        if link is None:
            raise HostError(f"interface {tunnel.name} went away while it was set up")
        return link


def _rp_filter(name: str) -> str:
    return f"net/ipv4/conf/{name}/rp_filter"
