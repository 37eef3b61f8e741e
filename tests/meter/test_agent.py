"""The meter in this machine's kernel: on a TUN interface, through restarts, beside other programs, and unprivileged."""

import asyncio
import fcntl
import itertools
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from mcastd.config.feed_formats import Field, Sequence
from mcastd.config.model import Feed
from mcastd.config.value_types import GroupPort
from mcastd.meter import agent
from mcastd.meter.agent import MeterAgent
from mcastd.meter.desired import MeterDesired
from mcastd.stream_status import PairCount, StreamCount, StreamMeasure
from mcastd.system import bpf, ingress
from tests.fakes.memory import MemoryLedger, MemoryLog
from tests.fakes.service_manager import FakeServiceManager
from tests.meter.feeds import GROUP, PORT, SOURCE, datagram
from tests.namespaces import Namespace, until

pytestmark = pytest.mark.root
SEQUENCE = Sequence(Field(0, 4))
COUNT = StreamCount(
    tunnel="t0", source=str(SOURCE), group=str(GROUP), port=PORT, state="arriving", packets=1, bytes=1, rate=None,
    last_age=0.0,
)  # fmt: skip
_TUNSETIFF, _IFF_TUN_NO_PI_VNET_HDR = 0x400454CA, 0x5001
_VNET_HDR = struct.Struct("=BB4H")  # flags, type of GSO, bytes that are not in pages, and what is for GSO


def feed(sequence: Sequence = SEQUENCE, group: str = str(GROUP)) -> Feed:
    return Feed(label=group, groups=(IPv4Network(group),), port=PORT, sequence=sequence)


def open_tun() -> int:
    """A TUN interface ``t0``; what is written to it arrives, behind a header for offloads."""
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", b"t0", _IFF_TUN_NO_PI_VNET_HDR))
    return tun


class Scene:
    """A namespace with a TUN interface, on which packets arrive, and what outlives a process."""

    def __init__(self, host: Namespace) -> None:
        self.host = host
        self.tun = host.call(open_tun)
        host.ip("link", "set", "t0", "up")
        self.index = int(host.ip("-o", "link", "show", "t0").split(":")[0])
        self.manager, self.ledger = FakeServiceManager(), MemoryLedger()
        self.number = 0

    def process(self) -> MeterAgent:
        made = MeterAgent(
            bpf=bpf, ingress=ingress, store=self.manager.store(), ledger=self.ledger, log=MemoryLog().logger,
            on_change=lambda: None,
        )  # fmt: skip
        made.configure(MeterDesired(True, {"t0": self.index}, (feed(),)))
        return made

    def arrive(self, count: int) -> None:
        """The next packets of a feed; every tenth is lost on the way."""
        for _ in range(count):
            self.number += 1
            if self.number % 10:
                os.write(self.tun, bytes(_VNET_HDR.size) + datagram(struct.pack("<I", self.number)))

    def arrive_in_pages(self, number: int) -> None:
        """A packet of which the kernel has the IP header alone at hand: it needs more than a page."""
        packet = datagram(struct.pack("<I", number) + bytes(9000))
        os.write(self.tun, _VNET_HDR.pack(0, 0, 20, 0, 0, 0) + packet)

    def tc(self, *arguments: str) -> str:
        return subprocess.run(
            ("tc", "-n", self.host.name, *arguments), check=True, capture_output=True, text=True
        ).stdout

    def close(self) -> None:
        os.close(self.tun)
        self.manager.close()


@pytest.fixture
def scene(namespace: Callable[[], Namespace]) -> Iterator[Scene]:
    made = Scene(namespace())
    yield made
    made.close()


async def measured(process: MeterAgent) -> StreamMeasure:
    (found,) = (await process.read(GROUP))([COUNT])
    return found.measured[0]


async def started(process: MeterAgent) -> "asyncio.Task[None]":
    task = asyncio.create_task(process.run())
    await process.settled()
    assert process.problem is None
    return task


def test_nothing_is_counted_twice_or_forgotten_when_a_process_takes_over(scene: Scene) -> None:
    async def life(packets: int) -> StreamMeasure | None:
        process = scene.process()
        scene.arrive(packets)  # what the program of the process before still counts
        task = await started(process)
        scene.arrive(packets)
        found = await measured(process) if packets else None
        task.cancel()  # as SIGKILL would: nothing is taken down
        return found

    scene.host.run(lambda: life(0))
    scene.host.run(lambda: life(1000))
    found = scene.host.run(lambda: life(500))
    assert found is not None
    assert found.numbers is not None
    assert found.packets == 2700
    # Of the first number none can be missing.
    assert found.numbers.missing + found.numbers.awaited == 299
    assert (found.numbers.seen, found.numbers.duplicate, found.numbers.late, found.numbers.resets) == (2700, 0, 0, 0)
    assert (found.numbers.last_gap, sum(found.gaps)) == (1, 2699)


def test_a_pair_is_compared_also_between_two_processes(scene: Scene) -> None:
    pair = Feed(label="p", sequence=SEQUENCE, pair=(GroupPort(GROUP, PORT), GroupPort(IPv4Address("239.2.1.1"), 7)))
    numbers = itertools.count(1)

    def arrive() -> None:
        for number in itertools.islice(numbers, 500):
            for side, one in enumerate(pair.sides):
                if number % (10, 25)[side]:
                    packet = datagram(struct.pack("<I", number), group=one.group, port=one.port or 0)
                    os.write(scene.tun, bytes(_VNET_HDR.size) + packet)

    async def life() -> PairCount:
        process = scene.process()
        process.configure(MeterDesired(True, {"t0": scene.index}, (pair,)))
        task = await started(process)
        arrive()
        (found,) = (await process.read(GROUP)).pairs(GROUP)
        task.cancel()
        process._unload()  # closes its descriptors, as SIGKILL would
        return found

    scene.host.run(life)
    arrive()  # no process
    found = scene.host.run(life)
    lost = found.lost_a + found.awaited_a, found.lost_b + found.awaited_b, found.lost_both + found.awaited_both
    assert (found.compared, found.restarts, lost) == (1498, 0, (120, 30, 29))  # from 2 to 1,499
    assert (sum(found.a_first), sum(found.b_first)) == (1498 - 120 - 30 - 29, 0)


