"""The meter's agent: loads the program, attaches it to the tunnels' interfaces, and reads what it has found out."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Address
from math import inf
from typing import Final, Protocol

from mcastd.config.model import Feed
from mcastd.errors import HostError
from mcastd.meter import maps
from mcastd.meter.desired import FeedKey, MeterDesired, of_any, sequences_of, sides_of
from mcastd.meter.maps import MAX_STREAMS
from mcastd.meter.packet import PairAt, decode, decode_feed_key, decode_key, encode_feed, feed_key, pair_group
from mcastd.meter.pair_program import PAIRS, pair_program
from mcastd.meter.program import FEEDS, PROGRAMS, STREAMS, TOTALS, program
from mcastd.meter.report import Measured, numbered
from mcastd.net import ebpf
from mcastd.net.ebpf import MapKind
from mcastd.problems import Problem
from mcastd.system.fdstore import FdStore
from mcastd.system.ledger import Ledger
from mcastd.system.log import Logger
from mcastd.system.wake import Wake

_REFUSED_PERIOD: Final = 3600.0  # seconds
_AUDIT_PERIOD: Final = 30.0  # seconds between two looks at whether the program is attached
_CLEAN_PERIOD: Final = 600.0  # seconds between two looks for entries that are not needed any more
_KEPT: Final = 2 * 86400.0  # seconds without a packet after which an entry is removed
_SLICE: Final = 128  # entries that are read before other work has a turn
_PAIR_SLICE: Final = 16  # likewise, of pairs
# The maps in the descriptor store, and their names; without a descriptor the kernel empties an array of programs.
_STORED: Final = {STREAMS: "meter-streams", FEEDS: "meter-feeds", PAIRS: "meter-pairs", PROGRAMS: "meter-programs"}
_QDISC: Final = "qdisc"  # the kind of entry in the ledger
_OFF: Final = 'turned off by meter = "off" in [streams]'


class Bpf(Protocol):
    """The functions of ``mcastd.system.bpf`` that are used here; tests replace them. They raise HostError."""

    def create_map(self, kind: MapKind) -> int:
        """The descriptor of a new map."""

    def is_map(self, descriptor: int, kind: MapKind) -> bool:
        """Whether a descriptor is of such a map."""

    def lookup(self, descriptor: int, key: bytes, size: int) -> bytes | None:
        """The value of a key."""

    def update(self, descriptor: int, key: bytes, value: bytes) -> None:
        """Set the value of a key."""

    def delete(self, descriptor: int, key: bytes) -> None:
        """Remove a key."""

    def elements(self, descriptor: int, kind: MapKind, count: int) -> Iterator[list[tuple[bytes, bytes]]]:
        """All that is in a hash map, in parts."""

    async def load_aside(self, name: str, program: bytes) -> int:
        """The descriptor of a program, which is loaded in a thread."""

    def program_id(self, descriptor: int) -> int:
        """What the kernel knows a program by."""


class Ingress(Protocol):
    """The functions of ``mcastd.system.ingress``; tests replace them. They raise HostError."""

    def attach(self, index: int, program: int, number: int) -> Awaitable[bool | None]:
        """Let a program look at what arrives; returns None if it does, else whether a qdisc was made for it."""

    def detach(self, index: int) -> Awaitable[None]:
        """Remove our program."""

    def remove_qdisc(self, index: int) -> Awaitable[None]:
        """Remove the qdisc, unless another program uses it."""


class MeterAgent:
    """What each stream is like. ``problem`` is why not all is measured; None where that is not desired."""

    name = "meter"

    def __init__(
        self,
        *,
        bpf: Bpf,
        ingress: Ingress,
        store: FdStore,
        ledger: Ledger,
        log: Logger,
        on_change: Callable[[], None],
    ) -> None:
        self._bpf = bpf
        self._ingress = ingress
        self._store = store
        self._ledger = ledger
        self._log = log
        self._on_change = on_change
        self.wake = Wake()
        self._kinds = maps.kinds()
        self._desired = MeterDesired()
        self._is_off = False  # whether the configuration says that nothing is measured
        self._maps: dict[str, int] = {}  # descriptors of the maps, by their name; none before the program is loaded
        self._program: int | None = None  # its descriptor
        self._number = 0  # its ID
        self._removed: MeterDesired | None = None  # for what everything was removed last
        self._refusal = ""  # why the kernel refused it
        self._refused_until = 0.0  # before which it is not tried again, monotonic
        self._attached: dict[str, int] = {}  # the indexes of the interfaces that it is attached to, by their name
        self._feeds: dict[FeedKey, bytes] = {}  # as they are in the map
        self._fed: tuple[Feed, ...] | None = None  # of what they were made
        self._refused = 0  # packets of streams that there was no room for, at the last look
        self._compare_at = 0.0  # from when on the program that compares pairs may be loaded; inf: it is
        self._uncompared: str | None = None  # why it was refused
        self._cleaned_at = time.monotonic()  # when entries were removed last, monotonic
        self.problem: str | None = None

    def configure(self, desired: MeterDesired) -> None:
        """Set what is measured, and where."""
        self._is_off = not desired.enabled
        if desired != self._desired:
            self._desired = desired
            self.wake.set()

    async def settled(self) -> None:
        """Return when the loop has acted on the last configure, or has failed."""
        await self.wake.settled()

    async def run(self) -> None:
        """Keep the program attached."""
        while True:
            await self.wake.wait(_AUDIT_PERIOD)
            await self._reconcile()
            self.wake.finished()

    async def close(self) -> None:
        """Remove the program from the interfaces, and what it has counted. Raises HostError."""
        await self._remove_all(self._desired)
        for name in self._ledger.entries(_QDISC):
            self._ledger.forget(_QDISC, name)  # of an interface that is gone, or goes with its tunnel

    def status(self, now: float) -> str | None:
        """Why streams are not measured, or not all, or not all of them."""
        return _OFF if self._is_off else self.problem

    def problems(self) -> Iterator[Problem]:
        """Nothing that is wrong: where streams are not measured, status has a note."""
        return iter(())

    async def read(self, group: IPv4Address | None) -> Measured:
        """What was measured of the streams of one group, or of all."""
        found = Measured(self._attached, self._desired.feeds, time.monotonic())
        if self._program is None:
            return found
        try:
            for part in self._elements():
                found.add(part, group)
                await asyncio.sleep(0)
            for part in self._pairs() if _has_pairs(self._desired) else ():
                found.add_pairs(part)
                await asyncio.sleep(0)
        except HostError as error:
            self._set_problem(str(error))
        return found

    async def numbers(self) -> Mapping[tuple[str, bytes, bytes, int], tuple[int, int]]:
        """How many sequence numbers came and how many did not, by tunnel, source, group and port."""
        found = dict[tuple[str, bytes, bytes, int], tuple[int, int]]()
        if self._program is None or not self._feeds:
            return found
        links = {index: name for name, index in self._attached.items()}
        with suppress(HostError):  # it is read again for what is shown
            for part in self._elements():
                for key, seen, lost in numbered(part, links):
                    before = found.get(key, (0, 0))  # of another unit
                    found[key] = before[0] + seen, before[1] + lost
                await asyncio.sleep(0)
        return found

    async def reset(self) -> None:
        """Measure all streams from the begin again. Raises HostError."""
        await self._remove(lambda _key, _value: True)
        await self._remove_pairs(lambda _key, _value: True)

    async def _reconcile(self) -> None:
        desired = self._desired
        try:
            if not desired.enabled:
                if self._removed is not desired:
                    await self._remove_all(desired)
            elif desired.links or self._program is not None:
                if self._program is None:
                    await self._load_or_remove(desired)
                await self._set_feeds(desired)
                await self._compare(desired)
                await self._attach(desired)
                if desired.links and time.monotonic() - self._cleaned_at >= _CLEAN_PERIOD:
                    await self._clean(desired)
            self._set_problem(self._look_for_room() or (self._uncompared if _has_pairs(desired) else None))
        except HostError as error:
            self._set_problem(str(error))

    async def _remove_all(self, desired: MeterDesired) -> None:
        """Remove the program, also that of the previous process, and what it has counted."""
        await self._detach({**desired.links, **self._attached})
        for name in _STORED.values():
            self._store.drop(name)
        self._unload()
        self._removed = desired

    async def _load_or_remove(self, desired: MeterDesired) -> None:
        try:
            if time.monotonic() < self._refused_until:
                raise HostError(self._refusal)  # the kernel's verifier would take much of a CPU to refuse it once more
            await self._load()
            for part in self._bpf.elements(self._maps[FEEDS], self._kinds[FEEDS], _SLICE):
                self._feeds.update((FeedKey(*decode_feed_key(key)), value) for key, value in part)
                await asyncio.sleep(0)
        except HostError:
            if self._removed is not desired:
                with suppress(HostError):  # why nothing is measured is known
                    await self._remove_all(desired)  # else that of the previous process would count on, for no process
            raise

    async def _load(self) -> None:
        """Make the maps, but for those that the previous process left, and load the program."""
        inherited = self._inherited()
        try:
            self._maps.update(inherited)
            for name, kind in self._kinds.items():
                if name not in self._maps:
                    self._maps[name] = self._bpf.create_map(kind)
            code = ebpf.assemble(program(), self._maps)
            try:
                self._program = await self._bpf.load_aside("mcastd_meter", code)
            except HostError as error:
                self._refusal, self._refused_until = str(error), time.monotonic() + _REFUSED_PERIOD
                raise
            self._number = self._bpf.program_id(self._program)
        except HostError:
            self._unload()
            raise
        if not inherited:
            for name, stored in _STORED.items():
                self._store.keep(stored, self._maps[name])

    def _inherited(self) -> dict[str, int]:
        """The streams that the previous process left, and by what feeds they were measured, and pairs; all or none."""
        taken = {name: self._store.take(stored) for name, stored in _STORED.items()}
        found = {name: descriptor for name, descriptor in taken.items() if descriptor is not None}
        if all(name in found and self._bpf.is_map(found[name], self._kinds[name]) for name in _STORED):
            return found
        for descriptor in found.values():
            os.close(descriptor)
        return {}

    def _unload(self) -> None:
        for descriptor in (*self._maps.values(), *(() if self._program is None else (self._program,))):
            os.close(descriptor)
        self._maps, self._program, self._feeds, self._attached = {}, None, {}, {}
        self._refused, self._fed, self._compare_at, self._uncompared = 0, None, 0.0, None

    async def _set_feeds(self, desired: MeterDesired) -> None:
        """What a stream is has changed, also since the previous process: its numbers begin again."""
        if desired.feeds is self._fed:
            return
        sequences, sides = sequences_of(desired.feeds), sides_of(desired.feeds)
        await asyncio.sleep(0)
        changed, pairs, descriptor = list[FeedKey](), set[bytes | None](), self._maps[FEEDS]
        for place, key in enumerate((*(self._feeds.keys() - sequences.keys()), *sequences)):
            if place % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            sequence = sequences.get(key)
            value = None if sequence is None else encode_feed(sequence, sides.get(key))
            if value == self._feeds.get(key):
                continue
            changed.append(key)
            pairs.update(pair_group(one) for one in (value, self._feeds.get(key)) if one is not None)
            if value is None:
                self._bpf.delete(descriptor, feed_key(*key))
                del self._feeds[key]
            else:
                self._bpf.update(descriptor, feed_key(*key), value)
                self._feeds[key] = value
        if changed:
            await self._remove(of_any(changed))
        if pairs - {None}:
            await self._remove_pairs(lambda key, _value: key[:4] in pairs)
        self._fed = desired.feeds

    async def _compare(self, desired: MeterDesired) -> None:
        """Load the program that compares pairs, the first time that there is one."""
        if time.monotonic() < self._compare_at or not _has_pairs(desired):
            return
        try:
            loaded = await self._bpf.load_aside("mcastd_pair", ebpf.assemble(pair_program(), self._maps))
            try:
                self._bpf.update(self._maps[PROGRAMS], bytes(4), loaded.to_bytes(4, sys.byteorder))
            finally:
                os.close(loaded)  # the map holds it
            self._compare_at, self._uncompared = inf, None
        except HostError as error:
            self._compare_at = time.monotonic() + _REFUSED_PERIOD
            self._uncompared = f"A and B are not compared: {error}"

    def _look_for_room(self) -> str | None:
        """Whether streams came since the last look that there is no room for."""
        if self._program is None:
            return None
        before, raw = self._refused, self._bpf.lookup(self._maps[TOTALS], bytes(4), 8)
        self._refused = int.from_bytes(raw or b"", sys.byteorder)
        return f"there is room for {MAX_STREAMS} streams, and more have come" if self._refused > before else None

    async def _attach(self, desired: MeterDesired) -> None:
        for name in self._attached.keys() - desired.links.keys():
            del self._attached[name]  # its interface is gone
        refused = list[str]()
        for name, index in desired.links.items():
            try:
                await self._attach_to(name, index)
            except HostError as error:  # the other interfaces do not wait for it
                self._attached.pop(name, None)
                refused.append(f"{name}: {error}")
        if refused:
            raise HostError("; ".join(refused))

    async def _attach_to(self, name: str, index: int) -> None:
        assert self._program is not None
        made = await self._ingress.attach(index, self._program, self._number)
        if made:
            self._ledger.remember(_QDISC, name)
        if made is not None:
            self._log.info("meter_attached", interface=name)
        self._attached[name] = index

    async def _detach(self, links: dict[str, int]) -> None:
        for name, index in links.items():
            await self._ingress.detach(index)
            if self._ledger.has(_QDISC, name):
                await self._ingress.remove_qdisc(index)
                self._ledger.forget(_QDISC, name)

    async def _clean(self, desired: MeterDesired) -> None:
        """Remove the entries of streams that are gone, and of interfaces that are."""
        self._cleaned_at = time.monotonic()
        indexes, oldest = set(desired.links.values()), (time.monotonic() - _KEPT) * 1e9

        def is_old(key: bytes, value: bytes) -> bool:
            return decode_key(key).ifindex not in indexes or decode(value).last < oldest

        def is_old_pair(_key: bytes, value: bytes) -> bool:
            return int.from_bytes(value[PairAt.NOW : PairAt.NOW + 8], sys.byteorder) < oldest

        await self._remove(is_old)
        await self._remove_pairs(is_old_pair)

    async def _remove(self, what: Callable[[bytes, bytes], bool]) -> None:
        """Remove entries of streams."""
        if self._program is None:
            return
        for part in self._elements():
            for key, value in part:
                if what(key, value):
                    self._bpf.delete(self._maps[STREAMS], key)
            await asyncio.sleep(0)

    def _elements(self) -> Iterator[list[tuple[bytes, bytes]]]:
        return self._bpf.elements(self._maps[STREAMS], self._kinds[STREAMS], _SLICE)

    def _pairs(self) -> Iterator[list[tuple[bytes, bytes]]]:
        return self._bpf.elements(self._maps[PAIRS], self._kinds[PAIRS], _PAIR_SLICE)

    async def _remove_pairs(self, what: Callable[[bytes, bytes], bool]) -> None:
        """Remove entries of pairs."""
        if self._program is None:
            return
        for part in self._pairs():
            for key, value in part:
                if what(key, value):
                    self._bpf.delete(self._maps[PAIRS], key)
            await asyncio.sleep(0)

    def _set_problem(self, problem: str | None) -> None:
        if problem != self.problem:
            self.problem = problem
            if problem is not None:
                self._log.info("meter_unavailable", problem=problem)
            self._on_change()


def _has_pairs(desired: MeterDesired) -> bool:
    return any(feed.pair for feed in desired.feeds)
