"""Feeds: which stream is of which, and when one is silent."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network

import pytest
from msgspec.structs import replace

from mcastd.config.hours import parse
from mcastd.config.model import Config, Feed, Group, Streams
from mcastd.config.value_types import GroupPort
from mcastd.streams.feeds import Feeds
from mcastd.streams.schedule import Schedule
from mcastd.streams.table import Key
from mcastd.system import capabilities
from mcastd.wanted import APPLICATION
from tests.composed import ARTICLE, Process, running
from tests.fakes.clock import simulated, until

ONE, TWO, THREE = (IPv4Address(f"239.1.1.{n}") for n in (1, 2, 3))
MORNING = datetime(2026, 3, 2, 9, tzinfo=UTC)  # a Monday


def feed(label: str, *groups: str, port: int | None = None, max_silence: float | None = 5.0) -> Feed:
    return Feed(label=label, groups=tuple(map(IPv4Network, groups)), port=port, max_silence=max_silence)


def key(group: IPv4Address, port: int = 5000) -> Key:
    return Key("gre1", IPv4Address("100.15.30.5"), group, port)


def expecting(config: Config, moment: datetime = MORNING, now: float = 1000.0) -> Schedule:
    schedule = Schedule()
    schedule.configure((config.streams.hours, *(one.hours for one in config.feeds)))
    schedule.expect(moment, now)
    return schedule


def silent(feeds: Feeds, schedule: Schedule, now: float, wanted: dict[IPv4Address, float]) -> list[str]:
    for _ in feeds.looked(wanted.get, schedule, now):
        pass
    return [one.text for one in feeds.problems()]


def test_a_stream_is_of_the_feed_that_names_its_group_and_port() -> None:
    config = Config(feeds=(
        feed("range", "239.1.0.0/16"), feed("A", "239.1.1.1", port=5000), feed("B", "239.1.1.1", port=5001),
        feed("any", "239.1.1.2"),
    ))  # fmt: skip
    feeds = Feeds(config, None, 0.0)
    found = [(ONE, 5000), (ONE, 5001), (ONE, 5002), (TWO, 9), (THREE, 9), (IPv4Address("239.2.1.1"), 9)]
    labels = [None if (one := feeds.of(key(*place))) is None else one.label for place in found]
    assert labels == ["A", "B", "range", "any", "range", None]


def test_of_ranges_the_smallest_holds_and_those_for_the_port_go_before_those_for_all_ports() -> None:
    config = Config(feeds=(
        feed("16", "239.1.0.0/16"), feed("24", "239.1.1.0/24"), feed("again", "239.1.1.0/24"),
        feed("16 port", "239.1.0.0/16", port=5000), feed("one", "239.1.1.1"),
    ))  # fmt: skip
    feeds = Feeds(config, None, 0.0)
    places = [(ONE, 5000), (ONE, 9), (TWO, 9), (TWO, 5000), (IPv4Address("239.1.9.9"), 9)]
    assert [one and one.label for one in (feeds.of(key(*place)) for place in places)] == [
        "16 port", "one", "24", "16 port", "16",
    ]  # fmt: skip


def test_the_sides_of_a_pair_are_of_the_feed_for_their_ports() -> None:
    pair = GroupPort(ONE, 7), GroupPort(TWO, 8)
    feeds = Feeds(Config(feeds=(Feed(label="pair", pair=pair, max_silence=5.0),)), None, 1000.0)
    found = [feeds.of(key(*place)) for place in ((ONE, 7), (TWO, 8), (ONE, 8), (THREE, 7))]
    assert [one and one.label for one in found] == ["pair", "pair", None, None]
    assert silent(feeds, expecting(Config()), 1005.0, {TWO: 900.0}) == ["feed pair is silent: 239.1.1.2"]
    ports = Feeds(Config(feeds=(Feed(label="ports", pair=(GroupPort(ONE, 7), GroupPort(ONE, 8))),)), None, 1000.0)
    assert [ports.of(key(ONE, port)) is not None for port in (7, 8, 9)] == [True, True, False]


def test_a_group_of_a_feed_is_silent_if_it_is_wanted_and_named_or_has_arrived() -> None:
    config = Config(feeds=(feed("A", "239.1.1.1", "239.1.1.2", "239.1.1.3"), feed("B", "239.2.0.0/16")))
    feeds, schedule = Feeds(config, None, 1000.0), expecting(config)
    wanted = {ONE: 900.0, TWO: 1003.0}
    assert silent(feeds, schedule, 1004.0, wanted) == []
    assert silent(feeds, schedule, 1005.0, wanted) == ["feed A is silent: 239.1.1.1"]
    ranged = IPv4Address("239.2.1.1")
    for now, expected in (
        (1010.0, ["feed A is silent: 239.1.1.2"]),
        (1016.0, ["feed A is silent: 239.1.1.1, 239.1.1.2", "feed B is silent: 239.2.1.1"]),
    ):
        for group in (ONE, ranged):
            found = feeds.of(key(group))
            assert found is not None
            feeds.add(found, group, 1009.0)
        assert silent(feeds, schedule, now, {**wanted, ranged: 0.0}) == expected


def test_without_max_silence_nothing_is_a_problem_and_nothing_asks() -> None:
    config = Config(feeds=(feed("A", "239.1.1.1", max_silence=None),))
    feeds = Feeds(config, None, 1000.0)
    assert not feeds.are_limited
    assert silent(feeds, expecting(config), 9000.0, {ONE: 0.0}) == []


def test_outside_its_hours_a_feed_is_not_silent_and_its_own_hours_go_before_those_of_all() -> None:
    hours = (parse("Mon-Fri 09:50-18:45 Europe/Moscow"),)
    config = Config(
        streams=Streams(hours=(parse("Sun 00:00-01:00"),)),
        feeds=(replace(feed("A", "239.1.1.1"), hours=hours), feed("B", "239.1.1.1")),
    )
    feeds, schedule = Feeds(config, None, 1000.0), expecting(config)
    assert silent(feeds, schedule, 1010.0, {ONE: 0.0}) == ["feed A is silent: 239.1.1.1"]
    schedule.expect(MORNING + timedelta(hours=8), 2000.0)
    assert silent(feeds, schedule, 2010.0, {ONE: 0.0}) == []
    schedule.expect(MORNING + timedelta(days=1), 3000.0)
    assert silent(feeds, schedule, 3004.0, {ONE: 0.0}) == []
    assert silent(feeds, schedule, 3005.0, {ONE: 0.0}) == ["feed A is silent: 239.1.1.1"]


def test_another_configuration_keeps_what_is_silent_and_since_when_a_feed_is_watched() -> None:
    config = Config(feeds=(feed("A", "239.1.1.1"), feed("B", "239.1.1.2")))
    feeds = Feeds(config, None, 1000.0)
    assert len(silent(feeds, expecting(config), 1010.0, {ONE: 0.0, TWO: 0.0})) == 2
    after = Feeds(Config(feeds=(feed("A", "239.1.1.1"), feed("C", "239.1.1.2"))), feeds, 1011.0)
    assert [one.subject for one in after.problems()] == ["A"]
    assert len(silent(after, expecting(config), 1012.0, {ONE: 0.0, TWO: 0.0})) == 1


def test_ten_thousand_groups_are_looked_at_in_steps() -> None:
    config = Config(feeds=(feed("A", "239.0.0.0/8"),))
    feeds = Feeds(config, None, 1000.0)
    for n in range(10_000):
        feeds.add(config.feeds[0], ONE + n, 1000.0)
    assert len(list(feeds.looked(lambda _: 0.0, expecting(config), 1001.0))) == 39


# Among all agents


@pytest.fixture
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


def problems(process: Process) -> list[tuple[str, str]]:
    """The silent feeds; without Hellos there are other problems after a while."""
    found = [(one.code, one.subject) for one in process.agents.problems()]
    return [one for one in found if one[0] == "feed_silent"]


@pytest.mark.usefixtures("capable")
@simulated
async def test_a_feed_that_falls_silent_and_returns_is_logged_and_a_problem_meanwhile_also_of_a_followed_group() -> (
    None
):
    config = replace(ARTICLE, feeds=(feed("trades", str(ONE), port=5000), feed("quotes", str(TWO))))
    async with running(config) as process:
        process.host.streams.arrives(str(ONE), port=5001)
        await process.up()
        await until(lambda: not problems(process), "all is well")
        process.agents.wanted.join("gre1", TWO, None, APPLICATION)
        assert await until(lambda: problems(process) == [("feed_silent", "quotes")], "quotes are silent") < 7.0
        process.host.streams.arrives(str(TWO))
        await until(lambda: not problems(process), "quotes return")
        process.host.streams.arrives(str(ONE), rate=0.0)
        assert await until(lambda: problems(process) == [("feed_silent", "trades")], "trades are silent") < 8.0
        _, parts = await process.agents.streams.report(None, None)
        labels = {(one.group, one.port): one.feed for part in parts for one in part}
        assert labels == {(str(ONE), 5000): "trades", (str(ONE), 5001): None, (str(TWO), 5000): "quotes"}
        process.agents.wanted.leave("gre1", TWO, None, APPLICATION)
        process.host.streams.arrives(str(TWO), rate=0.0)
        process.host.streams.arrives(str(ONE))
        await until(lambda: not problems(process), "well")
        logged = [one["subject"] for one in process.host.log.records if one["event"].startswith("arrival_")]
        assert logged == ["quotes", "quotes", "trades", "trades"]


@pytest.mark.usefixtures("capable")
@simulated
async def test_hundreds_of_feeds_that_end_together_are_few_lines() -> None:
    groups = tuple(Group(group=ONE + n, tunnel="gre1") for n in range(300))
    feeds = tuple(feed(f"feed {n}", str(ONE + n)) for n in range(300))
    async with running(replace(ARTICLE, groups=groups, feeds=feeds)) as process:
        for group in groups:
            process.host.streams.arrives(str(group.group), rate=2.0)
        await process.up()
        process.host.streams.stop()
        await until(lambda: len(problems(process)) >= 300, "all are silent")
        lines = process.host.log.events()
        assert 20 <= lines.count("arrival_stopped") <= 40
        for group in groups[:2]:
            process.host.streams.arrives(str(group.group), rate=2.0)
        await until(lambda: "arrival_log_limited" in process.host.log.events(), "how many were left out")
