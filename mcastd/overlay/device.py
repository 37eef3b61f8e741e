"""One VXLAN device: what its entries should be, and their changes in the kernel. It starts nothing by itself."""

import errno
from collections.abc import AsyncIterator, Collection
from ipaddress import IPv4Address
from itertools import islice
from typing import Final

from mcastd.errors import HostError
from mcastd.joined_hosts import JoinedHosts
from mcastd.membership import ANY_SOURCE, DesiredGroup
from mcastd.net.vxlan import Forwarding, Replica
from mcastd.overlay.desired import OverlayLink
from mcastd.overlay.endpoints import Endpoints
from mcastd.overlay.kernel import Vxlan
from mcastd.overlay.plan import QUERIES, Entry, Mode, together
from mcastd.overlay.replication import Replication

_END: Final = object()
_STEP: Final = 1000  # entries that are worked off in one turn, and those of one more group
_GROUPS: Final = 100  # groups likewise
# How the kernel says that it has no such forwarding entries.
_UNSUPPORTED: Final = (errno.EOPNOTSUPP, errno.EINVAL)


class Device:
    """Its methods raise HostError. ``index`` is None until there is a device."""

    def __init__(self, desired: OverlayLink, vxlan: Vxlan, joined: JoinedHosts) -> None:
        self.desired = desired
        self.index: int | None = None
        self.mtu: int | None = None  # of the device, in bytes
        self.is_up = False
        self.problem: str | None = None  # why it is not as desired
        self.down: str | None = None  # the interface to the network that carries VXLAN, if it is down
        self.endpoints = Endpoints(desired.config)
        self.replication = Replication(desired.config.address.ip)
        self.unreachable: dict[IPv4Address, None] = {}  # hosts that want groups, and are behind no endpoint of members
        self._vxlan = vxlan
        self._joined = joined
        self._dirty: dict[IPv4Address, None] = {}  # groups whose hosts may be others than before
        self._unplanned: set[IPv4Address] = set()  # of those, the ones of which nothing was planned yet
        self._missed: set[bytes] = set()  # Ethernet addresses that the kernel has not learned, since the last look
        self._changes = 0  # how often something was changed
        self._is_new = True  # the kernel's entries were not read since the overlay is this one

    @property
    def name(self) -> str:
        """Of the interface."""
        return self.desired.config.name

    @property
    def is_due(self) -> bool:
        """Whether there is something to do."""
        return self.index is not None and bool(self._dirty or self.replication.is_due)

    def configure(self, desired: OverlayLink) -> None:
        """The overlay may be another one."""
        before, self.desired = self.desired, desired
        if before.config != desired.config:
            self.endpoints = Endpoints(desired.config)
            self._begin(self.replication.mode)
        elif before.asking and not desired.asking:
            self.replication.compare()

    def changed(self, groups: Collection[IPv4Address]) -> None:
        """Other hosts want these groups."""
        self._dirty.update(dict.fromkeys(groups))

    async def attach(self, index: int) -> None:
        """The device has this index; it may be one with entries."""
        self.index = index
        self._begin("mdb" if await self._vxlan.has_mdb(index) else "mac")

    def detach(self) -> None:
        """There is no device."""
        self.index, self.is_up = None, False

    def _begin(self, mode: Mode) -> None:
        config = self.desired.config
        self.replication = Replication(config.address.ip, mode)
        self._is_new = True
        self._changes += 1
        self.changed([QUERIES, *config.static, *self._joined.groups(config.name)])
        self._unplanned = set(self._dirty)

    async def look(self) -> AsyncIterator[None]:
        """Read what the kernel has learned and what entries it has, in steps.

        What was read while something was changed is not used.
        """
        if (index := self.index) is None:
            return
        self.replication.differs = False
        changes, forwarding = self._changes, await self._vxlan.forwarding(index)
        found: list[Entry] = [Forwarding(mac, endpoint) for mac, endpoint, learned in forwarding if not learned]
        self._missed.clear()
        before = dict(self.unreachable)
        self.unreachable.clear()
        if self.endpoints.replace(forwarding) or before:
            self.changed([QUERIES, *self.desired.config.static, *self._joined.groups(self.name)])
        if self.replication.mode == "mdb":
            found += await self._vxlan.replicas(index)
        steps = self.replication.found(found)
        while changes == self._changes and next(steps, _END) is not _END:
            yield
        if self._is_new:  # what it has from before is no change of another program
            self.replication.differs = False
            self._is_new = changes != self._changes

    async def step(self) -> None:
        """Plan some groups, and carry out what follows."""
        if (index := self.index) is None:
            return
        planned = 0
        for group in list(islice(self._dirty, _GROUPS)):
            if planned >= _STEP:
                break
            self._dirty.pop(group, None)
            wanting = await self._wanting(index, group)
            self.replication.want(group, wanting)
            self._unplanned.discard(group)
            planned += len(wanting)
        if self._unplanned:  # whose entries would be removed
            return
        added, removed = self.replication.changes(_STEP, self._keeps)
        self._changes += bool(added or removed)
        try:
            await self._vxlan.add_replicas(index, _replicas(added))
            await self._vxlan.add_forwarding(index, _forwarding(added))
        except HostError as error:
            if self.replication.mode != "mac" or getattr(error.__cause__, "errno", None) not in _UNSUPPORTED:
                raise
            self._begin("flood")
        await self._vxlan.remove_replicas(index, _replicas(removed))
        await self._vxlan.remove_forwarding(index, _forwarding(removed))
        self._changes += bool(added or removed)  # what was read meanwhile may have some of it

    def _keeps(self, entry: Entry) -> bool:
        """Whether an entry that is not desired stays for now: its machine may not have said yet what it wants."""
        return self.desired.asking and self.endpoints.admits(entry.endpoint)

    async def _wanting(self, index: int, group: IPv4Address) -> dict[IPv4Address, DesiredGroup]:
        """The endpoints that want a group."""
        config = self.desired.config
        if group == QUERIES or group in config.static:
            return dict.fromkeys(self.endpoints.asked, ANY_SOURCE)
        found: dict[IPv4Address, DesiredGroup] = {}
        for host in self._joined.of(self.name, group):
            endpoint = self.endpoints.learned.get(host.mac) or await self._locate(index, host.mac)
            if endpoint is None:
                if host.address != config.address.ip:
                    self.unreachable[host.address] = None
                continue
            self.unreachable.pop(host.address, None)
            found[endpoint] = together(found[endpoint], host.desired) if endpoint in found else host.desired
        return found

    async def _locate(self, index: int, mac: bytes) -> IPv4Address | None:
        """By which endpoint a host is reached that has just been heard for the first time."""
        if mac in self._missed:
            return None
        endpoint = await self._vxlan.endpoint(index, mac)
        if endpoint is None or not self.endpoints.learn(mac, endpoint):
            self._missed.add(mac)
            return None
        self.changed([QUERIES, *self.desired.config.static])
        return endpoint


def _replicas(entries: Collection[Entry]) -> list[Replica]:
    return [one for one in entries if isinstance(one, Replica)]


def _forwarding(entries: Collection[Entry]) -> list[Forwarding]:
    return [one for one in entries if isinstance(one, Forwarding)]
