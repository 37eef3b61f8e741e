"""The streams agent among all others, in virtual time: what it finds out about what arrives."""

import asyncio
import time
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network

import pytest
from msgspec.structs import replace

from mcastd.config.hours import parse
from mcastd.config.model import Config, Feed, Streams
from mcastd.streams.agent import StreamsAgent
from mcastd.streams.desired import TunnelArrival
from mcastd.streams.table import NAME
from mcastd.system import capabilities
from mcastd.wanted import COMMAND
from tests.composed import ARTICLE, Process, running
from tests.fakes.clock import simulated, until
from tests.fakes.streams import FakeStreams

GROUP = "239.1.1.1"
CHILD = "dc-tun-gre"


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


def streams(process: Process) -> FakeStreams:
    return process.host.streams


def agent(process: Process) -> StreamsAgent:
    return process.agents.streams


def codes(process: Process) -> set[str]:
    return {problem.code for problem in process.agents.problems()}


async def arriving(process: Process) -> None:
    """Wait until all is up and the feed has arrived for a while."""
    await process.up()
    process.host.hello()
    await until(process.joined, "joined")
    await asyncio.sleep(10.0)
    assert codes(process) == set()


async def with_hellos(process: Process, seconds: float) -> None:
    """Time passes, in which the router at the other end says that it is there."""
    for _ in range(int(seconds // 30)):
        process.host.hello()
        await asyncio.sleep(30.0)
    await asyncio.sleep(seconds % 30)


# All streams together


@simulated
async def test_a_feed_that_ends_is_all_silent_within_five_seconds_and_ok_when_it_is_back() -> None:
    async with running() as process:
        await arriving(process)
        streams(process).arrives(GROUP, rate=0)
        assert 3.0 <= await until(lambda: "all_silent" in codes(process), "all_silent") < 4.1
        assert agent(process).arrivals()["gre1"].silences == 1
        streams(process).arrives(GROUP)
        assert await until(lambda: codes(process) == set(), "ok") < 1.1
        events = process.host.log.events()
        assert (events.count("arrival_stopped"), events.count("arrival_resumed")) == (1, 1)


@simulated
async def test_streams_of_less_than_a_packet_a_second_do_not_hide_that_all_others_are_silent() -> None:
    async with running() as process:
        streams(process).arrives(GROUP, port=6000, rate=0.4)
        await arriving(process)
        streams(process).arrives(GROUP, rate=0)
        assert await until(lambda: "all_silent" in codes(process), "all_silent") < 5.0
        await with_hellos(process, 60.0)
        assert codes(process) == {"all_silent"}
        streams(process).arrives(GROUP)
        assert await until(lambda: codes(process) == set(), "ok") < 2.0


@simulated
async def test_a_heartbeat_of_one_packet_a_second_is_a_feed_and_neither_silent_nor_unnoticed() -> None:
    async with running() as process:
        streams(process).arrives(GROUP, rate=1.0)
        await arriving(process)
        await with_hellos(process, 600.0)
        assert agent(process).arrivals()["gre1"].silences == 0
        streams(process).arrives(GROUP, rate=0)
        assert await until(lambda: "all_silent" in codes(process), "all_silent") < 5.0


@simulated
async def test_one_of_two_streams_that_ends_is_no_problem() -> None:
    async with running() as process:
        streams(process).arrives(GROUP, port=6000)
        await arriving(process)
        streams(process).arrives(GROUP, port=6000, rate=0)
        await with_hellos(process, 300.0)
        assert (codes(process), agent(process).arrivals()["gre1"].silences) == (set(), 0)


@simulated
async def test_what_arrives_without_a_join_is_no_evidence() -> None:
    async with running() as process:
        streams(process).arrives("239.9.9.9", rate=10.0)
        await arriving(process)
        streams(process).arrives("239.9.9.9", rate=0)
        await with_hellos(process, 60.0)
        assert codes(process) == set()
        streams(process).arrives("239.9.9.9", rate=10.0)
        streams(process).arrives(GROUP, rate=0)
        assert await until(lambda: "all_silent" in codes(process), "all_silent") < 5.0


@simulated
async def test_a_group_that_is_left_and_joined_again_is_no_problem() -> None:
    async with running() as process:
        wanted = process.agents.wanted
        wanted.join("gre1", IPv4Address("239.1.1.2"), None, COMMAND)
        streams(process).arrives("239.1.1.2")
        streams(process).arrives(GROUP, rate=0)
        await arriving(process)
        wanted.leave("gre1", IPv4Address("239.1.1.2"), None, COMMAND)
        streams(process).arrives("239.1.1.2", rate=0)
        await with_hellos(process, 60.0)
        wanted.join("gre1", IPv4Address("239.1.1.2"), None, COMMAND)
        await with_hellos(process, 20.0)
        assert (codes(process), agent(process).arrivals()["gre1"].silences) == (set(), 0)


# Nothing ever


@simulated
async def test_nothing_that_ever_arrives_is_a_problem_after_a_minute() -> None:
    async with running() as process:
        streams(process).stop()
        streams(process).decrypts(CHILD)
        await process.up()
        process.host.hello()
        await until(process.joined, "joined")
        assert 55.0 < await until(lambda: "nothing_ever_arrived" in codes(process), "nothing_ever_arrived") < 62.0
        streams(process).arrives(GROUP)
        assert await until(lambda: codes(process) == set(), "ok") < 1.1


# CHILD_SAs


@simulated
async def test_a_session_s_end_with_keepalives_or_hellos_is_not_the_end_of_the_child_sa() -> None:
    async with running() as process:
        await arriving(process)
        assert agent(process).decrypted()[CHILD].receiving
        for period in (10.0, 30.0):
            streams(process).decrypts(CHILD, 1 / period)
            await until(lambda: agent(process).decrypted()[CHILD].quiet, "quiet")
            await with_hellos(process, 300.0)
            assert codes(process) == set()


@simulated
async def test_a_child_sa_that_decrypts_nothing_any_more_is_a_problem() -> None:
    async with running() as process:
        await arriving(process)
        streams(process).decrypts(CHILD, 0.0)
        assert await until(lambda: agent(process).decrypted()[CHILD].quiet, "quiet") < 4.1
        assert await until(lambda: not agent(process).decrypted()[CHILD].receiving, "not receiving") < 38.1
        assert await until(lambda: "child_sa_silent" in codes(process), "child_sa_silent") < 1.1
        streams(process).decrypts(CHILD)
        assert await until(lambda: codes(process) == set(), "ok") < 1.1


@simulated
async def test_while_the_counters_cannot_be_read_nothing_has_ended_and_that_is_shown() -> None:
    async with running() as process:
        await arriving(process)
        counting = agent(process)
        decrypted, arrivals = counting.decrypted(), counting.arrivals()
        streams(process).refuses = "nftables: Cannot allocate memory"
        await asyncio.sleep(2.0)
        assert counting.status(0.0).problem is None
        await with_hellos(process, 120.0)
        assert codes(process) == set()
        assert (counting.decrypted(), counting.arrivals()) == (decrypted, arrivals)
        assert counting.status(0.0).problem == streams(process).refuses
        assert not counting.is_counting
        streams(process).refuses = None
        await asyncio.sleep(1.1)
        assert counting.status(0.0).problem is None
        assert codes(process) == set()
        assert process.host.log.events().count("streams_not_counted") == 1


@simulated
async def test_packets_from_before_a_child_sa_was_established_again_do_not_count_as_seen() -> None:
    async with running() as process:
        await arriving(process)
        streams(process).decrypts(CHILD, 0.0)
        process.host.charon.delete(CHILD)
        await until(lambda: not process.agents.ipsec.children()[CHILD].up, "down", step=0.001)
        await process.up()
        await asyncio.sleep(5.0)
        assert not agent(process).decrypted()[CHILD].seen
        streams(process).decrypts(CHILD)
        await until(lambda: agent(process).decrypted()[CHILD].seen, "seen")


# Hours, and groups by themselves


def between(text: str) -> Config:
    return replace(ARTICLE, streams=Streams(hours=(parse(text),)))


def outside_now() -> str:
    """Hours on another day."""
    return f"{['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'][(datetime.now(UTC).weekday() + 3) % 7]} 10:00-11:00 UTC"


@simulated
async def test_outside_the_hours_silence_is_no_problem_and_still_counted() -> None:
    async with running(between(outside_now())) as process:
        await arriving(process)
        streams(process).arrives(GROUP, rate=0)
        streams(process).decrypts(CHILD, 0.0)
        await with_hellos(process, 120.0)
        assert codes(process) == set()
        assert agent(process).arrivals()["gre1"] == TunnelArrival(all_silent=False, silences=1)
        await process.apply(between("Mon-Sun 00:00-24:00"))
        assert 3.0 <= await until(lambda: "all_silent" in codes(process), "all_silent") < 5.0


@simulated
async def test_a_group_beyond_its_max_silence_is_a_problem() -> None:
    silent = replace(ARTICLE.groups[0], group=IPv4Address("239.1.1.2"), max_silence=5.0)
    feed = Feed(label="trades", groups=(IPv4Network("239.1.1.2/32"),))
    async with running(replace(ARTICLE, groups=(*ARTICLE.groups, silent), feeds=(feed,))) as process:
        streams(process).arrives("239.1.1.2", rate=2.0)
        await arriving(process)
        streams(process).arrives("239.1.1.2", rate=0)
        assert 4.0 <= await until(lambda: "group_silent" in codes(process), "group_silent") < 7.0
        assert "239.1.1.2 (trades)" in process.problems()[0]
        streams(process).arrives("239.1.1.2", rate=2.0)
        assert await until(lambda: codes(process) == set(), "ok") < 2.1


@simulated
async def test_another_group_beyond_its_max_silence_is_not_another_problem() -> None:
    others = tuple(replace(ARTICLE.groups[0], group=IPv4Address(f"239.1.1.{n}"), max_silence=5.0) for n in (2, 3))
    async with running(replace(ARTICLE, groups=(*ARTICLE.groups, *others))) as process:
        for one in others:
            streams(process).arrives(str(one.group), rate=2.0)
        await arriving(process)
        for one in others:
            streams(process).arrives(str(one.group), rate=0)
            await with_hellos(process, 20.0)
        assert codes(process) == {"group_silent"}
        assert "239.1.1.2, 239.1.1.3" in process.problems()[0]
        events = process.host.log.events()
        assert (events.count("arrival_stopped"), events.count("arrival_resumed")) == (1, 0)


@simulated
async def test_the_rows_of_the_groups_show_what_arrives() -> None:
    never = replace(ARTICLE.groups[0], group=IPv4Address("239.1.1.2"))
    async with running(replace(ARTICLE, groups=(*ARTICLE.groups, never))) as process:
        streams(process).arrives(GROUP, port=6000)
        await arriving(process)

        async def row() -> str | None:
            await process.agents.refresh()
            return agent(process).status(time.monotonic()).groups.get(("gre1", None, GROUP))

        assert await row() == "arriving"
        streams(process).arrives(GROUP, rate=0)
        await asyncio.sleep(10.0)
        assert await row() == "arriving"
        streams(process).arrives(GROUP, port=6000, rate=0)
        await asyncio.sleep(4.0)
        assert await row() == "silent"
        assert ("gre1", None, "239.1.1.2") not in agent(process).status(time.monotonic()).groups


# What has arrived


@simulated
async def test_pim_can_ask_what_has_arrived() -> None:
    async with running() as process:
        await arriving(process)
        group, source = IPv4Address(GROUP), IPv4Address("100.15.30.5")
        assert agent(process).has_arrived("gre1", None, group)
        assert agent(process).has_arrived("gre1", source, group)
        assert not agent(process).has_arrived("gre1", IPv4Address("100.15.30.6"), group)
        assert not agent(process).has_arrived("gre2", None, group)
        streams(process).arrives("239.1.1.2")
        await until(lambda: agent(process).has_arrived("gre1", None, IPv4Address("239.1.1.2")), "seen", 1.5)


# The table


@simulated
async def test_the_counts_survive_a_reload_and_a_restart_and_the_table_goes_with_a_stop() -> None:
    async with running() as process:
        host = process.host
        await arriving(process)
        handle = host.nft.tables[NAME].handle
        await process.apply(ARTICLE)
        await process.end(leaves_standing=True)
        before = host.nft.tables[NAME].counts["tunnel-gre1"]
        second = Process(host)
        second.start()
        await second.up()
        await asyncio.sleep(2.0)
        assert host.nft.tables[NAME].handle == handle
        assert host.nft.tables[NAME].counts["tunnel-gre1"] > before
        host.nft.delete(NAME)
        await until(lambda: NAME in host.nft.tables, "restored")
        await second.end()
        assert host.is_empty()


# What arrives and is not delivered


@simulated
async def test_what_a_firewall_of_this_host_drops_is_a_problem_within_five_seconds() -> None:
    async with running() as process:
        await arriving(process)
        process.host.memberships = {"gre1": frozenset({IPv4Address(GROUP)})}
        streams(process).delivers = False
        await asyncio.sleep(5.0)
        assert codes(process) == {"not_delivered"}
        streams(process).delivers = True
        await asyncio.sleep(2.0)
        assert codes(process) == set()


@simulated
async def test_what_no_application_has_joined_is_not_delivered_and_no_problem() -> None:
    async with running() as process:
        await arriving(process)
        process.host.memberships = {"gre1": frozenset({IPv4Address("239.9.9.9")})}
        streams(process).delivers = False
        await asyncio.sleep(20.0)
        assert codes(process) == set()
