"""The PIM agent over packets in memory, in virtual time and without root: against the reference router, and alone."""

import asyncio
import contextlib
import errno
import time
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Network
from random import Random

import pytest
from msgspec.structs import replace

from mcastd.config.model import Group, RpRange
from mcastd.pim.agent import PimAgent
from mcastd.pim.auto_rp_packet import RP_DISCOVERY
from mcastd.pim.packet import Hello, JoinPrune, MessageType, decode_hello, decode_join_prune, encode_hello, unseal
from mcastd.pim.settings import PimDesired, PimInterface, PimState
from mcastd.problems import Problem
from mcastd.status import GroupStatus, PimStatus
from mcastd.wanted import COMMAND, FILE, Wanted
from tests.fakes.clock import simulated, until
from tests.fakes.memory import MemoryLog
from tests.fakes.pim_transport import FakeHost, FakeTransport
from tests.loops import looping
from tests.pim.machine import GROUP, OTHER, OTHER_RP, SOURCE, SSM_GROUP
from tests.pim.test_auto_rp import mapping
from tests.pim.test_bootstrap import bootstrap
from tests.simulator.reference import Reference
from tests.simulator.world import LEAF, NAME, RP, UPSTREAM, joins, settings, want_file, with_pim

QUIET = with_pim(join_repeats=0)
ONE = (Group(group=GROUP, tunnel=NAME),)
THEIRS = Hello(holdtime=105, generation_id=1)
SECOND = "gre2"


class Bench:
    """An agent and the transports that it has opened."""

    def __init__(self, seed: int = 1) -> None:
        self.host = FakeHost()
        self.log = MemoryLog()
        self.changes = 0
        self.wanted = Wanted(lambda: time.monotonic())
        self._groups: tuple[Group, ...] = ()
        self.agent = PimAgent(
            log=self.log.logger,
            on_change=self._changed,
            rng=Random(seed),
            wanted=self.wanted,
            open_transport=self.host.open,
        )

    def _changed(self) -> None:
        self.changes += 1

    async def want(self, *interfaces: PimInterface, groups: tuple[Group, ...] = ONE) -> None:
        self.agent.configure(PimDesired(interfaces, (NAME, SECOND)))
        if groups is not self._groups:
            self._groups = groups
            want_file(self.wanted, groups)
        await self.agent.settled()

    @property
    def transport(self) -> FakeTransport:
        """The one that was opened last."""
        return self.host.opened[-1]

    def hello(self, source: IPv4Address = UPSTREAM, hello: Hello = THEIRS) -> None:
        self.transport.message(source, encode_hello(hello))

    async def hellos(self, times: int, every: float) -> None:
        for _ in range(times):
            self.hello()
            await asyncio.sleep(every)

    def status(self) -> PimStatus:
        return self.agent.status(time.monotonic())[NAME]

    def groups(self) -> tuple[GroupStatus, ...]:
        return joins(self.agent, self.wanted)

    def problems(self) -> list[Problem]:
        return list(self.agent.problems())

    def joins(self) -> int:
        return sum(self.wanted.counts((NAME, SECOND)).values())


@contextlib.asynccontextmanager
async def running(seed: int = 1) -> AsyncIterator[Bench]:
    bench = Bench(seed)
    async with looping(bench.agent.run()):
        yield bench


def kinds(payloads: list[bytes]) -> list[int]:
    return [payload[0] & 15 for payload in payloads]


def join_prunes(payloads: list[bytes]) -> list[JoinPrune]:
    return [decode_join_prune(unseal(one)[1]) for one in payloads if one[0] & 15 == MessageType.JOIN_PRUNE]


@simulated
async def test_hello_and_join_have_left_when_it_has_settled() -> None:
    async with running() as bench:
        await bench.want(QUIET)
        assert kinds(bench.transport.take()) == [MessageType.HELLO, MessageType.JOIN_PRUNE]
        assert bench.transport.settings == QUIET
        status = bench.status()
        assert (status.running, status.problem, status.sent) == (True, None, {"hello": 1, "join_prune": 1})
        assert bench.log.events() == ["joined"]
        assert bench.changes == 1


