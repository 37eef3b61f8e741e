"""Applies a desired link to the host: the link, its addresses and sysctls. The ledger has what mcastd has made."""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface
from typing import Final

from mcastd.errors import HostError
from mcastd.links import Address, Gre, Link, Vxlan, Xfrm
from mcastd.system.fdstore import FdStore
from mcastd.system.ledger import Ledger
from mcastd.system.ledger_file import ENDPOINT_LABEL
from mcastd.system.sysctl import Sysctls
from mcastd.tunnel import addresses, marks
from mcastd.tunnel.desired import LinkDesired, Parameters, TunGre, differences
from mcastd.tunnel.kernel import Netlink
from mcastd.tunnel.marks import ALIAS, ENDPOINT, LINK, LOOPBACK, RECORDED, is_marked
from mcastd.tunnel.routing import RouteKeeper
from mcastd.tunnel.userspace import DESCRIPTORS, GreDevices, Pump

_IPV6_MTU: Final = 1280


class Host:
    """The links of mcastd on this host, those of VXLAN or all others. ``routes`` keeps what is routed through them.

    Its methods raise HostError, and need ``netlink`` to be open. ``repaired`` is called with what another program had
    changed: the thing's name, and what of it.
    """

    def __init__(
        self,
        netlink: Netlink,
        sysctls: Sysctls,
        devices: GreDevices,
        ledger: Ledger,
        store: FdStore,
        repaired: Callable[[str, str], None],
        *,
        overlays: bool = False,
    ) -> None:
        self.netlink = netlink
        self.routes = RouteKeeper(netlink, ledger, repaired)
        self.changes: Counter[str] = Counter()  # by the link's name, how often its parameters were changed in place
        self.pumps: dict[str, Pump] = {}  # by the link's name, those that run
        self._sysctls = sysctls
        self._devices = devices
        self._ledger = ledger
        self._store = store
        self._own_links: dict[str, int] = {}  # by name, the indexes of those that this process has seen to be ours
        self._own_ends: set[str] = set()  # addresses that the configuration of this process has had on the loopback
        self._repaired = repaired
        self._overlays = overlays
        self._matched: dict[str, LinkDesired] = {}  # by name, what each link has been made like
        self._local: set[IPv4Address] = set()  # addresses that this host had at the last look

    async def adopt(self) -> list[str]:
        """Record what a previous process has made and the ledger does not have; returns it in words."""
        return await marks.adopt(self.netlink, self._ledger)

    async def find(self, name: str) -> Link | None:
        """The link of that name, if mcastd has made it, this process or a previous one."""
        link = await self.netlink.link(name)
        return link if link is not None and self._is_ours(link) else None

    def made(self) -> list[str]:
        """The links that mcastd has made, those of GRE before the XFRM interfaces that encrypt it."""
        recorded = self._ledger.entries(LINK)
        found = (name for name, kind in recorded.items() if (kind == RECORDED[Vxlan]) is self._overlays)
        return sorted(found, key=lambda name: recorded[name] == RECORDED[Xfrm])

    def was_in_user_space(self, name: str) -> bool:
        """Whether mcastd has made a TUN interface of that name, this process or a previous one."""
        return self._ledger.entries(LINK).get(name) == RECORDED[TunGre]

    async def match(self, desired: LinkDesired) -> Link:
        """Make a link as desired, whatever the host has; stops at the first step that the host refuses."""
        name = desired.name
        link = await self.netlink.link(name)
        if link is not None and not self._is_ours(link):
            raise HostError(f"an interface {name} exists and mcastd did not make it; remove it, or choose a new name")
        if desired.endpoint is not None:
            await self.add_loopback(desired.endpoint)
        if link is not None and self._parameters(link) != desired.parameters and not self._adopt(link, desired):
            link = await self._change(link, desired.parameters)
        before = self._matched.get(name)
        is_new = link is None
        if link is None:
            link = await self._create(name, desired.parameters)
        changed = list(differences(link, before, desired)) if before is not None else []
        if link.alias != ALIAS:  # it was made just now, or in an attempt that was not finished
            await self.netlink.disable_ipv6_addresses(link)
            await self.netlink.set_link(link, alias=ALIAS)
            changed.append("alias")
        changed += self._match_rp_filter(desired, before)
        changed += await self._match_addresses(link, desired, before)
        await self._match_flags(link, desired)
        if before is not None and before.parameters == desired.parameters:
            for what in changed if not is_new else ["link"]:
                self._repaired(name, what)
        self._matched[name] = desired
        return await self._existing(name)

    async def remove(self, name: str) -> bool:
        """Delete the link and with it its routes; returns False, and forgets it, if it is another program's."""
        link = await self.netlink.link(name)
        await self._delete(name)
        self._matched.pop(name, None)
        self.routes.forget(name)
        is_foreign = link is not None and not self._is_ours(link)
        self._ledger.forget(LINK, name)
        return not is_foreign

    async def add_loopback(self, address: IPv4Address) -> None:
        """Add an address to the loopback, unless it is one of those that this host has."""
        was_local = address in self._local
        self._local.add(address)
        if await self.netlink.is_local(address):
            return
        if all(found.interface.ip != address for found in await self.netlink.addresses()):  # on a link that is down
            key = f"{address}/32"
            self._ledger.forget(ENDPOINT, key)
            self._ledger.remember(ENDPOINT, key, ENDPOINT_LABEL)
            await self.netlink.add(Address(LOOPBACK, IPv4Interface(address), label=ENDPOINT_LABEL))
            if was_local:
                self._repaired("lo", f"address {address}")

    def name_loopbacks(self, addresses: Iterable[IPv4Address]) -> None:
        """The configuration has these addresses on the loopback."""
        self._own_ends.update(f"{address}/32" for address in addresses)

    async def remove_loopback(self, address: str) -> None:
        """Delete an address from the loopback, as the ledger has it, if it has the label of mcastd.

        mcastd 0.1 gave no label. What it recorded is removed if the configuration has named it.
        """
        label = str(self._ledger.entries(ENDPOINT).get(address) or "")
        self._local.discard(IPv4Interface(address).ip)
        if label or address in self._own_ends:
            await self.netlink.delete(Address(LOOPBACK, IPv4Interface(address), label=label))
        self._ledger.forget(ENDPOINT, address)

    def _is_ours(self, link: Link) -> bool:
        """By the ledger and its mark; one that this process has made stays ours if another program changes the mark."""
        if self._own_links.get(link.name) != link.index:
            if not is_marked(link, self._ledger.entries(LINK).get(link.name)):
                return False
            self._own_links[link.name] = link.index
        return True

    def _parameters(self, link: Link) -> Parameters | None:
        """None for a TUN interface that no pump of this process serves."""
        if link.parameters is not None:
            return link.parameters
        pump = self.pumps.get(link.name)
        return TunGre(pump.gre) if pump is not None else None

    def _adopt(self, link: Link, desired: LinkDesired) -> bool:
        """Continue with the TUN interface of the previous process, if it has left its descriptors."""
        name, parameters = desired.name, desired.parameters
        inherits = self._store.has(f"{name}.tun") and self._parameters(link) is None
        if not inherits or not isinstance(parameters, TunGre):
            return False
        left = {part: self._store.take(f"{name}.{part}") for part in DESCRIPTORS}
        self._start(
            Pump(name, parameters.gre, {part: one for part, one in left.items() if one is not None}, self._devices)
        )
        return True

    async def _change(self, link: Link, parameters: Parameters) -> Link | None:
        """Change the parameters of a link in place, or delete it: what sockets have joined on it would be lost."""
        name, pump = link.name, self.pumps.get(link.name)
        if isinstance(link.parameters, Gre | Vxlan) and isinstance(parameters, Gre | Vxlan):
            with suppress(HostError):
                await self.netlink.change_link(link, parameters)
                self.changes[name] += 1
                return await self._existing(name)
        elif isinstance(parameters, TunGre) and pump is not None:
            successor = Pump(name, parameters.gre, {"tun": os.dup(pump.descriptors["tun"])}, self._devices)
            self._close_pump(name)
            self._start(successor)
            self.changes[name] += 1
            return link
        await self._delete(name)
        return None

    async def _create(self, name: str, parameters: Parameters) -> Link:
        self._close_pump(name)
        self._ledger.forget(LINK, name)  # there is no such link: what is recorded of one is outdated
        self._ledger.remember(LINK, name, RECORDED[type(parameters)])
        try:
            if isinstance(parameters, TunGre):
                self._start(Pump(name, parameters.gre, devices=self._devices))
            else:
                await self.netlink.add_link(name, parameters)
        except HostError:
            self._ledger.forget(LINK, name)
            raise
        return await self._existing(name)

    def _match_rp_filter(self, desired: LinkDesired, before: LinkDesired | None) -> list[str]:
        """Returns what another program had changed."""
        name, value = f"net/ipv4/conf/{desired.name}/rp_filter", desired.rp_filter
        if value is None or self._sysctls.read(name) == value:
            return []
        try:
            self._sysctls.write(name, value)
        except HostError as error:
            raise HostError(f'{error}; set it before, in conf/default, or have rp_filter = "keep"') from error
        return ["rp_filter"] if before is not None and before.rp_filter == value else []

    async def _match_addresses(self, link: Link, desired: LinkDesired, before: LinkDesired | None) -> list[str]:
        """Returns what another program had changed."""
        if not desired.addresses:
            return []
        found = [(address.interface, address.peer) for address in await self.netlink.addresses(link)]
        plan = addresses.plan(desired.addresses, found)
        for entry in plan.delete_first:
            await self.netlink.delete(Address(link.index, *entry))
        for entry in plan.add:
            await self.netlink.add(Address(link.index, *entry))
        for entry in plan.delete_last:
            await self.netlink.delete(Address(link.index, *entry))
        differ = plan.delete_first or plan.add or plan.delete_last
        return ["addresses"] if differ and before is not None and before.addresses == desired.addresses else []

    async def _match_flags(self, link: Link, desired: LinkDesired) -> None:
        """MTU, state and MULTICAST. A link that is up stays up: set down, it would lose the routes of applications."""
        mtu = desired.mtu if link.mtu != desired.mtu else None
        up = link.up or desired.up
        if link.mtu < _IPV6_MTU <= desired.mtu:
            # IPv6 leaves a link of a lesser MTU, and when it comes back it makes addresses again.
            await self.netlink.set_link(link, up=False)
            await self.netlink.set_link(link, mtu=mtu)
            await self.netlink.disable_ipv6_addresses(link)
            await self.netlink.set_link(link, up=True if up else None, multicast=True)
        elif mtu is not None or up != link.up or not link.multicast:
            await self.netlink.set_link(link, mtu=mtu, up=True if up != link.up else None, multicast=not link.multicast)

    def _start(self, pump: Pump) -> None:
        try:
            pump.start(asyncio.get_running_loop())
        except OSError as error:
            pump.close()
            raise HostError(f"{pump.name}: its descriptors cannot be polled: {error.strerror}") from error
        self.pumps[pump.name] = pump
        for part, descriptor in pump.descriptors.items():
            self._store.keep(f"{pump.name}.{part}", descriptor)

    def _close_pump(self, name: str) -> None:
        pump = self.pumps.pop(name, None)
        if pump is not None:
            pump.close()
        for part in DESCRIPTORS:
            self._store.drop(f"{name}.{part}")

    async def _delete(self, name: str) -> None:
        self._close_pump(name)
        link = await self.find(name)
        if link is not None:
            await self.netlink.delete_link(link)

    async def _existing(self, name: str) -> Link:
        link = await self.netlink.link(name)
        if link is None:
            raise HostError(f"interface {name} was deleted while it was set up")
        return link
