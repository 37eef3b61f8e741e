"""What was counted of each stream, in virtual time: all agents over a host in memory."""

import asyncio
import time
from ipaddress import IPv4Address, IPv4Network

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from mcastd.config.model import Feed
from mcastd.errors import HostError
from mcastd.net.sock_diag import UdpSocket
from mcastd.net.xfrm import Replay, Sa
from mcastd.stream_status import StreamCount, StreamsReport
from mcastd.streams import agent, recorder, table
from mcastd.streams.table import NAME
from mcastd.system import capabilities
from tests.composed import ARTICLE, Host, Process, running
from tests.fakes.clock import simulated, until

GROUP, OTHER = "239.1.1.1", "239.2.1.1"


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


async def ask(
    process: Process, group: str | None = None, since: float | None = None
) -> tuple[StreamsReport, dict[str, StreamCount]]:
    wanted = None if group is None else IPv4Address(group)
    report, parts = await process.agents.streams.report(wanted, since)
    return report, {one.group: one for part in parts for one in part}


async def counting(process: Process) -> None:
    await process.up()
    process.host.streams.arrives(GROUP, rate=100.0)
    await asyncio.sleep(60.0)


@simulated
async def test_packets_bytes_rate_and_ages_of_each_stream() -> None:
    async with running() as process:
        await counting(process)
        process.host.streams.arrives(OTHER, rate=10.0)
        await asyncio.sleep(30.0)
        process.host.streams.arrives(OTHER, rate=0.0)
        await asyncio.sleep(70.0)  # one that is not joined may carry less than a packet a second
        report, found = await ask(process)
        assert report.problem is None
        assert report.period is not None
        assert 155.0 < report.period < 170.0
        one, other = found[GROUP], found[OTHER]
        assert (one.state, other.state) == ("arriving", "silent")
        assert (one.wanted, other.wanted) == (True, False)
        assert one.bytes == one.packets * 100
        assert 15_000 < one.packets < 21_000
        assert one.rate == pytest.approx(100.0, rel=0.01)
        assert other.packets == pytest.approx(300, abs=2)
        assert other.rate == 0.0
        assert one.last_age < 3.0
        assert 69.0 < other.last_age < 73.0
        assert other.age == pytest.approx(100.0, abs=3.0)
        assert one.age == report.period
        assert list((await ask(process, OTHER))[1]) == [OTHER]


@simulated
async def test_a_period_is_the_last_ten_minutes_of_a_day_and_longer_than_all_it_is_all() -> None:
    async with running() as process:
        await counting(process)
        for rate in (100.0, 300.0):
            process.host.streams.arrives(GROUP, rate=rate)
            await asyncio.sleep(1800.0)
        report, found = await ask(process, since=600.0)
        assert report.period == pytest.approx(600.0, abs=130.0)
        assert report.period is not None
        assert found[GROUP].packets == pytest.approx(300.0 * report.period, rel=0.02)
        assert found[GROUP].rate == pytest.approx(300.0, rel=0.02)
        report, found = await ask(process, since=25 * 3600.0)
        assert (report.period, found[GROUP].packets) == pytest.approx((3660.0, 726_000), rel=0.02)


@simulated
async def test_a_reset_counts_from_then_and_silence_is_still_known() -> None:
    async with running() as process:
        await counting(process)
        process.host.streams.arrives(OTHER, rate=10.0)
        await asyncio.sleep(10.0)
        process.host.streams.arrives(OTHER, rate=0.0)
        await asyncio.sleep(10.0)
        await process.agents.streams.reset()
        await asyncio.sleep(20.0)
        report, found = await ask(process)
        assert report.period == pytest.approx(20.0, abs=1.5)
        assert found.keys() == {GROUP}
        assert found[GROUP].packets == pytest.approx(2000, abs=300)
        assert (await ask(process, since=3600.0))[1][GROUP].packets == pytest.approx(2000, abs=300)
        assert "repaired" not in process.host.log.events()
        process.host.streams.arrives(GROUP, rate=0.0)
        await until(lambda: "all_silent" in {one.code for one in process.agents.problems()}, "all_silent")


