"""All that arrives, from what the kernel has counted: without a kernel."""

from collections.abc import Iterable
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network

import pytest
from msgspec.structs import replace

from mcastd.config.model import Config, Feed, Group
from mcastd.net.nfnetlink import Element
from mcastd.streams.desired import StreamsDesired
from mcastd.streams.monitor import Monitor
from mcastd.streams.table import CHILD, DELIVERED, TIMEOUT, TUNNEL
from tests.calls import calls
from tests.fakes.streams import key
from tests.firewall.test_rules import child, config, tunnel

CONFIG = config(child(), tunnels=(replace(tunnel(), child="c"),))
GROUP, OTHER = IPv4Address("239.1.1.1"), IPv4Address("239.1.1.2")
MORNING = datetime(2026, 3, 2, 9, tzinfo=UTC)
SOURCE = "100.15.30.5"


def wanting(desired: Config, *, joins: int = 0, monitor: Monitor | None = None, now: float = 1000.0) -> Monitor:
    """A monitor that counts and expects streams; every stream is joined if there are ``joins``."""
    monitor = monitor or Monitor()
    every = {one.name: joins for one in desired.tunnels}
    monitor.configure(StreamsDesired(desired, {"c": 1}, every, lambda *_: joins > 0), now)
    monitor.expect(MORNING, now)
    return monitor


def counted(
    monitor: Monitor, now: float, arrived: int, *, delivered: int | None = None, decrypted: int | None = None
) -> bool:
    """The kernel's counters are read; returns whether the streams are to be."""
    packets = {TUNNEL + "gre1": arrived, DELIVERED + "gre1": arrived if delivered is None else delivered}
    return monitor.counted(packets | {CHILD + "c": arrived if decrypted is None else decrypted}, now)


def look(monitor: Monitor, now: float, streams: Iterable[tuple[str, int, float]]) -> int:
    """The streams are read: group, packets, and when the last one came; returns in how many steps."""
    for group, packets, seen in streams:
        monitor.stream(Element(key("gre1", SOURCE, group, 5000), packets, TIMEOUT - (now - seen)), now)
    return len(list(monitor.look(now))) + 1


def codes(monitor: Monitor, now: float) -> set[str]:
    return {problem.code for problem in monitor.problems(now)}


# What the host loses


def test_the_counters_of_an_interface_that_was_created_again_begin_at_0() -> None:
    monitor = wanting(CONFIG)
    monitor.host({"interface/gre1/dropped": 900, "softnet//dropped": 10})
    monitor.reset(1000.0)
    monitor.host({"interface/gre1/dropped": 4, "softnet//dropped": 12, "nic/eth1/dropped": 5})
    assert monitor.host_since(1000.0) == (
        {"interface/gre1/dropped": 4, "softnet//dropped": 2, "nic/eth1/dropped": 0}, 1000.0,
    )  # fmt: skip


def test_the_first_look_reads_what_the_host_loses_also_just_after_it_has_booted() -> None:
    monitor = wanting(CONFIG, now=3.0)
    assert monitor.begin_to_compare(4.0)
    assert not monitor.begin_to_compare(13.0)
    assert monitor.begin_to_compare(14.0)


# When the streams are read


def test_streams_that_ended_do_not_ask_for_looks() -> None:
    monitor = wanting(CONFIG, joins=1)
    ended = [(f"239.2.{n // 250}.{n % 250}", 100, 500.0) for n in range(200)]
    packets = 0
    for second in range(1000, 1020):
        packets += 50
        if counted(monitor, float(second), packets):
            look(monitor, float(second), [*ended, (str(GROUP), packets, float(second))])
    asked = []
    for second in range(1020, 1040):
        packets += 50
        asked.append(counted(monitor, float(second), packets))
        if asked[-1]:
            look(monitor, float(second), [*ended, (str(GROUP), packets, float(second))])
    assert sum(asked) == 10, "every two seconds, as where nothing asks"