@simulated
async def test_the_same_desired_state_again_is_a_no_op() -> None:
    async with running() as bench:
        await bench.want(QUIET)
        bench.transport.take()
        await bench.want(replace(QUIET))
        assert bench.transport.take() == []
        assert bench.host.tries == 1


@simulated
async def test_joins_and_leaves_have_been_sent_when_the_calls_return() -> None:
    async with running() as bench:
        await bench.want(QUIET, groups=())
        bench.hello()
        await asyncio.sleep(1)
        bench.transport.take()
        bench.wanted.join(NAME, SSM_GROUP, SOURCE, COMMAND)
        assert [message.groups[0].joined[0].address for message in join_prunes(bench.transport.take())] == [SOURCE]
        assert bench.wanted.of_origin(COMMAND) == ((NAME, SSM_GROUP, SOURCE),)
        assert bench.joins() == 1
        await asyncio.sleep(1)
        bench.wanted.leave(NAME, SSM_GROUP, SOURCE, COMMAND)
        assert [message.groups[0].pruned[0].address for message in join_prunes(bench.transport.take())] == [SOURCE]
        assert not bench.wanted.leave(NAME, SSM_GROUP, SOURCE, COMMAND)
        assert bench.wanted.of_origin(COMMAND) == ()


@simulated
async def test_a_join_that_is_merged_is_sent_by_the_loop() -> None:
    async with running() as bench:
        await bench.want(QUIET)
        bench.wanted.join(NAME, GROUP + 1, None, COMMAND)  # within 20 ms of the first
        bench.transport.take()
        took = await until(lambda: join_prunes(bench.transport.take()) != [])
        assert took < 0.05


@simulated
async def test_timers_run_by_themselves() -> None:
    async with running() as bench:
        await bench.want(settings())
        bench.transport.take()
        await asyncio.sleep(59.0)
        # Hello and Join are repeated after 0.4, 1.2, 2.8, 6, 12.4 and 25.2 s; Hellos every 30 s.
        assert kinds(bench.transport.take()) == [0, 3] * 6 + [0]
        await asyncio.sleep(2.0)
        assert kinds(bench.transport.take()) == [3]


@simulated
async def test_against_the_reference_router() -> None:
    """Hellos, Joins, a restart of the other side, and teardown."""
    reference = Reference(UPSTREAM, 1)
    async with running() as bench:
        await bench.want(settings(), groups=())

        def exchange() -> None:
            now = time.monotonic()
            for payload in bench.transport.take():
                reference.receive(LEAF, payload, now)
            reference.advance(now)
            outbox, reference.outbox = reference.outbox, []
            for payload in outbox:
                bench.transport.message(UPSTREAM, payload)

        async def joined(expected: set[tuple[IPv4Address, IPv4Address | None]]) -> None:
            def holds() -> bool:
                exchange()
                return reference.joined() == expected

            await until(holds, f"{expected}", 7.0)

        reference.restart(time.monotonic())
        bench.wanted.join(NAME, SSM_GROUP, SOURCE, COMMAND)
        bench.wanted.join(NAME, GROUP, None, COMMAND)
        both: set[tuple[IPv4Address, IPv4Address | None]] = {(GROUP, None), (SSM_GROUP, SOURCE)}
        await joined(both)
        await asyncio.sleep(10)
        await joined(both)
        assert [status.state for status in bench.groups()] == ["joined", "joined"]
        reference.restart(time.monotonic())
        await joined(both)
        bench.wanted.leave(NAME, GROUP, None, COMMAND)
        await joined({(SSM_GROUP, SOURCE)})
        await asyncio.sleep(5)
        await joined({(SSM_GROUP, SOURCE)})
        assert {"pim_neighbor_up", "pim_neighbor_restarted"} <= set(bench.log.events())
    last = bench.transport
    await bench.agent.close()
    for payload in last.take():
        reference.receive(LEAF, payload, time.monotonic())
    assert (reference.joined(), reference.neighbors) == (set(), {})
    assert last.closed


@simulated
async def test_a_path_that_came_up_again_gets_hello_and_joins() -> None:
    async with running() as bench:
        await bench.want(QUIET)
        bench.hello()
        await asyncio.sleep(5)
        bench.transport.take()
        await bench.want(replace(QUIET, up=False))
        assert bench.transport.take() == []
        await bench.want(replace(QUIET, up_count=2))
        assert kinds(bench.transport.take()) == [MessageType.HELLO, MessageType.JOIN_PRUNE]
        assert len(bench.host.opened) == 1