@simulated
async def test_what_this_host_drops_is_the_difference_and_only_while_it_passes_on() -> None:
    async with running() as process:
        await counting(process)
        before = (await ask(process))[1][GROUP]
        assert (before.dropped, [one.interface for one in before.destinations]) == (0, [None])
        process.host.streams.loses = 0.1
        await asyncio.sleep(100.0)
        process.host.streams.loses = 0.0
        await asyncio.sleep(100.0)
        lossy = (await ask(process))[1][GROUP]
        assert 800 < lossy.dropped <= 1100
        assert lossy.destinations[0].packets == pytest.approx(lossy.packets - 1000, rel=0.02)
        process.host.streams.delivers = False
        await asyncio.sleep(600.0)
        assert (await ask(process))[1][GROUP].dropped == pytest.approx(lossy.dropped, abs=100)
        assert (await ask(process))[1][GROUP].destinations[0].withheld == pytest.approx(60_000, abs=2000)
        await process.agents.streams.reset()
        await asyncio.sleep(20.0)
        assert (await ask(process))[1][GROUP].destinations == ()
        assert (await ask(process, since=300.0))[1][GROUP].dropped == 0


@simulated
async def test_only_sockets_that_the_group_can_reach_are_shown_and_it_says_so_where_they_are_not_known() -> None:
    async with running() as process:
        await counting(process)
        mine, other = (UdpSocket(5000, IPv4Address(one), 1000, 1) for one in (GROUP, OTHER))
        process.host.streams.sockets = [mine, other]
        report, _ = await ask(process, GROUP)
        assert [one.address for one in report.sockets] == [GROUP]
        process.host.streams.hides = "sock_diag: no answer"
        report, _ = await ask(process, GROUP)
        assert report.sockets == ()
        assert (report.losses[-1].stage, report.losses[-1].text) == ("socket", "sock_diag: no answer")


@simulated
async def test_what_esp_lost_is_by_the_numbers_of_the_tunnels_sas_over_a_rekeying() -> None:
    async with running() as process:
        host, (child, *_) = process.host, (one.child for one in ARTICLE.tunnels)
        assert child is not None

        def receive(highest: int, packets: int) -> None:
            host.streams.sas[Sa(ARTICLE.peers[0].local, host.charon.spis()[child])] = Replay(highest, packets)

        async def lost() -> list[int | None]:
            await asyncio.sleep(1.0)
            report, _ = await ask(process, GROUP)
            return [one.packets for one in report.losses if (one.stage, one.subject) == ("esp", child)]

        await counting(process)
        assert await lost() == []
        for numbers, expected in (((1000, 990), 0), ((2000, 1983), 7)):
            receive(*numbers)
            assert await lost() == [expected]
        host.charon.rekey(child)
        await asyncio.sleep(2.0)
        receive(500, 497)
        assert await lost() == [10]


@simulated
async def test_many_streams_of_one_group_are_counted_in_parts() -> None:
    async with running() as process:
        await process.up()
        for port in range(5000, 5700):
            process.host.streams.arrives(GROUP, port=port, rate=10.0)
        await asyncio.sleep(60.0)
        report, parts = await process.agents.streams.report(IPv4Address(GROUP), None)
        sizes = [len(part) for part in parts]
        assert (sum(sizes), max(sizes)) == (700, 256)
        assert len([one for one in report.losses if one.stage == "host"]) == 17


@simulated
async def test_a_full_set_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as process:
        await counting(process)
        assert not list(process.agents.streams.problems())
        monkeypatch.setattr(table, "FULL", 2)
        process.host.streams.arrives(OTHER)
        await until(lambda: "streams_set_full" in {one.code for one in process.agents.problems()}, "full")
        await asyncio.sleep(10.0)
        (full,) = (one for one in process.agents.problems() if one.code == "streams_set_full")
        assert full.text.endswith("streams; not wanted are 1 streams, 1 of them on tunnel gre1")
        monkeypatch.setattr(table, "FULL", 3)
        await until(lambda: "streams_set_full" not in {one.code for one in process.agents.problems()}, "not full")


