"""The follow agent over a kernel in memory, by a virtual clock."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from mcastd import membership
from mcastd.follow.agent import FollowAgent
from mcastd.follow.applications import LOST_FOR
from mcastd.follow.settings import FollowDesired, FollowedTunnel
from mcastd.membership import NONE, DesiredGroup
from mcastd.wanted import APPLICATION, FILE, Rps, Wanted
from tests.calls import calls
from tests.fakes.applications import INDEX, OWN, FakeApplications
from tests.fakes.clock import simulated, until
from tests.fakes.memory import MemoryLedger, MemoryLog
from tests.fakes.sysctls import FakeSysctls
from tests.loops import looping

VERSION = "net/ipv4/conf/gre1/force_igmp_version"
GROUP = IPv4Address("239.1.1.1")
TUNNEL = FollowedTunnel(name="gre1", ifindex=INDEX, address=OWN, rps=Rps(needed=True, has=lambda _: True))
ANY = DesiredGroup(True)


def sources(*found: str) -> DesiredGroup:
    return DesiredGroup(sources=frozenset(map(IPv4Address, found)))


class Following:
    """The agent, and everything that it uses."""

    def __init__(self, kernel: FakeApplications) -> None:
        self.kernel = kernel
        self.wanted = Wanted(lambda: time.monotonic())
        self.changes: list[tuple[float, DesiredGroup]] = []  # of GROUP on gre1, and when
        self.wanted.listen(self._changed)
        self.sysctls = FakeSysctls({VERSION: "0"})
        self.ledger = MemoryLedger()
        self.log = MemoryLog()
        self.agent = self.process()

    def process(self) -> FollowAgent:
        return FollowAgent(
            kernel=self.kernel,
            wanted=self.wanted,
            sysctls=self.sysctls,
            ledger=self.ledger,
            log=self.log.logger,
            on_change=lambda: None,
        )

    def of(self, group: IPv4Address | str = GROUP, name: str = "gre1") -> DesiredGroup:
        return self.wanted.of(name).desired(IPv4Address(group))

    def configure(self, *tunnels: FollowedTunnel, names: Sequence[str] = ("gre1",)) -> None:
        self.agent.configure(FollowDesired(tunnels, tuple(names)))

    def codes(self) -> list[str]:
        return [problem.code for problem in self.agent.problems()]

    def _changed(self, name: str, groups: Sequence[IPv4Address]) -> None:
        if GROUP in groups:
            self.changes.append((time.monotonic(), self.of(name=name)))


@contextlib.asynccontextmanager
async def following(
    kernel: FakeApplications | None = None, tunnel: FollowedTunnel = TUNNEL
) -> AsyncIterator[Following]:
    found = Following(kernel or FakeApplications())
    async with looping(found.agent.run()):
        found.configure(tunnel)
        await found.agent.settled()
        await asyncio.sleep(0.1)
        yield found


TRIGGERS = pytest.mark.parametrize(
    ("has_netlink", "latency"), [(True, 0.001), (False, 0.010)], ids=["netlink", "reports"]
)


@TRIGGERS
@simulated
async def test_a_join_is_wanted_at_once(has_netlink: bool, latency: float) -> None:
    async with following(FakeApplications(has_netlink=has_netlink)) as found:
        began = time.monotonic()
        found.kernel.join(str(GROUP))
        await until(lambda: bool(found.changes), "wanted", 1.0)
        assert found.changes[0][0] - began <= latency
        assert found.of() == ANY


@TRIGGERS
@simulated
async def test_a_join_of_a_source_is_never_wanted_from_any(has_netlink: bool, latency: float) -> None:
    async with following(FakeApplications(has_netlink=has_netlink)) as found:
        began = time.monotonic()
        found.kernel.join(str(GROUP), "10.0.0.1")
        await asyncio.sleep(1.0)
        assert [change for _, change in found.changes] == [sources("10.0.0.1")]
        assert found.changes[0][0] - began <= latency


@TRIGGERS
@simulated
async def test_the_last_that_leaves_is_followed_after_linger(has_netlink: bool, latency: float) -> None:
    async with following(FakeApplications(has_netlink=has_netlink)) as found:
        one, other = found.kernel.join(str(GROUP)), found.kernel.join(str(GROUP))
        await asyncio.sleep(1.0)
        found.kernel.leave(one)
        await asyncio.sleep(10.0)
        assert found.of() == ANY
        left = time.monotonic()
        found.kernel.leave(other)
        await until(lambda: found.of() == DesiredGroup(), "left")
        assert 5.0 <= time.monotonic() - left <= 5.02 + latency


@TRIGGERS
@simulated
async def test_a_rejoin_within_linger_changes_nothing(has_netlink: bool, latency: float) -> None:
    async with following(FakeApplications(has_netlink=has_netlink)) as found:
        one = found.kernel.join(str(GROUP))
        for _ in range(4):
            await asyncio.sleep(3.0)
            found.kernel.leave(one)
            await asyncio.sleep(3.0)
            one = found.kernel.join(str(GROUP))
        await asyncio.sleep(1.0)
        assert len(found.changes) == 1


@simulated
async def test_a_change_of_sources_follows_the_reports() -> None:
    async with following() as found:
        one = found.kernel.join(str(GROUP), "10.0.0.1")
        await asyncio.sleep(1.0)
        found.kernel.set_sources(one, "10.0.0.2")
        await asyncio.sleep(0.1)
        assert found.of() == sources("10.0.0.1", "10.0.0.2")
        await asyncio.sleep(5.0)
        assert found.of() == sources("10.0.0.2")
        found.kernel.join(str(GROUP))
        await asyncio.sleep(0.1)
        assert found.of() == DesiredGroup(True, frozenset({IPv4Address("10.0.0.2")}))


@simulated
async def test_an_any_source_joiner_beside_sources_is_found_by_a_query() -> None:
    kernel = FakeApplications()
    kernel.join(str(GROUP), "10.0.0.1", "10.0.0.2")
    kernel.join(str(GROUP))
    async with following(kernel) as found:
        assert kernel.queries == [GROUP]
        assert found.changes[0][1] == sources("10.0.0.1", "10.0.0.2")
        assert found.of().any_source
        await asyncio.sleep(100.0)
        assert kernel.queries == [GROUP]


@simulated
async def test_without_an_answer_the_sources_alone_are_wanted() -> None:
    kernel = FakeApplications()
    kernel.hears_reports = False
    kernel.join(str(GROUP), "10.0.0.1")
    kernel.join(str(GROUP), "10.0.0.2")
    async with following(kernel) as found:
        await asyncio.sleep(1.0)
        assert found.of() == sources("10.0.0.1", "10.0.0.2")


@simulated
async def test_what_is_joined_at_the_start_is_wanted_when_it_has_settled() -> None:
    kernel = FakeApplications()
    kernel.join(str(GROUP))
    kernel.join("232.1.1.1", "10.0.0.1")
    async with following(kernel) as found:
        assert found.of() == ANY
        assert found.of("232.1.1.1") == sources("10.0.0.1")
        assert found.agent.status(0.0)["gre1"].joins == 2


@simulated
async def test_what_was_not_heard_of_is_found_within_half_a_minute() -> None:
    kernel = FakeApplications(has_netlink=False)
    kernel.hears_reports = False
    async with following(kernel) as found:
        one = kernel.join(str(GROUP))
        assert await until(lambda: found.of() == ANY, "found") <= 30.1
        kernel.leave(one)
        assert await until(lambda: found.of() == DesiredGroup(), "gone") <= 35.1


@simulated
async def test_after_a_lost_notification_everything_is_read_again() -> None:
    kernel = FakeApplications()
    kernel.hears_reports = False
    async with following(kernel) as found:
        kernel.has_netlink = False
        kernel.join(str(GROUP))
        kernel.overflow()
        assert await until(lambda: found.of() == ANY, "wanted") <= 0.1


@TRIGGERS
@simulated
async def test_1000_joins_at_once_are_wanted_within_a_second_and_left_after_linger(
    has_netlink: bool, latency: float
) -> None:
    kernel = FakeApplications(has_netlink=has_netlink)
    async with following(kernel) as found:
        members = []
        for number in range(1000):
            members.append(kernel.join(str(GROUP + number)))
            await asyncio.sleep(0.001)
        await until(lambda: len(found.wanted.of("gre1")) == 1000, "all wanted", 1.0)
        assert kernel.reads < 800
        for one in members:
            kernel.leave(one)
        assert await until(lambda: len(found.wanted.of("gre1")) == 0, "none wanted", 10.0) < 5.5


@simulated
async def test_a_line_that_is_missing_after_a_hint_is_read_again() -> None:
    async with following() as found:
        one = found.kernel.join(str(GROUP), "10.0.0.1")
        await asyncio.sleep(1.0)
        found.kernel.missed = GROUP
        found.kernel.set_sources(one, "10.0.0.1", "10.0.0.2")
        await asyncio.sleep(20.0)
        assert [change for _, change in found.changes] == [sources("10.0.0.1"), sources("10.0.0.1", "10.0.0.2")]
        assert found.kernel.missed is None


@simulated
async def test_what_changes_between_the_two_files_is_never_wanted_from_any() -> None:
    """After a hint the sources are read first, at an audit the sockets."""
    async with following() as found:
        kernel = found.kernel
        one = kernel.join(str(GROUP), "10.0.0.1")
        await asyncio.sleep(1.0)
        kernel.meanwhile = lambda: kernel.join(str(GROUP), "10.0.0.2")
        kernel.set_sources(one, "10.0.0.3")
        await asyncio.sleep(20.0)
        assert found.of() == sources("10.0.0.2", "10.0.0.3")
        kernel.meanwhile = lambda: kernel.leave(one)
        await asyncio.sleep(40.0)
        assert found.of() == sources("10.0.0.2")
        assert not any(change.any_source for _, change in found.changes)


@simulated
async def test_beyond_the_limit_is_a_problem() -> None:
    async with following(tunnel=replace(TUNNEL, limit=1)) as found:
        one = found.kernel.join(str(GROUP))
        found.kernel.join("239.1.1.2")
        await asyncio.sleep(0.1)
        assert found.codes() == ["follow_limit_reached"]
        status = found.agent.status(0.0)["gre1"]
        assert (status.joins, status.beyond_limit) == (1, 1)
        assert [(each.group, each.reason) for each in status.not_followed] == [("239.1.1.2", "limit")]
        found.kernel.leave(one)
        await asyncio.sleep(0.1)
        assert found.codes() == []
        assert found.of("239.1.1.2") == ANY


@simulated
async def test_what_was_refused_is_wanted_when_others_have_left_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "MAX_JOINS", 1)
    async with following() as found:
        found.wanted.join("gre1", IPv4Address("239.1.1.2"), None, FILE)
        found.kernel.join(str(GROUP))
        other = found.kernel.join("239.1.1.3")
        await asyncio.sleep(1.0)
        found.kernel.leave(other)
        await asyncio.sleep(40.0)
        assert (found.codes(), found.of()) == (["follow_limit_reached"], DesiredGroup())
        found.wanted.leave("gre1", IPv4Address("239.1.1.2"), None, FILE)
        await asyncio.sleep(31.0)
        assert (found.codes(), found.of()) == ([], ANY)


@simulated
async def test_what_an_interface_took_with_it_is_forgotten_after_an_hour() -> None:
    async with following() as found:
        found.kernel.join(str(GROUP))
        await asyncio.sleep(0.1)
        found.kernel.delete_interface()
        found.configure(replace(TUNNEL, ifindex=7))
        await asyncio.sleep(LOST_FOR - 1.0)
        assert found.codes() == ["memberships_lost"]
        await asyncio.sleep(2.0)
        assert found.codes() == []


@simulated
async def test_what_an_interface_took_with_it_is_a_problem_until_it_is_joined_again() -> None:
    async with following() as found:
        found.kernel.join(str(GROUP))
        await asyncio.sleep(0.1)
        found.kernel.delete_interface()
        found.configure(replace(TUNNEL, ifindex=7))
        await asyncio.sleep(0.1)
        assert found.codes() == ["memberships_lost"]
        assert found.agent.status(0.0)["gre1"].lost == (str(GROUP),)
        assert found.log.events().count("follow_incomplete") == 1
        await asyncio.sleep(6.0)
        assert found.of() == DesiredGroup()
        found.kernel.join(str(GROUP), ifindex=7)
        await asyncio.sleep(0.1)
        assert (found.codes(), found.of()) == ([], ANY)


@simulated
async def test_what_is_not_followed_is_in_status_unless_the_file_has_it() -> None:
    async with following(tunnel=replace(TUNNEL, follow=(IPv4Network("239.2.0.0/16"),))) as found:
        found.kernel.join(str(GROUP))
        found.kernel.join("239.1.1.2")
        found.wanted.join("gre1", IPv4Address("239.1.1.2"), None, FILE)
        await asyncio.sleep(0.1)
        shown = found.agent.status(0.0)["gre1"].not_followed
        assert [(one.group, one.reason) for one in shown] == [(str(GROUP), "out_of_range")]
        assert found.codes() == []


@simulated
async def test_a_tunnel_that_is_not_configured_any_more_wants_nothing() -> None:
    async with following() as found:
        found.kernel.join(str(GROUP))
        await asyncio.sleep(0.1)
        found.configure(names=())
        await found.agent.settled()
        assert found.wanted.of_origin(APPLICATION) == ()


@simulated
async def test_while_the_interface_is_missing_nothing_changes() -> None:
    async with following() as found:
        found.kernel.join(str(GROUP))
        await asyncio.sleep(0.1)
        found.configure()
        await asyncio.sleep(100.0)
        assert found.of() == ANY


@simulated
async def test_files_that_cannot_be_read_are_a_problem_and_nothing_is_left() -> None:
    async with following() as found:
        found.kernel.join(str(GROUP))
        await asyncio.sleep(0.1)
        found.kernel.refuses = "/proc/net/igmp: Too many open files"
        await asyncio.sleep(60.0)
        assert found.codes() == ["follow_failed"]
        assert found.of() == ANY
        found.kernel.refuses = None
        await asyncio.sleep(6.0)
        assert found.codes() == []


@simulated
async def test_the_interface_is_held_to_igmpv3_and_put_back() -> None:
    async with following() as found:
        assert found.sysctls.values[VERSION] == "3"
        found.sysctls.change(VERSION, "2")
        await asyncio.sleep(31.0)
        assert found.sysctls.values[VERSION] == "3"
        found.configure(replace(TUNNEL, igmpv3=False))
        await found.agent.settled()
        assert (found.sysctls.values[VERSION], found.ledger.copy()) == ("0", {})
        found.configure(TUNNEL)
        await found.agent.settled()
    successor = found.process()
    await successor.close()
    assert (found.sysctls.values[VERSION], found.ledger.copy()) == ("0", {})


@simulated
async def test_an_interface_that_cannot_be_held_to_igmpv3_is_followed_and_a_problem() -> None:
    kernel = FakeApplications()
    kernel.join(str(GROUP))
    found = Following(kernel)
    found.sysctls.refused.add(VERSION)
    async with looping(found.agent.run()):
        found.configure(TUNNEL)
        await found.agent.settled()
        assert found.of() == ANY
        assert found.codes() == ["follow_failed"]


@simulated
async def test_it_can_begin_again_on_the_same_object() -> None:
    async with following() as found:
        found.kernel.join(str(GROUP))
        await asyncio.sleep(0.1)
    async with looping(found.agent.run()):
        found.kernel.join("239.1.1.2")
        await asyncio.sleep(0.1)
        assert (found.of(), found.of("239.1.1.2")) == (ANY, ANY)


@simulated
async def test_sockets_of_mcastd_itself_are_no_applications() -> None:
    """On a tunnel with ``upstream = "igmp"`` they join what others desire."""
    own = {GROUP: ((True, NONE),)}
    async with following(tunnel=replace(TUNNEL, igmpv3=False, own_sockets=lambda group: own.get(group, ()))) as found:
        found.wanted.join("gre1", GROUP, None, FILE)
        found.kernel.join(str(GROUP))
        other = found.kernel.join("239.1.1.2")
        await asyncio.sleep(1.0)
        assert found.wanted.of_origin(APPLICATION) == (("gre1", IPv4Address("239.1.1.2"), None),)
        found.kernel.join(str(GROUP))
        await asyncio.sleep(31.0)
        assert set(found.wanted.of("gre1").origins(GROUP, None)) == {FILE, APPLICATION}
        found.kernel.leave(other)
        assert found.sysctls.values[VERSION] == "0"


@pytest.mark.parametrize("limit", [1, 5000])
@simulated
async def test_problems_cost_the_same_with_1_and_with_2000_groups(limit: int) -> None:
    async def cost(count: int) -> int:
        kernel = FakeApplications()
        for number in range(count + 1):
            kernel.join(str(GROUP + number))
        async with following(kernel, replace(TUNNEL, limit=limit)) as found:
            kernel.delete_interface()
            found.configure(replace(TUNNEL, limit=limit, ifindex=7))
            await found.agent.settled()
            assert len(found.agent.status(0.0)["gre1"].lost) == min(count + 1, 100)
            return calls(found.codes)

    # The names of the first five are in the text.
    assert await cost(2000) <= await cost(10)