@simulated
async def test_an_interface_that_goes_says_goodbye_before_its_socket_is_closed() -> None:
    async with running() as bench:
        other = replace(QUIET, name=SECOND, ifindex=8)
        await bench.want(QUIET, other)
        first, second = bench.host.opened
        first.take(), second.take()
        await bench.want(other)
        sent = first.take()
        assert kinds(sent) == [MessageType.JOIN_PRUNE, MessageType.HELLO]
        assert decode_hello(unseal(sent[-1])[1]).holdtime == 0
        assert (first.closed, second.closed, second.take()) == (True, False, [])
        assert [(group.state, group.problem_code) for group in bench.groups()] == [("not joined", "tunnel_down")]
        assert list(bench.agent.status(0.0)) == [SECOND]


@simulated
async def test_another_interface_of_the_same_name_is_opened_afterwards() -> None:
    async with running() as bench:
        await bench.want(QUIET)
        first = bench.transport
        generation_id = bench.status().generation_id
        first.take()
        await bench.want(replace(QUIET, ifindex=9))
        assert kinds(first.take()) == [MessageType.JOIN_PRUNE, MessageType.HELLO]
        assert first.closed
        assert kinds(bench.transport.take()) == [MessageType.HELLO, MessageType.JOIN_PRUNE]
        assert bench.status().generation_id != generation_id


@simulated
async def test_a_socket_that_cannot_be_opened_is_a_problem_and_is_tried_again() -> None:
    async with running() as bench:
        bench.host.open_error = errno.EPERM
        await bench.want(QUIET)
        assert bench.problems()[0] == Problem(
            "pim_send_failed", NAME, "PIM cannot send on gre1: Operation not permitted"
        )
        status = bench.status()
        assert (status.running, status.problem_code, status.dropped) == (False, "pim_send_failed", {"eperm": 1})
        await asyncio.sleep(29)
        bench.wanted.join(NAME, GROUP + 1, None, COMMAND)
        assert bench.host.tries == 1
        bench.host.open_error = None
        await asyncio.sleep(2)
        assert bench.host.tries == 2
        assert bench.status().running
        await until(lambda: bench.status().problem is None, seconds=60)
        assert bench.log.events("info") == ["pim_send_failed"]
        assert bench.log.events()[-1] == "pim_send_recovered"


@simulated
async def test_a_link_that_cannot_be_opened_is_opened_at_once_when_its_path_is_up_again() -> None:
    async with running() as bench:
        bench.host.open_error = errno.ENODEV
        await bench.want(replace(QUIET, up=False))
        assert [problem.code for problem in bench.problems()] == ["nothing_joined"]
        bench.host.open_error = None
        await bench.want(replace(QUIET, up_count=2))
        assert MessageType.JOIN_PRUNE in kinds(bench.transport.take())


@simulated
async def test_an_error_of_sending_is_logged_once_and_its_end_as_well() -> None:
    async with running() as bench:
        await bench.want(QUIET)
        bench.hello()
        bench.transport.send_error = errno.ENOBUFS
        changes = bench.changes
        bench.wanted.join(NAME, GROUP + 1, None, COMMAND)
        await asyncio.sleep(1)
        bench.wanted.join(NAME, GROUP + 2, None, COMMAND)
        assert bench.changes > changes
        assert bench.status().problem == "No buffer space available"
        assert bench.status().dropped["enobufs"] >= 2
        bench.transport.send_error = None
        bench.wanted.join(NAME, GROUP + 3, None, COMMAND)
        await asyncio.sleep(1)
        assert bench.status().problem is None
        assert bench.problems() == []
        assert [event for event in bench.log.events() if event.startswith("pim_send")] == [
            "pim_send_failed",
            "pim_send_recovered",
        ]


