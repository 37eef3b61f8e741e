"""What arrives on a host in memory, counted by the table of streams: ``mcastd.streams.agent.Counters``."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from mcastd.errors import HostError
from mcastd.net.nfnetlink import Element
from mcastd.net.sock_diag import UdpSocket
from mcastd.net.xfrm import Replay, Sa
from mcastd.streams.table import ACCEPTED, CHILD, DELIVERED, FORWARDED, NAME, SET, SINCE, SINCE_TIMEOUT, TIMEOUT, TUNNEL
from tests.fakes.nftables import FakeNftables

SOURCE = "100.15.30.5"
_PART = 38


def key(tunnel: str, source: str, group: str, port: int) -> bytes:
    """What the kernel knows a stream by."""
    addresses = IPv4Address(source).packed + IPv4Address(group).packed
    return tunnel.encode().ljust(16, b"\0") + addresses + port.to_bytes(2, "big") + bytes(2)


@dataclass
class Flow:
    """Packets that arrive ``rate`` times a second; ``due`` is the part of the next one that has passed."""

    counter: str
    rate: float
    due: float = 0.0


@dataclass
class Counted:
    packets: int = 0
    last: float = 0.0


class FakeStreams:
    """Everything that arrives counts from the moment that the table exists."""

    def __init__(self, nft: FakeNftables) -> None:
        self.looks = 0  # how often the streams were read
        self.mtu_of: dict[str, int] = {}  # of interfaces
        self.lost: dict[str, int] = {}  # what the host loses, by the name of the counter
        self.sas: dict[Sa, Replay] = {}  # those of the kernel
        self.sockets: list[UdpSocket] = []  # of applications
        self.hides: str | None = None  # why the sockets cannot be asked for
        self.loses = 0.0  # the part of the packets that the host drops
        self.delivers = True  # whether the host passes on what arrives
        self.refuses: str | None = None  # why the kernel does not answer
        self._nft = nft
        self._flows: dict[bytes | str, Flow] = {}  # by the key of a stream, or the name of a CHILD_SA
        self._set: dict[bytes, Counted] = {}  # the elements
        self._accepted: dict[bytes, Counted] = {}  # likewise, behind the filters
        self._table: tuple[int, int] | None = (
            None  # the handle of the table that they are in, and how often it was emptied
        )
        self._since = 0.0  # since when they are counted
        self._interfaces: dict[str, int] = {}  # packets by the tunnel's name
        self._at = time.monotonic()  # until when packets have been delivered

    # What the agent uses.

    async def counters(self, table: str) -> dict[str, int]:
        await asyncio.sleep(0)
        self._answer()
        found = self._nft.tables.get(table)
        return {} if found is None else {name: packets for name, (packets, _) in found.counts.items()}

    async def elements(self, table: str, name: str) -> AsyncGenerator[list[Element], None]:
        await asyncio.sleep(0)
        self._answer()
        if table != NAME or name not in (SET, ACCEPTED, FORWARDED, SINCE) or self._table is None:
            raise HostError("nftables: No such file or directory")
        if name == SINCE:
            yield [Element(bytes(4), 0, SINCE_TIMEOUT - (self._at - self._since))]
            return
        self.looks += name == SET
        counted = {SET: self._set, ACCEPTED: self._accepted, FORWARDED: dict[bytes, Counted]()}[name]
        elements = [
            Element(key, one.packets, TIMEOUT - (self._at - one.last), one.packets * 100)
            for key, one in counted.items()
        ]
        for start in range(0, len(elements), _PART):
            yield elements[start : start + _PART]
            await asyncio.sleep(0)

    async def mtus(self, names: Iterable[str]) -> dict[str, int]:
        return {name: self.mtu_of[name] for name in names if name in self.mtu_of}

    async def losses(self) -> dict[str, int]:
        return dict(self.lost)

    async def receivers(self, port: int) -> list[UdpSocket]:
        if self.hides is not None:
            raise HostError(self.hides)
        return [one for one in self.sockets if one.port == port]

    async def received(self, names: Iterable[str]) -> dict[str, int]:
        await asyncio.sleep(0)
        self._answer()
        return {name: self._interfaces.get(name, 0) for name in names}

    async def replay(self, sas: Iterable[Sa]) -> AsyncGenerator[tuple[Sa, Replay | None]]:
        for sa in sas:
            yield sa, self.sas.get(sa)

    # What arrives.

    def arrives(
        self, group: str, *, tunnel: str = "gre1", source: str = SOURCE, port: int = 5000, rate: float = 1000.0
    ) -> None:
        """A stream arrives from now on; with a ``rate`` of 0 it ends."""
        self._set_flow(key(tunnel, source, group, port), Flow(TUNNEL + tunnel, rate))

    def decrypts(self, child: str, rate: float = 1000.0) -> None:
        """A CHILD_SA decrypts packets from now on."""
        self._set_flow(child, Flow(CHILD + child, rate))

    def stop(self) -> None:
        """Nothing arrives any more."""
        self._deliver()
        self._flows.clear()

    def _set_flow(self, flow: bytes | str, given: Flow) -> None:
        self._deliver()
        if given.rate:
            self._flows[flow] = given
        else:
            self._flows.pop(flow, None)

    def _answer(self) -> None:
        self._deliver()
        if self.refuses is not None:
            raise HostError(self.refuses)

    def _deliver(self) -> None:
        now = time.monotonic()
        period, self._at = max(0.0, now - self._at), now
        table = self._nft.tables.get(NAME)
        found = None if table is None else (table.handle, table.flushes)
        if found != self._table:
            self._table, self._since = found, now
            self._set.clear()
            self._accepted.clear()
        for name, flow in self._flows.items():
            flow.due += flow.rate * period
            packets, flow.due = int(flow.due), flow.due % 1.0
            if flow.counter.startswith(TUNNEL):
                tunnel = flow.counter.removeprefix(TUNNEL)
                self._interfaces[tunnel] = self._interfaces.get(tunnel, 0) + packets
            if table is not None and packets and flow.counter in table.counts:
                counted = table.counts[flow.counter]
                table.counts[flow.counter] = (counted[0] + packets, counted[1] + packets * 100)
                if isinstance(name, bytes):
                    if self.delivers:
                        accepted = self._accepted.setdefault(name, Counted())
                        accepted.packets += round(packets * (1.0 - self.loses))
                        accepted.last = now
                        behind = flow.counter.replace(TUNNEL, DELIVERED, 1)
                        table.counts[behind] = (table.counts[behind][0] + packets, 0)
                    element = self._set.setdefault(name, Counted())
                    element.packets += packets
                    element.last = now - flow.due / flow.rate
