"""The IGMP agent over packets and interfaces in memory, in virtual time and without root."""

import asyncio
import contextlib
import errno
import time
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Interface

import pytest
from msgspec.structs import replace

from mcastd import membership
from mcastd.config.downstream import Forward
from mcastd.igmp import members
from mcastd.igmp.agent import IgmpAgent
from mcastd.igmp.flood import SAMPLED
from mcastd.igmp.pim_routers import HOLDTIME
from mcastd.igmp.settings import IgmpDesired
from mcastd.joined_hosts import JoinedHosts
from mcastd.membership import DesiredGroup
from mcastd.net import ipv4
from mcastd.net.igmp import Leave, Query, Record, RecordType, Report, V3Report
from mcastd.status import QuerierStatus
from mcastd.wanted import HOSTS, STATIC, Wanted
from tests.fakes.clock import simulated, until
from tests.fakes.igmp_transport import FakeSegments, FakeTransport
from tests.fakes.kernel import FakeKernel
from tests.fakes.memory import MemoryLog
from tests.fakes.netlink import FakeNetlink
from tests.igmp.elections import queriers
from tests.loops import looping

US, LOWER, HOST, OTHER = (IPv4Address(f"10.1.1.{n}") for n in (5, 2, 20, 21))
GROUP, SOURCE = IPv4Address("239.1.2.3"), IPv4Address("100.15.30.10")
FORWARD = Forward(name="eth1", from_=("gre1",), query_interval=10.0, query_response_interval=2.0)
ANY = DesiredGroup(any_source=True)
JOIN = V3Report((Record(RecordType.TO_EX, GROUP),))


class Bench:
    """An agent, and the host that it is on."""

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        self.netlink = FakeNetlink(self.kernel)
        self.segments = FakeSegments()
        self.log = MemoryLog()
        self.downstream = Wanted(lambda: time.monotonic())
        self.joined = JoinedHosts(lambda: time.monotonic())
        self.changes = 0
        self.agent = IgmpAgent(
            links=self.netlink, downstream=self.downstream, joined=self.joined, log=self.log.logger,
            on_change=self._changed, open_transport=self.segments.open,
        )  # fmt: skip

    def _changed(self) -> None:
        self.changes += 1

    def plug(self, address: str | None = f"{US}/24") -> None:
        """The interface is made."""
        self.kernel.make_link("eth1", None, up=True)
        if address is not None:
            self.kernel.add_address("eth1", (IPv4Interface(address), None))

    async def want(
        self, *forwards: Forward, waiting: frozenset[str] = frozenset(), quiet: frozenset[str] = frozenset()
    ) -> None:
        self.agent.configure(IgmpDesired(forwards, waiting, quiet))
        await self.agent.settled()

    @property
    def transport(self) -> FakeTransport:
        """The one that was opened last."""
        return self.segments.opened[-1]

    def status(self) -> QuerierStatus:
        return self.agent.status(time.monotonic())["eth1"]

    def desired(self) -> DesiredGroup:
        return self.downstream.of("eth1").desired(GROUP)

    def problems(self) -> list[str]:
        return [problem.code for problem in self.agent.problems()]


@contextlib.asynccontextmanager
async def running(*, plugged: bool = True) -> AsyncIterator[Bench]:
    bench = Bench()
    if plugged:
        bench.plug()
    async with looping(bench.agent.run()):
        await bench.want(FORWARD)
        yield bench
        await bench.agent.close()


@simulated
async def test_hosts_are_asked_at_once_and_what_they_report_is_desired() -> None:
    async with running() as bench:
        assert bench.transport.sent[0] == (IPv4Address("224.0.0.1"), Query(3, 2.0, robustness=2, interval=10.0))
        assert queriers(bench.agent) == {"eth1": True}
        bench.transport.message(HOST, JOIN)
        assert bench.desired() == ANY
        assert bench.downstream.of("eth1").origins(GROUP, None) == (HOSTS,)
        await asyncio.sleep(1)
        assert bench.agent.hosts(GROUP, time.monotonic()) == {"eth1": {HOST: 1.0}}
        status = bench.status()
        assert (status.state, status.querier, status.groups, status.hosts) == ("querier", str(US), 1, 1)
        bench.transport.message(HOST, V3Report((Record(RecordType.TO_IN, GROUP, (SOURCE,)),)))
        await asyncio.sleep(3)
        assert bench.desired() == DesiredGroup(sources=frozenset({SOURCE}))
        bench.transport.message(HOST, V3Report((Record(RecordType.BLOCK, GROUP, (SOURCE,)),)))
        await asyncio.sleep(3)
        assert bench.desired() == DesiredGroup()
        assert len(bench.transport.queries()) == 2 + 2 + 2