@simulated
async def test_bad_packets_are_counted_and_the_others_of_the_batch_are_read() -> None:
    async with running() as bench:
        await bench.want(QUIET)
        bench.transport.fails(errno.ENOMEM)
        bench.transport.arrives(b"", b"\x60" + bytes(40))
        bench.hello()
        assert [neighbor.address for neighbor in bench.status().neighbors] == [str(UPSTREAM)]
        assert bench.status().dropped == {"enomem": 1, "ip_short": 1, "ip_version": 1}
        assert bench.status().received == {"hello": 1}


@simulated
async def test_auto_rp_arrives_by_udp() -> None:
    async with running() as bench:
        await bench.want(with_pim(auto_rp=True, rp=(), join_repeats=0))
        assert [problem.code for problem in bench.problems()] == ["nothing_joined"]
        assert bench.groups()[0].problem_code == "rp_missing"
        bench.transport.take()
        bench.transport.auto_rp(IPv4Address("10.1.1.9"), RP_DISCOVERY, mapping())
        assert [message.groups[0].joined[0].address for message in join_prunes(bench.transport.take())] == [OTHER_RP]
        assert bench.status().auto_rp[0].rp == str(OTHER_RP)
        assert bench.log.events()[:2] == ["auto_rp_changed", "joined"]


@simulated
async def test_packets_after_the_end_of_a_link_do_nothing() -> None:
    async with running() as bench:
        await bench.want(QUIET)
        gone = bench.transport
        await bench.want()
        gone.message(UPSTREAM, encode_hello(THEIRS))
        assert bench.agent.status(0.0) == {}


# What is counted


@simulated
async def test_joins_that_are_not_joined_are_a_problem_until_the_neighbor_is_up() -> None:
    groups = (*ONE, Group(group=SSM_GROUP, tunnel=NAME, sources=(SOURCE, SOURCE + 1)))
    missing = [Problem("nothing_joined", "gre1", "3 of 3 joins not joined on gre1")]
    async with running() as bench:
        assert bench.problems() == []
        await bench.want(groups=groups)
        assert (bench.joins(), bench.problems()) == (3, missing)
        await bench.want(QUIET, groups=groups)
        assert bench.problems() == []
        await asyncio.sleep(7)
        assert bench.problems() == missing
        assert [group.problem_code for group in bench.groups()] == ["pim_neighbor_missing"] * 3
        bench.hello()
        assert bench.problems() == []
        assert [group.state for group in bench.groups()] == ["joined"] * 3
        await bench.want(replace(QUIET, up=False), groups=groups)
        assert bench.problems() == missing


@simulated
async def test_without_a_configured_neighbor_nothing_is_joined_until_one_is_up() -> None:
    async with running() as bench:
        await bench.want(with_pim(neighbor=None, join_repeats=0))
        assert bench.problems() == [Problem("nothing_joined", "gre1", "1 of 1 joins not joined on gre1")]
        assert bench.groups()[0].problem == "no Hello of a PIM neighbor has been received"
        bench.hello(OTHER)
        await asyncio.sleep(0.1)
        assert bench.problems() == []
        bench.hello(OTHER, replace(THEIRS, holdtime=0))
        assert [problem.code for problem in bench.problems()] == ["nothing_joined"]


@simulated
async def test_one_join_without_a_rendezvous_point_is_one_of_many() -> None:
    groups = (*ONE, Group(group=IPv4Address("225.1.1.1"), tunnel=NAME))
    ranges = (RpRange(address=RP, groups=(IPv4Network("239.0.0.0/8"),)),)
    own = with_pim(join_repeats=0, static_neighbor=True, rp=ranges)
    async with running() as bench:
        await bench.want(own, groups=groups)
        assert bench.problems() == [Problem("joins_not_joined", "gre1", "1 of 2 joins not joined on gre1")]


@simulated
async def test_a_group_on_two_tunnels_names_both() -> None:
    groups = (*ONE, Group(group=GROUP, tunnel=SECOND), Group(group=GROUP + 1, tunnel=SECOND))
    async with running() as bench:
        await bench.want(QUIET, replace(QUIET, name=SECOND, ifindex=8), groups=groups)
        assert [(group.tunnel, group.tunnels) for group in bench.groups()] == [
            (NAME, (NAME, SECOND)),
            (SECOND, (NAME, SECOND)),
            (SECOND, (SECOND,)),
        ]