@pytest.mark.parametrize(("joined", "looks"), [((), 3), (("224.0.0.251",), 3), (("239.1.1.1",), 20)])
def test_what_is_not_delivered_asks_for_looks_only_where_somebody_listens(joined: tuple[str, ...], looks: int) -> None:
    monitor, count = wanting(CONFIG), 0
    many = [(f"239.2.{n // 250}.{n % 250}", 100, 1000.0) for n in range(3000)]
    look(monitor, 1000.0, many)
    for second in range(1000, 1020):
        asks = counted(monitor, float(second), (second - 900) * 4000, delivered=0)
        monitor.joined({name: map(IPv4Address, joined) for name in monitor.undelivered()}, float(second))
        if asks:
            count += 1
            look(monitor, float(second), ())
    assert abs(count - looks) <= 2


def test_a_look_is_worked_off_in_steps() -> None:
    monitor = wanting(CONFIG, joins=1)
    many = [(f"239.{n // 62500}.{n // 250 % 250}.{n % 250}", 100, 1000.0) for n in range(10_000)]
    assert look(monitor, 1000.0, many) == 40
    steps = monitor.look(1000.0)
    assert max(calls(lambda: next(steps)) for _ in range(39)) < 256 * 15


def test_what_was_counted_is_given_in_steps() -> None:
    monitor = wanting(CONFIG, joins=1)
    look(monitor, 1000.0, [(f"239.1.{n // 250}.{n % 250}", 100, 1000.0) for n in range(10_000)])
    parts = monitor.counts(None, None, 900.0, 1001.0)
    assert calls(lambda: next(parts)) < 10_000 + 256 * 25
    assert max(calls(lambda: next(parts)) for _ in range(38)) < 256 * 25
    assert sum(map(len, monitor.counts(None, 950.0, 900.0, 1001.0))) == 10_000
    assert [one.group for part in monitor.counts(GROUP, None, 900.0, 1001.0) for one in part] == [str(GROUP)]


def test_the_groups_with_max_silence_are_gone_through_once_however_many_tunnels_there_are() -> None:
    def cost(tunnels: int) -> int:
        names = [f"gre{n + 1}" for n in range(tunnels)]
        groups = tuple(Group(group=GROUP + n, tunnel=names[n % tunnels], max_silence=5.0) for n in range(1000))
        desired = replace(CONFIG, tunnels=tuple(tunnel(name=name) for name in names), groups=groups)
        monitor = wanting(desired, joins=1)
        look(monitor, 1100.0, ())
        found: list[str] = []
        cost = calls(lambda: found.extend(problem.subject for problem in monitor.problems(1100.0)))
        assert found == names
        return cost

    assert cost(50) < 2 * cost(1)


# What is not delivered


def undelivered(monitor: Monitor, begin: int, end: int, joined: Iterable[IPv4Address], delivered: int = 0) -> None:
    """A feed arrives for GROUP, and nothing more is delivered; each second is read as the agent does."""
    for second in range(begin, end):
        now, arrived = float(second), (second - 900) * 100
        asks = counted(monitor, now, arrived, delivered=delivered)
        monitor.joined(dict.fromkeys(monitor.undelivered(), joined), now)
        if asks:
            look(monitor, now, [(str(GROUP), arrived, now)])


def test_what_arrived_before_an_application_joined_is_not_missed() -> None:
    monitor = wanting(CONFIG, joins=1)
    undelivered(monitor, 1000, 1020, ())
    undelivered(monitor, 1020, 1021, (GROUP,))
    assert codes(monitor, 1020.0) == set(), "it has only just joined"
    for second in range(1021, 1030):  # and what arrives since then is delivered
        undelivered(monitor, second, second + 1, (GROUP,), delivered=(second - 1020) * 100)
        assert codes(monitor, float(second)) == set()


def test_what_arrives_after_an_application_joined_is_missed() -> None:
    monitor = wanting(replace(CONFIG, feeds=(Feed(label="trades", groups=(IPv4Network(GROUP),)),)), joins=1)
    undelivered(monitor, 1000, 1020, ())
    undelivered(monitor, 1020, 1024, (GROUP,))
    assert codes(monitor, 1023.0) == {"not_delivered"}
    assert any(f"for {GROUP} (trades): its firewall" in problem.text for problem in monitor.problems(1023.0))