@simulated
async def test_an_interface_may_come_late_go_and_come_back() -> None:
    async with running(plugged=False) as bench:
        assert bench.status() == QuerierStatus()
        assert queriers(bench.agent) == {}
        bench.plug(None)
        await until(lambda: bench.problems() == ["downstream_without_address"])
        bench.kernel.add_address("eth1", (IPv4Interface(f"{US}/24"), None))
        await until(lambda: queriers(bench.agent) == {"eth1": True}, seconds=1)
        bench.transport.message(HOST, JOIN)
        before = bench.transport
        bench.kernel.delete_link("eth1")
        await until(lambda: bench.desired() == DesiredGroup(), seconds=1)
        assert before.closed
        assert bench.status() == QuerierStatus()
        bench.plug()
        await until(lambda: queriers(bench.agent) == {"eth1": True}, seconds=1)
        assert bench.transport is not before
        assert len(bench.transport.queries()) == 1
        bench.kernel.set_link("eth1", up=False)
        await until(lambda: queriers(bench.agent) == {}, seconds=1)


@simulated
async def test_what_there_is_no_room_for_is_a_problem_and_desired_when_others_have_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(membership, "MAX_JOINS", 1)
    async with running() as bench:
        bench.downstream.join("eth1", IPv4Address("239.9.9.9"), None, STATIC)
        bench.transport.message(HOST, JOIN)
        bench.transport.message(HOST, V3Report((Record(RecordType.TO_EX, GROUP + 1),)))
        await asyncio.sleep(1.0)
        bench.transport.message(HOST, V3Report((Record(RecordType.TO_IN, GROUP + 1),)))
        for _ in range(8):
            await asyncio.sleep(5.0)
            bench.transport.message(HOST, JOIN)
        changes = bench.changes
        assert (bench.problems(), bench.desired()) == (["groups_limit"], DesiredGroup())
        [problem] = bench.agent.problems()
        assert problem.text.startswith("eth1: 1 groups")
        bench.downstream.leave("eth1", IPv4Address("239.9.9.9"), None, STATIC)
        for _ in range(7):
            await asyncio.sleep(5.0)
            bench.transport.message(HOST, JOIN)
        assert (bench.problems(), bench.desired(), bench.changes) == ([], ANY, changes + 1)


@simulated
async def test_another_address_is_sent_from_and_groups_stay() -> None:
    async with running() as bench:
        bench.transport.message(HOST, JOIN)
        bench.kernel.delete_address("eth1", (IPv4Interface(f"{US}/24"), None))
        bench.kernel.add_address("eth1", (IPv4Interface(f"{LOWER}/24"), None))
        await until(lambda: bench.transport.settings.address == LOWER, seconds=1)
        assert bench.status().address == str(LOWER)


@simulated
async def test_what_the_file_no_longer_has_is_given_up() -> None:
    async with running() as bench:
        bench.transport.message(HOST, JOIN)
        await bench.want()
        assert bench.desired() == DesiredGroup()
        assert bench.transport.closed
        assert bench.agent.status(time.monotonic()) == {}


@simulated
async def test_other_values_are_used_at_once() -> None:
    async with running() as bench:
        other = Forward(name="eth1", from_=("gre1",), query_interval=20.0, query_response_interval=2.0, robustness=3)
        await bench.want(other)
        await until(lambda: bench.transport.queries()[-1] == Query(3, 2.0, robustness=3, interval=20.0), seconds=1)


@simulated
async def test_another_querier_is_shown_and_an_older_one_is_named() -> None:
    async with running() as bench:
        changes = bench.changes
        bench.transport.message(LOWER, Query(2, 2.0))
        assert queriers(bench.agent) == {"eth1": False}
        assert bench.changes > changes
        status = bench.status()
        assert (status.state, status.querier, status.version) == ("non-querier", str(LOWER), 2)
        assert [(one.address, one.version) for one in status.others] == [(str(LOWER), 2)]
        assert [record for record in bench.log.records if record["event"] == "older_querier"] == [
            {"event": "older_querier", "level": "warning", "interface": "eth1", "querier": LOWER, "version": 2}
        ]
        await until(lambda: queriers(bench.agent) == {"eth1": True}, seconds=22)