@simulated
async def test_joins_of_a_tunnel_that_is_not_configured_any_more_do_not_count() -> None:
    async with running() as bench:
        await bench.want(QUIET, groups=())
        bench.wanted.join(NAME, GROUP, None, COMMAND)
        bench.agent.configure(PimDesired((), (SECOND,)))
        await bench.agent.settled()
        assert (bench.wanted.counts((SECOND,)), bench.problems()) == ({SECOND: 0}, [])


@simulated
async def test_changes_and_problems_do_not_walk_the_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = tuple(Group(group=IPv4Address("239.7.0.0") + n, tunnel=NAME) for n in range(1000))
    async with running() as bench:
        await bench.want(QUIET, groups=groups)
        bench.hello()
        await asyncio.sleep(10)

        def refuse(*_arguments: object) -> None:
            raise AssertionError("every join is walked")

        monkeypatch.setattr("mcastd.membership.Membership.entries", refuse)
        monkeypatch.setattr("mcastd.membership.Membership.groups", refuse)
        monkeypatch.setattr("mcastd.membership.Membership.add", refuse)
        bench.wanted.join(NAME, IPv4Address("239.200.0.1"), None, COMMAND)
        await bench.want(replace(QUIET, up=False), groups=groups)
        await bench.want(QUIET, groups=groups)
        assert (bench.joins(), bench.problems()) == (1001, [])
        assert len(bench.wanted.of_origin(COMMAND)) == 1
        bench.agent.state()
        await asyncio.sleep(100)


# The log


@simulated
async def test_every_event_is_logged_with_its_tunnel() -> None:
    async with running() as bench:
        await bench.want(with_pim(join_repeats=0))
        bench.hello()
        bench.hello(hello=replace(THEIRS, generation_id=2))
        await asyncio.sleep(2)
        bench.hello(hello=replace(THEIRS, holdtime=0))
        bench.wanted.leave(NAME, GROUP, None, FILE)
        expected = ["joined", "pim_neighbor_up", "pim_neighbor_restarted", "joined", "pim_neighbor_down", "pruned"]
        assert bench.log.events() == expected
        joined = bench.log.records[0]
        assert (joined["tunnel"], joined["group"], joined["source"], joined["rp"]) == (NAME, GROUP, "*", RP)
        assert joined["origins"] == "file"
        assert "origins" not in bench.log.records[-1]
        assert {record["tunnel"] for record in bench.log.records} == {NAME}


@simulated
async def test_what_bootstrap_messages_change_is_logged() -> None:
    async with running() as bench:
        await bench.want(with_pim(bootstrap=True, rp=(), join_repeats=0))
        bench.hello()
        bench.transport.message(UPSTREAM, bootstrap())
        learned = [record for record in bench.log.records if record["event"] in ("bootstrap_router", "rp_set_changed")]
        assert [(one.get("bootstrap_router"), one.get("rps")) for one in learned] == [
            (OTHER, None),
            (None, str(OTHER_RP)),
        ]


@simulated
async def test_many_entries_of_one_change_are_one_line() -> None:
    for count, lines in ((20, 20), (21, 1)):
        groups = tuple(Group(group=GROUP + n, tunnel=NAME) for n in range(count))
        async with running() as bench:
            await bench.want(QUIET, groups=groups)
            assert bench.log.events() == ["joined"] * lines
        if lines == 1:
            line = bench.log.records[0]
            assert (line["entries"], line["first"], line["last"]) == (21, GROUP, GROUP + 20)


@simulated
async def test_a_flood_of_events_does_not_flood_the_log() -> None:
    async with running() as bench:
        await bench.want(QUIET, groups=())
        for n in range(250):
            bench.hello(hello=replace(THEIRS, generation_id=n))
        assert len(bench.log.records) == 100
        await asyncio.sleep(10)
        bench.hello(hello=replace(THEIRS, holdtime=0))
        assert bench.log.events()[100:] == ["pim_log_limited", "pim_neighbor_down"]
        assert bench.log.records[100]["suppressed"] == 150


# Silence


