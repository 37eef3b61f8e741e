"""The overlay agent: the VXLAN devices, and whom they send each group to."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Final

from msgspec.structs import replace

from mcastd.config.mtu import VXLAN_HEADERS
from mcastd.errors import HostError
from mcastd.history import History
from mcastd.joined_hosts import JoinedHosts
from mcastd.links import Link
from mcastd.links import Vxlan as Parameters
from mcastd.overlay.desired import OverlayDesired, OverlayLink
from mcastd.overlay.device import Device
from mcastd.overlay.kernel import Vxlan
from mcastd.overlay.report import overlay_problems, overlay_status
from mcastd.overlay_status import OverlayStatus
from mcastd.problems import Problem
from mcastd.system.fdstore import FdStore
from mcastd.system.ledger import Ledger
from mcastd.system.log import Logger
from mcastd.system.sysctl import Sysctls
from mcastd.system.wake import Wake
from mcastd.tunnel.desired import LinkDesired
from mcastd.tunnel.host import Host
from mcastd.tunnel.kernel import Netlink
from mcastd.tunnel.userspace import GreDevices

_AUDIT_PERIOD: Final = 30.0  # seconds between two looks at the host without a notification
_RETRY_PERIOD: Final = 2.0  # seconds to the next attempt after a failure


class OverlayAgent:
    """All overlays. ``on_change`` is called after what status shows may have changed."""

    name: Final = "overlay"

    def __init__(
        self,
        *,
        netlink: Netlink,
        vxlan: Vxlan,
        sysctls: Sysctls,
        devices: GreDevices,
        joined: JoinedHosts,
        ledger: Ledger,
        store: FdStore,
        history: History,
        log: Logger,
        on_change: Callable[[], None],
    ) -> None:
        """``joined`` are the hosts that want groups."""
        self._netlink = netlink
        self._vxlan = vxlan
        self._joined = joined
        self._history = history
        self._log = log
        self._on_change = on_change
        self._host = Host(netlink, sysctls, devices, ledger, store, history.repaired, overlays=True)
        self.wake = Wake()
        self._work = asyncio.Event()  # some device has something to do
        self._stepping = asyncio.Lock()  # changes reach the kernel in their order
        self._desired = OverlayDesired()
        self._devices: dict[str, Device] = {}  # by the overlay's name
        self._problem: str | None = None  # why nothing is known of the host
        self._shown: object = None  # what on_change was called for last
        joined.listen(self._joined_changed)

    def configure(self, desired: OverlayDesired) -> None:
        """Set the overlays."""
        if desired != self._desired:
            self._desired = desired
            self.wake.set()

    async def settled(self) -> None:
        """Return when the loop has acted on the last ``configure``, or has failed and says so in status."""
        await self.wake.settled()

    async def run(self) -> None:
        """Reconcile at every nudge, after changes of links, and periodically; work off what hosts want at once."""
        while True:
            if not self._is_needed:  # then nothing is asked of the kernel
                self._devices.clear()
                self.wake.finished()
                await self.wake.wait(_AUDIT_PERIOD)
                continue
            try:
                await self._follow()
            except* HostError as errors:
                self._problem = str(errors.exceptions[0])
                self._show()
                self.wake.finished()
                await self.wake.wait(_RETRY_PERIOD)

    async def close(self) -> None:
        """Remove the devices that mcastd has made."""
        if not self._host.made():
            return
        async with self._netlink:
            for name in self._host.made():
                await self._remove(name)

    def status(self, now: float) -> Mapping[str, OverlayStatus]:
        """Each overlay, by name."""
        devices = self._devices
        return {
            link.config.name: overlay_status(link, devices.get(link.config.name)) for link in self._desired.overlays
        }

    def problems(self) -> Iterator[Problem]:
        """What of the overlays is not as configured."""
        if self._problem is not None:
            yield Problem("overlay_failed", self.name, f"overlays: {self._problem}")
        for device in self._devices.values():
            yield from overlay_problems(device)

    @property
    def _is_needed(self) -> bool:
        return bool(self._desired.overlays or self._host.made())

    async def _follow(self) -> None:
        async with self._netlink, self._netlink.changes_of_links() as changes, asyncio.TaskGroup() as group:
            self.wake.set()  # for what has changed before
            tasks = [group.create_task(self.wake.follow(changes)), group.create_task(self._replicate())]
            while self._is_needed:
                failed = any(device.problem for device in self._devices.values())
                await self.wake.wait(_RETRY_PERIOD if failed else _AUDIT_PERIOD)
                await self._reconcile()
                self.wake.finished()
            for task in tasks:
                task.cancel()

    # Devices

    async def _reconcile(self) -> None:
        links = {link.config.name: link for link in self._desired.overlays}
        for name in {*self._host.made(), *self._devices} - links.keys():
            self._devices.pop(name, None)
            await self._remove(name)
        for name, link in links.items():
            device = self._devices.get(name)
            if device is None:
                device = self._devices[name] = Device(link, self._vxlan, self._joined)
            device.configure(link)
            try:
                await self._match(device, link)
                device.problem = None
            except HostError as error:
                self._failed(device, error)
        self._problem = None
        self._work.set()
        self._show()

    async def _match(self, device: Device, link: OverlayLink) -> None:
        """Make the device as desired; it is set up when our queries have somewhere to go."""
        config = link.config
        parameters = Parameters(config.vni, config.local, config.port, link.ageing)
        network = await self._network(config.local)
        device.down = None if network.up else network.name
        mtu = config.mtu or network.mtu - VXLAN_HEADERS
        desired = LinkDesired(config.name, parameters, mtu, up=False, addresses=((config.address, None),))
        found = await self._host.match(desired)
        if not link.guarded:  # one that is up stays up, as it is: set down, it would forget where the machines are
            raise HostError(
                f"{config.name} counts as down: the nftables table that refuses what comes from no member is missing"
            )
        if device.index != found.index:
            await device.attach(found.index)
        async for _ in device.look():
            await asyncio.sleep(0)
        if device.replication.differs and device.is_up:
            self._history.repaired(config.name, "entries")
        await self._work_off(device)
        if not found.up:
            found = await self._host.match(replace(desired, up=True))
        if not device.is_up:
            self._log.info("overlay_up", overlay=config.name, mtu=found.mtu, mode=device.replication.mode)
        device.mtu, device.is_up = found.mtu, found.up

    async def _network(self, local: IPv4Address) -> Link:
        """The interface that has our address in the network that carries VXLAN."""
        indexes = {one.index for one in await self._netlink.addresses() if one.interface.ip == local}
        for link in await self._netlink.links():
            if link.index in indexes:
                return link
        raise HostError(f"{local} is no address of this host")

    async def _remove(self, name: str) -> None:
        """Remove a device; what the host refuses stays in the ledger for the next time."""
        try:
            if await self._host.remove(name):
                self._log.info("overlay_removed", overlay=name)
        except HostError as error:
            self._log.error("overlay_not_removed", overlay=name, problem=str(error))

    def _failed(self, device: Device, error: HostError) -> None:
        if device.problem != str(error):
            self._log.error("overlay_failed", overlay=device.name, problem=str(error))
        device.problem = str(error)
        device.detach()

    # Entries

    def _joined_changed(self, name: str, groups: Collection[IPv4Address]) -> None:
        device = self._devices.get(name)
        if device is not None:
            device.changed(groups)
            self._work.set()

    async def _replicate(self) -> None:
        """Work off what hosts want, some groups at a time."""
        while True:
            await self._work.wait()
            self._work.clear()
            for device in list(self._devices.values()):
                try:
                    await self._work_off(device)
                except HostError as error:
                    self._failed(device, error)
                    self.wake.set()
            self._show()

    async def _work_off(self, device: Device) -> None:
        async with self._stepping:
            while device.is_due:
                await device.step()
                await asyncio.sleep(0)

    def _show(self) -> None:
        """Call ``on_change`` if what others or status see has changed."""
        shown = (self._problem, [_seen(one) for one in self._devices.values()])
        if shown != self._shown:
            self._shown = shown
            self._on_change()


def _seen(device: Device) -> tuple[object, ...]:
    """What others or status see of a device."""
    return device.is_up, device.problem, device.down, len(device.unreachable), len(device.replication.inexact)
