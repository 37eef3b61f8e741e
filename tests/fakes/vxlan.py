"""The entries of VXLAN devices, in memory: for the overlay agent the interface ``mcastd.overlay.kernel.Vxlan``."""

import asyncio
import errno
import os
from collections import defaultdict
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import TypeVar

from mcastd.errors import HostError
from mcastd.net.vxlan import EVERY, Forwarding, Replica, mac_of

T = TypeVar("T")
LATENCY = 0.0005
"""Seconds that each request takes."""


class FakeVxlan:
    """``kind`` is what the kernel can do: "mdb", "mac" or "flood". Entries stay when the process ends."""

    def __init__(self, kind: str = "mdb") -> None:
        self.kind = kind
        self.mdb: defaultdict[int, set[Replica]] = defaultdict(set)
        self.fdb: defaultdict[int, set[Forwarding]] = defaultdict(set)
        self.refuses: int | None = None  # what changes fail with
        self.changes: list[str] = []

    def learns(self, index: int, mac: bytes, endpoint: str) -> None:
        """A host has sent something from behind an endpoint."""
        self.fdb[index] = {one for one in self.fdb[index] if one.mac != mac}
        self.fdb[index].add(Forwarding(mac, IPv4Address(endpoint), learned=True))

    def sends(self, index: int, group: str, source: str) -> set[str]:
        """The endpoints that get a packet, as the kernel finds them."""
        address, of = IPv4Address(group), IPv4Address(source)
        for wanted in (of, None):
            found = {one.endpoint for one in self.mdb[index] if (one.group, one.source) == (address, wanted)}
            if found and int(address) >> 8 != 0xE00000:
                return set(map(str, found))
        for mac in (mac_of(address), EVERY):
            if found := {one.endpoint for one in self.fdb[index] if one.mac == mac}:
                return set(map(str, found))
        return set()

    async def has_mdb(self, index: int) -> bool:
        await asyncio.sleep(LATENCY)
        return self.kind == "mdb"

    async def replicas(self, index: int) -> tuple[Replica, ...]:
        await asyncio.sleep(LATENCY)
        return tuple(self.mdb[index])

    async def add_replicas(self, index: int, added: Iterable[Replica]) -> None:
        for one in await self._change("add", added):
            self.mdb[index].add(one)

    async def remove_replicas(self, index: int, removed: Iterable[Replica]) -> None:
        self.mdb[index] -= set(await self._change("remove", removed))

    async def forwarding(self, index: int) -> tuple[Forwarding, ...]:
        await asyncio.sleep(LATENCY)
        return tuple(self.fdb[index])

    async def endpoint(self, index: int, mac: bytes) -> IPv4Address | None:
        await asyncio.sleep(LATENCY)
        return next((one.endpoint for one in self.fdb[index] if one.mac == mac and one.learned), None)

    async def add_forwarding(self, index: int, added: Iterable[Forwarding]) -> None:
        added = list(added)
        if self.kind == "flood" and any(one.mac != EVERY for one in added):
            await self._refuse(errno.EOPNOTSUPP)
        self.fdb[index] |= set(await self._change("add", added))

    async def remove_forwarding(self, index: int, removed: Iterable[Forwarding]) -> None:
        self.fdb[index] -= set(await self._change("remove", removed))

    async def _change(self, verb: str, entries: Iterable[T]) -> list[T]:
        found = list(entries)
        await asyncio.sleep(LATENCY)
        if self.refuses is not None and found:
            await self._refuse(self.refuses)
        self.changes += [f"{verb} {one}" for one in found]
        return found

    async def _refuse(self, number: int) -> None:
        error = OSError(number, os.strerror(number))
        raise HostError(f"entries: {error.strerror}") from error