@simulated
async def test_a_hello_that_is_overdue_is_a_problem_until_it_comes() -> None:
    async with running() as bench:
        await bench.want(QUIET)
        await bench.hellos(5, every=10.0)
        before = bench.changes
        took = await until(lambda: bool(bench.agent.hello_overdue()))
        assert 11.9 < took < 12.1, "2.2 times ten seconds, of which ten have passed"
        assert bench.problems() == [Problem("hello_overdue", NAME, "the Hello of the PIM neighbor on gre1 is overdue")]
        assert bench.changes == before + 1
        bench.hello()
        assert (bench.agent.hello_overdue(), bench.problems()) == (frozenset(), [])
        assert bench.changes == before + 2
        assert bench.log.events()[-2:] == ["pim_hello_overdue", "pim_hello_resumed"]


@simulated
async def test_no_hello_is_overdue_while_the_path_is_down_or_of_a_static_neighbor() -> None:
    async with running() as bench:
        await bench.want(QUIET)
        await bench.hellos(5, every=10.0)
        await bench.want(replace(QUIET, up=False))
        await asyncio.sleep(80)
        assert not bench.agent.hello_overdue()
        await bench.want(replace(QUIET, up_count=2))
        await asyncio.sleep(21)
        assert not bench.agent.hello_overdue()
        await bench.want(replace(with_pim(join_repeats=0, static_neighbor=True), up_count=2))
        await asyncio.sleep(70)
        assert not bench.agent.hello_overdue()
        assert "pim_hello_overdue" not in bench.log.events()


@simulated
async def test_a_configured_neighbor_that_stays_silent_is_a_change() -> None:
    """Its joins are not joined from then on, so that systemd's line has to be written again."""
    async with running() as bench:
        await bench.want(QUIET)
        before = bench.changes
        assert bench.problems() == []
        took = await until(lambda: bench.changes > before)
        assert 5.9 < took < 6.1
        assert bench.problems() == [Problem("nothing_joined", "gre1", "1 of 1 joins not joined on gre1")]
        assert bench.log.events("info")[-1] == "pim_neighbor_missing"
        await asyncio.sleep(100)
        assert bench.changes == before + 1


# The next process


@simulated
async def test_the_next_process_goes_on_without_a_gap() -> None:
    async with running() as bench:
        await bench.want(QUIET)
        bench.hello(hello=replace(THEIRS, unknown=((65001, b"\1\2"),), addresses=(OTHER,)))
        state = bench.agent.state()
    async with running(seed=2) as successor:
        successor.agent.inherit(state)
        await successor.want(with_pim(neighbor=None, join_repeats=0))
        sent = successor.transport.take()
        assert kinds(sent) == [MessageType.HELLO, MessageType.HELLO, MessageType.JOIN_PRUNE]
        assert decode_hello(unseal(sent[0])[1]).generation_id == bench.status().generation_id
        assert successor.agent.state() == state
        (neighbor,) = successor.status().neighbors
        assert (neighbor.address, neighbor.secondary_addresses) == (str(UPSTREAM), (str(OTHER),))


@simulated
async def test_a_state_of_interfaces_that_are_not_there_is_kept_for_them() -> None:
    async with running() as bench:
        bench.agent.inherit(PimState({NAME: 42}, ()))
        assert bench.agent.state() == PimState({NAME: 42}, ())
        await bench.want(QUIET)
        assert bench.status().generation_id == 42


# The end


@simulated
async def test_closing_prunes_everything_within_half_a_second() -> None:
    groups = tuple(Group(group=IPv4Address("239.7.0.0") + n, tunnel=NAME) for n in range(10_000))
    bench = Bench()
    async with looping(bench.agent.run()):
        await bench.want(QUIET, groups=groups)
        await asyncio.sleep(5)
    bench.transport.take()
    began = time.monotonic()
    await bench.agent.close()
    assert time.monotonic() - began < 0.5
    sent = bench.transport.take()
    assert sum(len(entry.pruned) for message in join_prunes(sent) for entry in message.groups) == 10_000
    assert decode_hello(unseal(sent[-1])[1]).holdtime == 0
    assert bench.transport.closed


@simulated
async def test_closing_an_agent_whose_socket_is_missing_does_nothing() -> None:
    bench = Bench()
    bench.host.open_error = errno.EPERM
    async with looping(bench.agent.run()):
        await bench.want(QUIET)
    await bench.agent.close()
    assert bench.host.opened == []