@simulated
async def test_a_restart_goes_on_counting_and_a_reload_keeps_what_was_counted_when() -> None:
    host = Host()
    async with running(host=host) as process:
        await counting(process)
        before = (await ask(process))[0]
    async with running(host=host) as process:
        await process.up()
        await asyncio.sleep(300.0)
        report, found = await ask(process)
        assert before.counting_since is not None
        assert report.period is not None
        assert before.period is not None
        assert report.period >= before.period + 300.0
        assert found[GROUP].packets > 30_000
        assert found[GROUP].age is None
        await process.apply(ARTICLE)
        await asyncio.sleep(10.0)
        report, found = await ask(process, since=120.0)
        assert report.period == pytest.approx(120.0, abs=61.0)
        assert report.period is not None
        assert found[GROUP].packets == pytest.approx(100.0 * report.period, rel=0.1)
    host.close()


@simulated
async def test_without_a_table_there_is_a_reason() -> None:
    async with running() as process:
        await process.up()
        process.host.nft.refuses = "nft: no such program; install the package nftables"
        process.host.nft.delete(NAME)
        await until(lambda: not process.agents.streams.is_counting, "not counted")
        report, found = await ask(process)
        assert (report.problem, report.counting_since, found) == (process.host.nft.refuses, None, {})
        with pytest.raises(HostError, match="streams are not counted"):
            await process.agents.streams.reset()


async def per_second(process: Process, group: str, seconds: float) -> tuple[StreamsReport, tuple[int | None, ...]]:
    """What a stream carried in each of the last seconds."""
    report, parts = await process.agents.streams.report(IPv4Address(group), None, history=seconds)
    (one,) = (one for part in parts for one in part)
    assert one.history is not UNSET
    return report, one.history.packets


@simulated
async def test_what_a_stream_carried_in_each_second_and_what_was_not_read_or_is_before_a_restart_is_not_known() -> None:
    host = Host()
    async with running(host=host) as process:
        await counting(process)
        await asyncio.sleep(1.05 - time.monotonic() % 1.0)  # right after a reading
        process.host.streams.arrives(GROUP, rate=300.0)
        await asyncio.sleep(3.0)
        process.host.streams.refuses = "nftables: Interrupted system call"
        await asyncio.sleep(2.0)
        process.host.streams.refuses = None
        await asyncio.sleep(3.0)
        await process.agents.streams.reset()
        await asyncio.sleep(2.0)
        report, found = await per_second(process, GROUP, 12)
        assert found == (100, 100, 290, 300, 300, None, None, None, 300, 300, None, 300)
        assert report.not_recorded == 0
        assert report.history_until is not None
        assert report.history_until.endswith("Z")
        report, parts = await process.agents.streams.report(None, None)
        assert report.history_until is None
        assert [one.history for part in parts for one in part] == [UNSET]
    async with running(host=host) as process:
        await process.up()
        await asyncio.sleep(10.0)
        _, found = await per_second(process, GROUP, 600)
        assert set(found[:580]) == {None}
        assert found[-5:] == (300,) * 5
    host.close()


@simulated
async def test_a_stream_of_a_feed_that_a_reload_names_is_recorded_before_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recorder, "STREAMS", 1)
    async with running() as process:
        await counting(process)
        process.host.streams.arrives(OTHER, rate=10.0)
        await asyncio.sleep(10.0)
        report, parts = await process.agents.streams.report(None, None, history=5)
        assert report.not_recorded == 1
        assert {one.group for part in parts for one in part if one.history is not UNSET} == {GROUP}
        await process.apply(replace(ARTICLE, feeds=(Feed(label="trades", groups=(IPv4Network(OTHER),)),)))
        await asyncio.sleep(10.0)
        report, parts = await process.agents.streams.report(None, None, history=5)
        assert {one.group for part in parts for one in part if one.history is not UNSET} == {OTHER}
        assert (await per_second(process, OTHER, 5))[1] == (10,) * 5


@simulated
async def test_of_more_streams_than_can_be_read_each_second_none_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "_RECORDED", 1)
    async with running() as process:
        await counting(process)
        process.host.streams.arrives(OTHER, rate=10.0)
        await asyncio.sleep(10.0)
        report, _ = await per_second(process, GROUP, 5)
        assert report.not_recorded == 2