def test_what_was_counted_before_this_process_began_is_not_missed() -> None:
    monitor = wanting(CONFIG, joins=1)
    counted(monitor, 1000.0, 1_000_000, delivered=0)
    assert monitor.undelivered() == []


# CHILD_SAs


def test_before_the_first_gap_is_known_a_silence_is_judged_only_where_there_was_a_feed() -> None:
    monitor = wanting(CONFIG, joins=1)
    hellos = 0
    for second in range(1000, 1300):  # a Hello a minute, and no feed
        hellos += second % 60 == 0
        counted(monitor, float(second), 0, decrypted=hellos)
        assert "child_sa_silent" not in codes(monitor, float(second))
    for second in range(1300, 1400):
        counted(monitor, float(second), 0, decrypted=hellos)
    assert "child_sa_silent" in codes(monitor, 1400.0), "the gaps are known"


# Another way of counting


def test_what_is_not_known_without_nftables_is_no_problem_then() -> None:
    groups = (Group(group=OTHER, tunnel="gre1", max_silence=5.0),)
    monitor = wanting(replace(CONFIG, groups=groups), joins=1)
    for second in range(1000, 1060):
        counted(monitor, float(second), second * 100, decrypted=1 + (second > 1000) + (second > 1010))
        look(monitor, float(second), [(str(GROUP), second * 100, float(second))])
    assert codes(monitor, 1060.0) == {"group_silent", "child_sa_silent"}
    monitor.received({"gre1": 1_000_000}, 1060.0)
    assert codes(monitor, 1060.0) == set()
    counted(monitor, 1070.0, 107_000)
    assert codes(monitor, 1070.0) == set()


# The rows of status


def test_a_row_is_silent_if_every_stream_of_it_was_at_the_last_look() -> None:
    monitor = wanting(CONFIG)
    monitor.stream(Element(key("gre1", SOURCE, str(GROUP), 5000), 1, TIMEOUT), 1000.0)
    monitor.stream(Element(key("gre1", "100.15.30.6", str(GROUP), 5000), 1, TIMEOUT - 90.0), 1000.0)
    list(monitor.look(1000.0))
    rows = monitor.groups()
    assert dict(rows) == {
        ("gre1", SOURCE, str(GROUP)): "arriving",
        ("gre1", "100.15.30.6", str(GROUP)): "silent",
        ("gre1", None, str(GROUP)): "arriving",
    }
    assert (len(rows), rows.get(("gre1", None, str(OTHER)))) == (3, None)
    list(monitor.look(1090.0))
    assert set(monitor.groups().values()) == {"silent"}


def test_the_streams_of_one_group_are_shown_with_their_rates() -> None:
    monitor = wanting(replace(CONFIG, feeds=(Feed(label="trades", groups=(IPv4Network(GROUP),)),)))
    for second in range(1000, 1011):
        look(monitor, float(second), [(str(GROUP), (second - 1000) * 20, float(second)), ("239.2.0.1", 1, 1000.0)])
    (stream,) = monitor.of_group(GROUP, 1010.5)
    assert (stream.tunnel, stream.port, stream.state, stream.packets) == ("gre1", 5000, "arriving", 200)
    assert stream.rate == pytest.approx(200 / 10.5)
    assert stream.feed == "trades"
    assert stream.last_age == pytest.approx(0.5)
    (slow,) = monitor.of_group(IPv4Address("239.2.0.1"), 1010.5)
    assert (slow.packets, slow.rate, slow.feed) == (1, None, None)
    assert list(monitor.of_group(IPv4Address("239.2.0.9"), 1010.5)) == []


def test_status_converts_no_stream_that_it_does_not_show() -> None:
    monitor = wanting(CONFIG)
    look(monitor, 1000.0, [(f"239.2.{n // 250}.{n % 250}", 100, 1000.0) for n in range(1000)])
    assert calls(lambda: monitor.groups().get(("gre1", None, "239.2.0.7"))) < 50