@simulated
async def test_no_query_is_sent_before_it_is_allowed() -> None:
    bench = Bench()
    bench.plug()
    async with looping(bench.agent.run()):
        await bench.want(FORWARD, waiting=frozenset({"eth1"}))
        await asyncio.sleep(15)
        assert (bench.transport.sent, bench.status().state) == ([], "waiting")
        await bench.want(FORWARD)
        assert len(bench.transport.queries()) == 1
        assert bench.status().state == "querier"


@simulated
async def test_another_querier_goes_on_until_hosts_are_known_and_what_they_want_arrives() -> None:
    bench = Bench()
    bench.plug()

    async def theirs(seconds: int) -> None:
        for _ in range(seconds // 5):
            bench.transport.message(OTHER, Query(3, 2.0, robustness=2, interval=10.0))
            bench.transport.message(HOST, JOIN)
            await asyncio.sleep(5)

    async with looping(bench.agent.run()):
        await bench.want(FORWARD, waiting=frozenset({"eth1"}))
        await theirs(10)
        assert bench.status().state == "non-querier"
        assert bench.agent.elections()["eth1"].is_contending
        await bench.want(FORWARD)  # as if nothing were joined, since no host was heard yet
        await theirs(10)
        assert bench.transport.sent == []
        await bench.want(FORWARD, quiet=frozenset({"eth1"}))
        await theirs(100)
        assert bench.transport.sent == []
        await bench.want(FORWARD)
        assert bench.status().state == "querier"
        assert not bench.agent.elections()["eth1"].is_contending


@simulated
async def test_a_querier_whose_tunnels_are_down_gives_way_and_is_back_with_them() -> None:
    async with running() as bench:
        await asyncio.sleep(35)
        before = len(bench.transport.queries())
        await bench.want(FORWARD, waiting=frozenset({"eth1"}))
        await asyncio.sleep(18.6)  # so another router takes over, 21 s after the last query
        assert len(bench.transport.queries()) == before
        bench.transport.message(OTHER, Query(3, 2.0, robustness=2, interval=10.0))
        assert bench.status().state == "non-querier"
        await bench.want(FORWARD)
        assert bench.status().state == "querier"
        assert len(bench.transport.queries()) == before + 1


@simulated
async def test_one_whose_tunnel_is_up_and_brings_nothing_yet_queries_as_often_as_any_other() -> None:
    bench = Bench()
    bench.plug()
    async with looping(bench.agent.run()):
        await bench.want(FORWARD, waiting=frozenset({"eth1"}))
        await bench.want(FORWARD, quiet=frozenset({"eth1"}))
        await until(lambda: bench.transport.queries() != [], seconds=22)
        before = len(bench.transport.queries())
        await asyncio.sleep(25)
        assert len(bench.transport.queries()) >= before + 3


@simulated
async def test_what_is_joined_and_not_sent_is_waited_for_while_no_other_querier_is_heard() -> None:
    bench = Bench()
    bench.plug()
    slow = Forward(name="eth1", from_=("gre1",))
    async with looping(bench.agent.run()):
        await bench.want(slow, quiet=frozenset({"eth1"}))
        waited = await until(lambda: bench.transport.sent != [], seconds=70)
        assert 30 <= waited < 62


@simulated
async def test_hosts_have_been_asked_when_they_had_the_time_to_answer_the_last_query_of_the_start() -> None:
    async with running() as bench:
        assert not bench.agent.elections()["eth1"].is_complete
        changes = bench.changes
        took = await until(lambda: bench.agent.elections()["eth1"].is_complete, seconds=10)
        assert 4.5 < took < 5.0
        assert bench.changes > changes


@simulated
async def test_a_pim_router_is_a_problem_while_it_is_heard() -> None:
    async with running() as bench:
        bench.transport.pim(OTHER)
        bench.transport.pim(US)
        assert bench.problems() == ["pim_router_on_segment"]
        assert bench.status().pim_router == str(OTHER)
        assert bench.log.events().count("pim_router_heard") == 1
        await asyncio.sleep(HOLDTIME + 1)
        assert bench.problems() == []


@simulated
async def test_bad_packets_are_counted_and_dropped() -> None:
    async with running() as bench:
        bench.transport.arrives(b"", b"\x45" + bytes(30))
        bench.transport.arrives(ipv4.encode(b"\x22\0\0\0", HOST, GROUP, protocol=2, tos=0, ttl=1))
        dropped = bench.status().dropped
        assert (dropped["ip_short"], dropped["ip_total_length"], dropped["short"]) == (1, 1, 1)


@simulated
async def test_an_interface_that_cannot_be_opened_is_tried_again() -> None:
    bench = Bench()
    bench.plug()
    bench.segments.open_error = errno.EPERM
    async with looping(bench.agent.run()):
        await bench.want(FORWARD)
        await asyncio.sleep(60)
        assert bench.problems() == ["igmp_failed"]
        assert bench.log.events().count("igmp_failed") == 1
        bench.segments.open_error = None
        await until(lambda: bench.problems() == [], seconds=3)
        assert len(bench.transport.queries()) == 1
        assert bench.log.events()[-1] == "igmp_recovered"


@simulated
async def test_queries_that_cannot_be_sent_are_a_problem_until_they_can() -> None:
    async with running() as bench:
        bench.segments.send_error = errno.ENETUNREACH
        await until(lambda: bench.problems() == ["igmp_failed"], seconds=20)
        await asyncio.sleep(60)
        assert bench.problems() == ["igmp_failed"]
        assert bench.log.events().count("igmp_failed") == 1
        bench.transport.message(HOST, JOIN)
        assert bench.desired() == ANY
        bench.segments.send_error = None
        await until(lambda: bench.problems() == [], seconds=20)
        assert bench.desired() == ANY


@simulated
async def test_queries_that_could_not_be_sent_are_no_problem_where_another_router_queries() -> None:
    async with running() as bench:
        bench.segments.send_error = errno.ENETUNREACH
        await until(lambda: bench.problems() == ["igmp_failed"], seconds=20)
        bench.transport.message(LOWER, Query(3, 2.0, robustness=2, interval=10.0))
        await until(lambda: bench.problems() == [], seconds=3)


@simulated
async def test_what_cannot_be_read_is_opened_again() -> None:
    async with running() as bench:
        bench.transport.fails(errno.ENETDOWN)  # once when a link goes down
        assert bench.problems() == []
        before = bench.transport
        before.fails(errno.EIO)
        assert before.closed
        assert bench.problems() == ["igmp_failed"]
        await until(lambda: bench.problems() == [], seconds=3)
        bench.transport.message(HOST, JOIN)
        assert bench.desired() == ANY


@simulated
async def test_notifications_that_cannot_be_had_are_a_problem_until_they_can() -> None:
    bench = Bench()
    bench.plug()
    bench.netlink.refused["open"] = errno.EMFILE
    async with looping(bench.agent.run()):
        bench.agent.configure(IgmpDesired((FORWARD,)))
        await until(lambda: bench.problems() == ["igmp_failed"], seconds=3)
        del bench.netlink.refused["open"]
        await until(lambda: bench.problems() == [], seconds=3)
        assert queriers(bench.agent) == {"eth1": True}


@simulated
async def test_hosts_of_older_versions_are_followed() -> None:
    async with running() as bench:
        bench.transport.message(HOST, Report(2, GROUP))
        bench.transport.message(OTHER, Report(1, GROUP + 1))
        assert bench.desired() == ANY
        bench.transport.message(HOST, Leave(GROUP))
        await asyncio.sleep(3)
        assert bench.downstream.of("eth1").groups() == [GROUP + 1]


@simulated
async def test_a_flood_of_one_host_leaves_the_others_their_share() -> None:
    async with running() as bench:
        many = tuple(Record(RecordType.TO_EX, IPv4Address("239.128.0.0") + number) for number in range(180))
        bench.transport.message(HOST, *(V3Report(many) for _ in range(1000)))
        assert bench.transport.sampled == {HOST}
        assert bench.log.events().count("igmp_flood") == 1
        assert bench.status().dropped["flood"] > 900
        bench.transport.message(OTHER, JOIN)
        await until(lambda: bench.desired() == ANY, seconds=0.1)
        await asyncio.sleep(SAMPLED + 1)
        bench.transport.message(OTHER, JOIN)
        assert bench.transport.sampled == frozenset()


@simulated
async def test_a_large_report_is_looked_at_in_parts() -> None:
    async with running() as bench:
        many = tuple(Record(RecordType.TO_EX, IPv4Address("239.128.0.0") + number) for number in range(900))
        bench.transport.message(HOST, V3Report(many))
        await until(lambda: len(bench.downstream.of("eth1")) == 900, seconds=1)
        assert bench.status().received == {"v3_report": 8}


@simulated
async def test_many_changes_are_passed_on_in_turns() -> None:
    async with running() as bench:
        many = tuple(Record(RecordType.TO_EX, IPv4Address("239.128.0.0") + number) for number in range(180))
        bench.transport.message(HOST, V3Report(many))
        assert 0 < len(bench.downstream.of("eth1")) < 180
        await asyncio.sleep(0)
        await until(lambda: len(bench.downstream.of("eth1")) == 180, seconds=1)


@simulated
async def test_a_host_that_names_what_cannot_be_a_source_does_not_keep_others_from_a_group() -> None:
    async with running() as bench:
        for source in ("127.0.0.1", "0.0.0.0", "224.0.0.5"):
            bench.transport.message(HOST, V3Report((Record(RecordType.ALLOW, GROUP, (IPv4Address(source),)),)))
        bench.transport.message(OTHER, V3Report((Record(RecordType.ALLOW, GROUP, (SOURCE,)),)))
        assert bench.desired() == DesiredGroup(sources=frozenset({SOURCE}))
        assert bench.status().dropped == {"source_address": 3}


@simulated
async def test_a_bad_source_in_an_answer_with_all_groups_does_not_end_the_others() -> None:
    """Linux lets an application ask for any source, and answers a general query with all its groups in one packet."""
    async with running() as bench:
        bad = Record(RecordType.IS_IN, IPv4Address("232.1.1.1"), (IPv4Address(0),))
        bench.transport.message(HOST, JOIN)
        for _ in range(10):
            await asyncio.sleep(FORWARD.query_interval)
            bench.transport.message(HOST, V3Report((bad, Record(RecordType.IS_EX, GROUP))))
        assert bench.desired() == ANY
        assert bench.status().dropped == {"source_address": 10}


@simulated
async def test_what_hosts_have_joined_stays_while_packets_cannot_be_read() -> None:
    async with running() as bench:
        bench.transport.message(HOST, JOIN)
        before = bench.transport
        bench.segments.open_error = errno.EMFILE
        before.fails(errno.EIO)
        await asyncio.sleep(5)
        assert (bench.problems(), bench.desired()) == (["igmp_failed"], ANY)
        bench.segments.open_error = None
        await until(lambda: bench.problems() == [], seconds=3)
        assert (bench.desired(), len(bench.transport.queries())) == (ANY, 1)
        await asyncio.sleep(30)  # nobody answers
        assert bench.desired() == DesiredGroup()


@simulated
async def test_an_address_that_is_away_for_a_moment_ends_nothing() -> None:
    async with running() as bench:
        bench.transport.message(HOST, JOIN)
        before, address = bench.transport, (IPv4Interface(f"{US}/24"), None)
        bench.kernel.delete_address("eth1", address)
        await until(lambda: bench.problems() == ["downstream_without_address"], seconds=1)
        await asyncio.sleep(3)
        assert (bench.desired(), queriers(bench.agent)) == (ANY, {"eth1": True})
        bench.kernel.add_address("eth1", address)
        await until(lambda: bench.problems() == [], seconds=1)
        assert bench.transport is not before
        assert (bench.desired(), len(bench.transport.queries())) == (ANY, 1)
        bench.kernel.delete_address("eth1", address)
        bench.transport.message(HOST, JOIN)
        await asyncio.sleep(9)
        assert bench.desired() == ANY
        await until(lambda: queriers(bench.agent) == {}, seconds=4)
        assert bench.desired() == DesiredGroup()


@simulated
async def test_a_limit_of_groups_is_a_problem_while_hosts_want_more() -> None:
    async with running() as bench:
        await bench.want(replace(FORWARD, max_groups=1))
        more = V3Report((Record(RecordType.IS_EX, GROUP + 1),))
        await asyncio.sleep(20)  # all hosts have had the time to report, which is a change as well
        bench.transport.message(HOST, JOIN, more)
        assert bench.problems() == ["groups_limit"]
        changes = bench.changes
        for _ in range(5):
            await asyncio.sleep(11)
            bench.transport.message(HOST, JOIN, more)
            assert (bench.problems(), bench.changes) == (["groups_limit"], changes)
        await asyncio.sleep(11)
        bench.transport.message(HOST, JOIN)
        await until(lambda: bench.problems() == [], seconds=2)
        assert bench.changes == changes + 1


@simulated
async def test_more_hosts_than_are_tracked_are_a_problem_while_they_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_HOSTS", 1)
    async with running() as bench:
        bench.transport.message(HOST, JOIN)
        assert bench.problems() == []
        bench.transport.message(HOST + 1, JOIN)
        assert bench.problems() == ["hosts_limit"]
        await until(lambda: bench.problems() == [], seconds=15)