def test_a_feed_that_was_changed_while_no_process_ran_begins_again_and_the_others_go_on(scene: Scene) -> None:
    others = tuple(feed(group=f"239.7.{n // 256}.{n % 256}") for n in range(400))

    async def life(sequence: Sequence) -> StreamMeasure:
        process = scene.process()
        process.configure(MeterDesired(True, {"t0": scene.index}, (*others, feed(sequence))))
        task = await started(process)
        scene.arrive(5)
        found = await measured(process)
        task.cancel()
        return found

    scene.host.run(lambda: life(SEQUENCE))
    assert scene.host.run(lambda: life(SEQUENCE)).packets == 9
    assert scene.host.run(lambda: life(Sequence(Field(0, 2)))).packets == 5


def test_a_packet_whose_payload_is_in_pages_has_its_number(scene: Scene) -> None:
    async def life() -> None:
        process = scene.process()
        task = await started(process)
        for number in (1, 2, 4):
            scene.arrive_in_pages(number)
        found = await measured(process)
        assert found.numbers is not None
        assert (found.packets, found.unnumbered, found.numbers.seen, found.numbers.awaited) == (3, 0, 3, 1)
        task.cancel()

    scene.host.run(life)


def test_a_stop_removes_only_what_is_ours(scene: Scene) -> None:
    async def life() -> None:
        process = scene.process()
        task = await started(process)
        assert "mcastd_meter" in scene.tc("filter", "show", "dev", "t0", "ingress")
        task.cancel()
        await process.close()

    scene.host.run(life)
    assert scene.tc("qdisc", "show", "dev", "t0").count("clsact") == 0
    assert not scene.ledger.copy()
    assert not scene.manager.kept
    scene.tc("qdisc", "add", "dev", "t0", "clsact")
    scene.host.run(life)
    assert scene.tc("qdisc", "show", "dev", "t0").count("clsact") == 1
    assert scene.tc("filter", "show", "dev", "t0", "ingress") == ""


def test_it_goes_on_where_its_filter_is_removed_and_where_the_interface_is_gone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "_AUDIT_PERIOD", 0.1)

    async def life() -> None:
        process = scene.process()
        task = await started(process)
        scene.tc("qdisc", "del", "dev", "t0", "clsact")
        await until(lambda: "mcastd" in scene.tc("filter", "show", "dev", "t0", "ingress"), "attached")
        scene.arrive(5)
        assert (await measured(process)).packets == 5
        process.configure(MeterDesired(True, {"t0": 9999}))
        await until(lambda: process.problem, "a problem")
        process.configure(MeterDesired(True, {}))
        await until(lambda: process.problem is None, "no problem")
        await process.close()
        task.cancel()

    scene.host.run(life)


def test_a_filter_of_another_program_in_our_place_stays(scene: Scene) -> None:
    scene.tc("qdisc", "add", "dev", "t0", "clsact")
    other = ("prio", "77", "handle", "1", "bpf", "bytecode", "1,6 0 0 4294967295")
    scene.tc("filter", "add", "dev", "t0", "ingress", "protocol", "ip", *other)

    async def life() -> None:
        process = scene.process()
        task = asyncio.create_task(process.run())
        await process.settled()
        assert process.problem == "t0: filter: another program has one with preference 77"
        task.cancel()
        await process.close()

    scene.host.run(life)
    assert "bytecode '1,6 0 0 4294967295'" in scene.tc("filter", "show", "dev", "t0", "ingress")


@pytest.mark.also_kernel("nftables")
def test_bpf_and_net_admin_are_enough() -> None:
    capabilities = "-all,+bpf,+net_admin"
    code = (
        "from mcastd.meter import maps, pair_program, program\n"
        "from mcastd.net import ebpf; from mcastd.system import bpf\n"
        "made = {name: bpf.create_map(kind) for name, kind in maps.kinds().items()}\n"
        "bpf.load('mcastd_meter', ebpf.assemble(program.program(), made))\n"
        "bpf.load('mcastd_pair', ebpf.assemble(pair_program.pair_program(), made))\n"
        "print([len(part) for part in bpf.elements(made['streams'], maps.kinds()['streams'], 8)])\n"
    )
    project = Path(__file__).parents[2]
    done = subprocess.run(
        (
            "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps={capabilities}",
            f"--ambient-caps={capabilities}", f"--bounding-set={capabilities}", "/usr/bin/python3", "-B", "-c", code,
        ),
        cwd=project, env={"PYTHONPATH": ":".join((str(project), *(p for p in sys.path if "site-packages" in p)))},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("[0]\n", "")


def test_another_group_is_not_shown(scene: Scene) -> None:
    async def life() -> None:
        process = scene.process()
        task = await started(process)
        scene.arrive(5)
        assert list((await process.read(IPv4Address("239.9.9.9")))([COUNT])) == [COUNT]
        task.cancel()

    scene.host.run(life)
