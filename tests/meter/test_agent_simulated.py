"""The meter's agent among all others, in virtual time: where its program is, and what is told of it."""

import asyncio
import struct
import time
from ipaddress import IPv4Address, IPv4Network

import pytest
from msgspec.structs import replace

from mcastd.config.feed_formats import FORMATS
from mcastd.config.model import Feed, Streams
from mcastd.config.value_types import GroupPort
from mcastd.meter.agent import MeterAgent
from mcastd.meter.desired import MeterDesired
from mcastd.meter.packet import BUCKETS, KEY, PAIR_KEY, PAIR_SIZE, STREAM_SIZE, WINDOW, At, PairAt, encode_feed
from mcastd.stream_status import StreamCount
from mcastd.system import capabilities
from tests.composed import ARTICLE, Host, Process, running
from tests.fakes.clock import simulated, until
from tests.fakes.memory import MemoryLedger, MemoryLog
from tests.fakes.meter import FakeBpf, FakeIngress
from tests.fakes.service_manager import FakeServiceManager

GROUP, SOURCE = IPv4Address("239.1.1.1"), IPv4Address("100.15.30.10")
COUNT = StreamCount(
    tunnel="gre1", source=str(SOURCE), group=str(GROUP), port=5000, state="arriving", packets=1, bytes=1, rate=None,
    last_age=0.0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


def index(host: Host) -> int:
    return host.kernel.links["gre1"].index


def entry(kernel: FakeBpf, ifindex: int, port: int = 5000) -> bytes:
    """An entry in the map: two packets, the last one now, with sequence numbers."""
    value = bytearray(STREAM_SIZE)
    now = int(time.monotonic() * 1e9)
    for at, number in (
        (At.PACKETS, 2), (At.LAST, now), (At.LONGEST, 250_000_000),
        (At.LONGEST_AT, now), (At.BEGUN, 1), (At.LOST, 9), (At.GAP_AT, now), (At.GAP_SIZE, 7),
    ):  # fmt: skip
        struct.pack_into("=Q", value, at, number)
    struct.pack_into("=Q", value, At.HISTOGRAM + 8 * (BUCKETS - 1), 1)
    value[At.WINDOW :] = bytes((0xFC,)) + b"\xff" * (STREAM_SIZE - At.WINDOW - 1)
    key = KEY.pack(ifindex, SOURCE.packed, GROUP.packed, port, 0)
    kernel.named("mcastd_streams3")[key] = bytes(value)
    return key


async def attached(process: Process) -> None:
    await process.up()
    await until(lambda: index(process.host) in process.host.ingress.programs, "attached")


@simulated
async def test_the_program_is_attached_to_a_tunnel_when_it_comes_and_removed_at_a_stop() -> None:
    async with running() as process:
        await attached(process)
        link = index(process.host)
        assert process.host.ledger.has("qdisc", "gre1")
        assert process.agents.meter.problem is None
        await process.end()
        assert link not in process.host.ingress.programs
        assert process.host.ingress.qdiscs == set()
        assert process.host.is_empty()


@simulated
async def test_it_is_attached_again_when_another_program_has_removed_it() -> None:
    async with running() as process:
        await attached(process)
        process.host.ingress.programs.clear()
        await asyncio.sleep(31.0)
        assert index(process.host) in process.host.ingress.programs


@simulated
async def test_a_qdisc_that_another_program_made_stays() -> None:
    async with running() as process:
        process.host.ingress.others = set(range(100))
        await attached(process)
        link = index(process.host)
        await process.end()
        assert process.host.ingress.programs == {}
        assert link in process.host.ingress.qdiscs


@simulated
async def test_what_was_measured_is_shown_with_what_was_counted() -> None:
    async with running() as process:
        await attached(process)
        entry(process.host.bpf, index(process.host))
        entry(process.host.bpf, index(process.host), port=0)
        measured = await process.agents.meter.read(GROUP)
        (found,) = measured([COUNT])
        assert found.fragments == 2
        (one,) = found.measured
        assert (one.packets, one.longest_gap, one.unit) == (2, 0.25, 0)
        assert one.numbers is not None
        assert (one.numbers.missing, one.numbers.awaited, one.numbers.last_gap) == (7, 2, 7)
        other = await process.agents.meter.read(IPv4Address("239.1.1.2"))
        assert list(other([COUNT])) == [COUNT]


@simulated
async def test_the_numbers_of_a_stream_are_those_of_all_its_units_and_of_nothing_without_a_feed() -> None:
    feed = Feed(label="trades", groups=(IPv4Network(GROUP),), sequence=FORMATS["pitch"])
    async with running(replace(ARTICLE, feeds=(feed,))) as process:
        await attached(process)
        key = entry(process.host.bpf, index(process.host))
        found = process.host.bpf.named("mcastd_streams3")
        found[key[:-2] + b"\1\0"] = found[key]
        entry(process.host.bpf, index(process.host) + 1, port=1)
        known = {("gre1", SOURCE.packed, GROUP.packed, 5000): (0, 18)}
        assert await process.agents.meter.numbers() == known
        assert await process.agents.streams._desired.numbers() == known
        await process.apply(ARTICLE)
        assert await process.agents.meter.numbers() == {}


@simulated
async def test_the_next_process_goes_on_with_the_same_entries() -> None:
    host = Host()
    async with running(host=host) as process:
        await attached(process)
        key = entry(host.bpf, index(host))
    async with running(host=host) as process:
        await process.up()
        await until(lambda: host.ingress.programs.get(index(host)) == 2, "attached")
        await asyncio.sleep(1000.0)
        assert host.bpf.named("mcastd_streams3").keys() == {key}
        found = list((await process.agents.meter.read(None))([COUNT]))
        assert [one.packets for one in found[0].measured] == [2]
    host.close()


@simulated
@pytest.mark.parametrize("is_same", [True, False])
async def test_a_format_that_changes_while_no_process_runs_begins_the_numbers_again(is_same: bool) -> None:
    host = Host()
    config = replace(ARTICLE, feeds=(Feed(label="f", groups=(IPv4Network(GROUP),), sequence=FORMATS["pitch"]),))
    async with running(config, host=host) as process:
        await attached(process)
        key = entry(host.bpf, index(host))
    if not is_same:
        config = replace(config, feeds=(Feed(label="f", groups=(IPv4Network(GROUP),), sequence=FORMATS["rtp"]),))
    async with running(config, host=host) as process:
        await process.up()
        await until(lambda: host.ingress.programs.get(index(host)) == 2, "attached")
        assert host.bpf.named("mcastd_streams3").keys() == ({key} if is_same else set())
        assert list(host.bpf.named("mcastd_feeds2").values()) == [encode_feed(FORMATS["pitch" if is_same else "rtp"])]
    host.close()


@simulated
async def test_without_the_capability_a_note_says_what_is_not_measured() -> None:
    host = Host()
    host.bpf.refuses = "bpf: map mcastd_streams3: CAP_BPF and CAP_NET_ADMIN are needed"
    async with running(host=host) as process:
        await process.up()
        await asyncio.sleep(1.0)
        meter = process.agents.meter
        assert meter.status(0.0) == host.bpf.refuses
        assert host.ingress.programs == {}
        assert host.log.events().count("meter_unavailable") == 1
        host.bpf.refuses = None
        await asyncio.sleep(31.0)
        assert index(host) in host.ingress.programs
        assert meter.status(0.0) is None
    host.close()


@simulated
async def test_a_program_that_the_kernel_refuses_is_tried_again_after_an_hour() -> None:
    host = Host()
    host.bpf.verifier = "bpf: program mcastd_meter: too many instructions"
    async with running(host=host) as process:
        await process.up()
        await asyncio.sleep(1800.0)
        assert process.agents.meter.status(0.0) == host.bpf.verifier
        assert (host.bpf.tried, host.ingress.programs) == (1, {})
        host.bpf.verifier = None
        await asyncio.sleep(1900.0)
        assert (host.bpf.tried, process.agents.meter.status(0.0)) == (2, None)
        assert index(host) in host.ingress.programs
    host.close()


@simulated
async def test_it_is_removed_when_it_is_turned_off() -> None:
    async with running() as process:
        await attached(process)
        config = replace(ARTICLE, streams=Streams(meter="off"))
        await process.apply(config)
        assert process.host.ingress.programs == {}
        assert process.host.ingress.qdiscs == set()
        assert not process.host.ledger.has("qdisc", "gre1")
        assert process.agents.meter.problem is None


@simulated
async def test_a_removal_that_failed_is_said_and_tried_again() -> None:
    async with running() as process:
        await attached(process)
        process.host.ingress.is_stuck = True
        await process.apply(replace(ARTICLE, streams=Streams(meter="off")))
        for _ in range(3):
            assert process.agents.meter.problem == "netlink: Too many open files"
            assert process.host.ingress.programs
            await asyncio.sleep(60.0)
        process.host.ingress.is_stuck = False
        await until(lambda: not process.host.ingress.programs, "detached")
        await until(lambda: process.agents.meter.problem is None, "no problem")


@simulated
async def test_a_comparison_that_was_refused_is_tried_again_and_not_named_where_there_is_no_pair() -> None:
    pair = Feed(
        label="trades",
        pair=(GroupPort(GROUP, 5000), GroupPort(IPv4Address("239.1.2.1"), 5000)),
        sequence=FORMATS["rtp"],
    )
    async with running() as process:
        await attached(process)
        process.host.bpf.verifier = "bpf: no memory"
        await process.apply(replace(ARTICLE, feeds=(pair,)))
        await until(lambda: process.agents.meter.problem is not None, "refused")
        assert process.agents.meter.problem == "A and B are not compared: bpf: no memory"
        await process.apply(ARTICLE)
        await until(lambda: process.agents.meter.problem is None, "no pair")
        await process.apply(replace(ARTICLE, feeds=(pair,)))
        process.host.bpf.verifier = None
        tried = process.host.bpf.tried
        await asyncio.sleep(1800.0)
        assert process.host.bpf.tried == tried  # it would take much of a CPU each time
        await asyncio.sleep(1900.0)
        assert process.host.bpf.tried == tried + 1
        assert process.agents.meter.problem is None


@simulated
@pytest.mark.parametrize("why", ["off", "no capability"])
async def test_the_program_of_the_previous_process_does_not_stay_where_nothing_is_measured(why: str) -> None:
    host = Host()
    async with running(host=host) as process:
        await attached(process)
    assert index(host) in host.ingress.programs
    if why == "no capability":
        host.bpf.refuses = "bpf: map mcastd_streams3: CAP_BPF and CAP_NET_ADMIN are needed"
    config = replace(ARTICLE, streams=Streams(meter="off" if why == "off" else "auto"))
    async with running(config, host=host) as process:
        await process.up()
        await until(lambda: not host.ingress.programs, "detached")
        assert host.ingress.qdiscs == set()
        assert not host.ledger.has("qdisc", "gre1")
        assert not {"meter-streams", "meter-feeds"} & host.manager.kept.keys()
        expected = host.bpf.refuses or 'turned off by meter = "off" in [streams]'
        assert process.agents.meter.status(0.0) == expected
    host.close()


@simulated
async def test_where_there_is_no_room_for_another_stream_it_says_so() -> None:
    async with running() as process:
        await attached(process)
        totals = process.host.bpf.named("mcastd_totals1")
        totals[bytes(4)] = struct.pack("=Q", 5)
        await asyncio.sleep(31.0)
        assert process.agents.meter.status(0.0) == "there is room for 65536 streams, and more have come"
        await asyncio.sleep(31.0)
        assert process.agents.meter.status(0.0) is None


@simulated
async def test_an_interface_that_refuses_the_program_does_not_keep_it_from_the_others() -> None:
    manager, ingress = FakeServiceManager(), FakeIngress()
    alone = MeterAgent(
        bpf=FakeBpf(), ingress=ingress, store=manager.store(), ledger=MemoryLedger(), log=MemoryLog().logger,
        on_change=lambda: None,
    )  # fmt: skip
    ingress.refuses.add(3)
    alone.configure(MeterDesired(True, {"gre1": 3, "gre2": 4}))
    task = asyncio.create_task(alone.run())
    await alone.settled()
    assert ingress.programs.keys() == {4}
    assert alone.status(0.0) == "gre1: filter: No such device"
    ingress.refuses.clear()
    await asyncio.sleep(31.0)
    assert ingress.programs.keys() == {3, 4}
    assert alone.status(0.0) is None
    task.cancel()
    await alone.close()


@simulated
async def test_entries_of_interfaces_and_streams_that_are_gone_are_removed() -> None:
    manager, kernel = FakeServiceManager(), FakeBpf()
    alone = MeterAgent(
        bpf=kernel, ingress=FakeIngress(), store=manager.store(), ledger=MemoryLedger(), log=MemoryLog().logger,
        on_change=lambda: None,
    )  # fmt: skip
    alone.configure(MeterDesired(True, {"gre1": 3}))
    task = asyncio.create_task(alone.run())
    await alone.settled()
    kept = entry(kernel, 3)
    entry(kernel, 9999)
    await asyncio.sleep(700.0)
    assert kernel.named("mcastd_streams3").keys() == {kept}
    await asyncio.sleep(2 * 86400.0)
    assert not kernel.named("mcastd_streams3")
    task.cancel()
    await alone.close()


PAIR = Feed(label="p", sequence=FORMATS["cme-mdp3"], pair=(GroupPort(GROUP, 7), GroupPort(IPv4Address("239.2.1.1"), 8)))


def pair_entry(kernel: FakeBpf, group: IPv4Address = GROUP) -> None:
    """An entry in the map of pairs: of 100 numbers 3 were lost on A alone, and one is awaited on both."""
    value = bytearray(PAIR_SIZE)
    for at, number in ((PairAt.SIDES, 3), (PairAt.COMPARED, 100), (PairAt.LOST_A, 3), (PairAt.HISTOGRAMS, 96)):
        struct.pack_into("=Q", value, at, number)
    value[PairAt.WINDOW_A : PairAt.HISTOGRAMS] = 2 * (b"\xfe" + b"\xff" * (WINDOW // 8 - 1))
    kernel.named("mcastd_pairs1")[PAIR_KEY.pack(group.packed, 7, 0)] = bytes(value)


@simulated
async def test_pairs_are_compared_and_shown_for_both_groups_and_begin_again_where_the_feed_has_changed() -> None:
    async with running(replace(ARTICLE, feeds=(PAIR,))) as process:
        await attached(process)
        kernel, meter = process.host.bpf, process.agents.meter
        assert len(kernel.named("mcastd_progs1")) == 1
        (empty,) = (await meter.read(None)).pairs(None)
        assert (empty.feed, empty.a, empty.b, empty.compared) == ("p", "239.1.1.1:7", "239.2.1.1:8", 0)
        pair_entry(kernel)
        pair_entry(kernel, IPv4Address("239.9.9.9"))
        for group in (None, GROUP, PAIR.pair[1].group):
            (found,) = (await meter.read(group)).pairs(group)
            assert (found.compared, found.lost_a, found.lost_both, found.awaited_both) == (100, 3, 0, 1)
            assert (found.a, sum(found.a_first), sum(found.b_first)) == ("239.1.1.1:7", 96, 0)
        assert list((await meter.read(None)).pairs(IPv4Address("239.9.9.9"))) == []
        await process.apply(replace(ARTICLE, feeds=(replace(PAIR, sequence=FORMATS["rtp"]),)))
        assert {key[:4] for key in kernel.named("mcastd_pairs1")} == {IPv4Address("239.9.9.9").packed}


@simulated
async def test_without_a_pair_the_program_for_pairs_is_not_loaded_and_where_it_is_refused_a_note_says_so() -> None:
    async with running() as process:
        await attached(process)
        host = process.host
        assert (host.bpf.tried, host.bpf.named("mcastd_progs1")) == (1, {})
        host.bpf.verifier = "too complex"
        await process.apply(replace(ARTICLE, feeds=(PAIR,)))
        assert process.agents.meter.status(0.0) == "A and B are not compared: too complex"
        assert index(host) in host.ingress.programs
        await asyncio.sleep(100.0)
        assert host.bpf.tried == 2


@simulated
async def test_a_reset_removes_the_entries() -> None:
    async with running() as process:
        await attached(process)
        entry(process.host.bpf, index(process.host))
        pair_entry(process.host.bpf)
        await process.agents.meter.reset()
        assert not process.host.bpf.named("mcastd_pairs1")
        assert not process.host.bpf.named("mcastd_streams3")
