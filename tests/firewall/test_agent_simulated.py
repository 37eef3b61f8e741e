"""The firewall agent on nftables in memory, in virtual time: what ``test_agent`` shows on a kernel, and the races."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Address

import pytest
from msgspec.structs import replace

from mcastd.config.model import Config, Firewall, Pim
from mcastd.firewall.agent import FirewallAgent
from mcastd.firewall.rules import FirewallDesired, table, unguarded
from mcastd.history import History
from mcastd.net.flow import Flow
from mcastd.problems import Problem
from mcastd.status import FirewallStatus
from tests.fakes.clock import simulated, until
from tests.fakes.conntrack import FakeConntrack
from tests.fakes.memory import MemoryLedger, MemoryLog
from tests.fakes.nftables import FakeNftables
from tests.fakes.sysctls import FakeSysctls
from tests.firewall.test_rules import child, config, tunnel
from tests.loops import looping

GUARDED = config(child(), tunnels=(tunnel(),))
OPEN = config(child(), tunnels=(tunnel(),), guard=False)
ELSEWHERE = config(child(), tunnels=(tunnel(remote=IPv4Address("10.44.7.2")),))
FORWARDING = Config(firewall=Firewall(ip_forward=True))
NOTHING = config()
IP_FORWARD = "net/ipv4/ip_forward"
LEAK_OUT, LEAK_IN = "leak-out-10.44.7.1", "leak-in-10.44.7.1"
FOREIGN = "a table ip mcastd exists and mcastd did not make it; remove it: nft delete table ip mcastd"


class Host:
    """A host, on which one process of mcastd follows another."""

    def __init__(self) -> None:
        self.nft = FakeNftables()
        self.conntrack = FakeConntrack()
        self.sysctls = FakeSysctls()
        self.ledger = MemoryLedger()
        self.log = MemoryLog()
        self.history = History(self.log.logger)
        self.changes = 0
        self.next_process()

    def next_process(self) -> FirewallAgent:
        self.ledger = MemoryLedger(self.ledger.copy())
        self.agent = FirewallAgent(
            ledger=self.ledger,
            history=self.history,
            log=self.log.logger,
            on_change=self._changed,
            nftables=self.nft,
            conntrack=self.conntrack,
            sysctls=self.sysctls,
        )
        return self.agent

    def _changed(self) -> None:
        self.changes += 1

    async def want(self, desired: Config, leaving: Config | None = None) -> None:
        self.agent.configure(FirewallDesired(desired, leaving))
        await self.agent.settled()

    def handle(self) -> int | None:
        """Of the table; one that was replaced has another."""
        return self.nft.tables["mcastd"].handle if "mcastd" in self.nft.tables else None

    def replacements(self) -> int:
        return sum("table ip mcastd {" in run for run in self.nft.runs)

    def status(self) -> FirewallStatus:
        return self.agent.status(0.0)

    def problems(self) -> list[Problem]:
        return list(self.agent.problems())


@contextlib.asynccontextmanager
async def running(host: Host | None = None) -> AsyncIterator[Host]:
    """An agent whose loop runs; it is not closed, as in a crash."""
    host = host or Host()
    async with looping(host.agent.run()):
        yield host


# The table


@simulated
async def test_the_table_comes_and_goes_with_what_needs_one() -> None:
    host = Host()
    theirs = host.nft.create("theirs", "chain input {", "}")
    async with running(host):
        for wanted in (GUARDED, OPEN, GUARDED, ELSEWHERE):
            await host.want(wanted)
            assert host.agent.in_place
            lines = [line.strip() for line in table(wanted).splitlines()]
            assert set(host.nft.tables["mcastd"].rules) <= set(lines)
        await host.want(NOTHING)
        assert host.handle() is None
        assert host.agent.in_place
        await host.want(GUARDED)
    await host.agent.close()
    assert host.nft.tables == {"theirs": theirs}
    assert host.ledger.copy() == {}
    await host.agent.close()
    assert host.problems() == []


@simulated
async def test_what_is_in_place_is_not_put_there_again() -> None:
    async with running() as host:
        await host.want(GUARDED)
        before = host.handle()
        for leaving in (GUARDED, None, None):
            await host.want(GUARDED, leaving)
        host.nft.create("theirs")
        host.nft.pass_packets("mcastd", LEAK_OUT, 3)
        await asyncio.sleep(100.0)
        assert host.handle() == before
        assert host.replacements() == 1
        assert (host.status().repairs, host.changes) == (0, 1)


@simulated
async def test_the_tunnels_of_a_configuration_that_is_leaving_are_guarded_too() -> None:
    async with running() as host:
        await host.want(ELSEWHERE, GUARDED)
        assert {LEAK_OUT, "leak-out-10.44.7.2"} <= host.nft.tables["mcastd"].counts.keys()
        await host.want(ELSEWHERE)
        assert LEAK_OUT not in host.nft.tables["mcastd"].counts


@simulated
async def test_after_a_crash_the_next_process_adopts_the_table_and_goes_on_counting() -> None:
    async with running() as host:
        await host.want(GUARDED)
        host.nft.pass_packets("mcastd", LEAK_IN, 5)
    host.next_process()
    async with running(host):
        await host.want(GUARDED)
        await host.agent.refresh()
        assert host.status().leaks_in == 5
    host.next_process()
    async with running(host):
        await host.want(NOTHING)
        assert host.handle() is None
        assert host.ledger.copy() == {}


# Changes by other programs


@pytest.mark.parametrize(
    "damage",
    [
        lambda nft: nft.delete("mcastd"),
        lambda nft: nft.flush_chains("mcastd"),
        lambda nft: nft.insert("mcastd", "accept"),
        lambda nft: (nft.delete("mcastd"), nft.create("mcastd")),
    ],
    ids=["deleted", "flushed", "a rule before ours", "replaced by another"],
)
@simulated
async def test_a_change_by_another_program_is_undone_and_counted(damage: Callable[[FakeNftables], object]) -> None:
    async with running() as host:
        await host.want(GUARDED)
        rules = host.nft.tables["mcastd"].rules.copy()
        damage(host.nft)
        assert await until(lambda: host.status().repairs == 1, "a repair") < 0.2
        assert host.nft.tables["mcastd"].rules == rules
        assert host.agent.in_place
        assert host.problems() == []
        await asyncio.sleep(100.0)  # the repair is a change as well, and none to repair
        assert (host.status().repairs, host.replacements()) == (1, 2)
        assert host.log.events() == ["firewall_in_place", "repaired"]


@simulated
async def test_with_a_program_that_undoes_every_repair_it_is_done_once_a_second() -> None:
    async with running() as host:
        await host.want(GUARDED)
        for _ in range(100):
            if host.handle() is not None:
                host.nft.delete("mcastd")
            await asyncio.sleep(0.1)
        assert 9 <= host.status().repairs <= 11
        assert await until(lambda: host.handle() is not None, "the last repair") <= 1.1


@simulated
async def test_a_change_of_the_configuration_does_not_wait_for_a_repair() -> None:
    async with running() as host:
        await host.want(GUARDED)
        host.nft.delete("mcastd")
        await until(lambda: host.status().repairs == 1, "a repair")
        host.nft.delete("mcastd")
        await host.want(GUARDED)
        assert host.handle() is None
        await host.want(ELSEWHERE)
        assert host.handle() is not None
        assert host.status().repairs == 1


@simulated
async def test_packets_that_were_counted_before_a_repair_are_not_lost() -> None:
    async with running() as host:
        await host.want(GUARDED)
        host.nft.pass_packets("mcastd", LEAK_OUT, 7)
        host.nft.pass_packets("mcastd", LEAK_IN, 2)
        await host.agent.refresh()
        host.nft.delete("mcastd")
        await until(lambda: host.status().repairs == 1, "a repair")
        host.nft.pass_packets("mcastd", LEAK_OUT, 1)
        await host.agent.refresh()
        assert (host.status().leaks_out, host.status().leaks_in) == (8, 2)


@simulated
async def test_what_the_guard_of_a_child_drops_is_counted_by_its_name() -> None:
    async with running() as host:
        await host.want(config(child(snat=IPv4Address("10.44.6.1")), child("idle"), tunnels=(tunnel(),)))
        host.nft.pass_packets("mcastd", "leak-child-c", 7)
        host.nft.pass_packets("mcastd", "leak-invalid-c", 2)
        await host.agent.refresh()
        assert host.status().leaks_by_child == {"c": 9, "idle": 0}
        assert host.status().leaks_out == 0


@simulated
async def test_a_change_while_the_table_is_put_in_place_is_noticed() -> None:
    """The kernel reports changes from before the first listing on."""
    async with running() as host:
        host.agent.configure(FirewallDesired(GUARDED))
        await until(lambda: host.handle() is not None, "the table")
        host.nft.delete("mcastd")  # while the agent waits for the listing after its transaction
        await until(lambda: host.handle() is not None, "the table again", seconds=2.0)


@simulated
async def test_without_notifications_a_change_is_found_within_half_a_minute() -> None:
    host = Host()
    host.nft.no_events = "nftables: the kernel reports no changes: Operation not permitted"
    async with running(host):
        await host.want(GUARDED)
        host.nft.delete("mcastd")
        assert 20.0 < await until(lambda: host.handle() is not None, "a repair") < 31.0
    assert host.log.events() == ["firewall_events_missing", "firewall_in_place", "repaired"]


@simulated
async def test_a_table_that_mcastd_did_not_make_is_left_alone_until_it_is_gone() -> None:
    host = Host()
    theirs = host.nft.create("mcastd", "counter theirs")
    async with running(host):
        await host.want(GUARDED)
        assert host.status().problem == FOREIGN
        assert host.problems() == [Problem("firewall_failed", "mcastd", f"firewall: {FOREIGN}")]
        assert not host.agent.in_place
        await asyncio.sleep(100.0)
        assert host.nft.tables == {"mcastd": theirs}
        assert host.log.events() == ["firewall_failed"]
        host.nft.delete("mcastd")
        assert await until(lambda: host.agent.in_place, "the table") < 1.1
        assert host.problems() == []
        assert host.changes == 2
    host.ledger = MemoryLedger()
    host.next_process()
    await host.agent.close()
    assert host.handle() is not None


# What the host refuses


@simulated
async def test_without_nft_only_guarded_tunnels_are_down_and_it_is_tried_every_second() -> None:
    host = Host()
    host.nft.refuses = "nft: no such program; install the package nftables"
    async with running(host):
        await host.want(GUARDED)
        assert host.status().problem == host.nft.refuses
        assert not host.status().in_place
        await host.want(NOTHING)
        assert host.status().in_place
        assert host.status().problem is None
        await host.want(GUARDED)
        await asyncio.sleep(10.0)
        assert 10 <= len(host.nft.runs) <= 13
        assert host.log.events() == ["firewall_failed", "firewall_failed"]
        host.nft.refuses = None
        assert await until(lambda: host.status().in_place, "another try") < 1.1


@simulated
async def test_what_the_agents_nudge_each_other_with_starts_no_nft() -> None:
    """Neither where nft has never worked, nor for a CHILD_SA that comes up or goes down."""
    host = Host()
    host.nft.refuses = "nft: no such program; install the package nftables"
    async with running(host):
        await host.want(GUARDED)
        for number in range(20):
            host.agent.configure(FirewallDesired(GUARDED, up=frozenset({"c"} if number % 2 else ())))
            await asyncio.sleep(0.01)
        assert len(host.nft.runs) == 1
        host.nft.refuses = None
        await until(lambda: host.status().in_place, "the table")
        looks = host.nft.looks
        host.agent.configure(FirewallDesired(GUARDED, up=frozenset()))
        await asyncio.sleep(0.5)
        assert host.nft.looks == looks


@simulated
async def test_while_nft_cannot_be_run_what_is_in_place_holds_and_nothing_is_wrong() -> None:
    async with running() as host:
        await host.want(GUARDED)
        host.nft.refuses = "nft: Resource temporarily unavailable"
        theirs = host.nft.create("theirs")  # a change of the ruleset, but not of ours
        await asyncio.sleep(100.0)
        assert (host.agent.in_place, host.problems(), host.replacements()) == (True, [], 1)
        assert host.nft.tables["theirs"] is theirs


@simulated
async def test_while_the_kernel_says_nothing_of_its_tables_the_last_known_state_holds() -> None:
    async with running() as host:
        await host.want(GUARDED)
        host.nft.hidden = "netfilter: Too many open files"
        host.nft.create("theirs")
        await until(lambda: bool(host.problems()), "the failed look")
        assert host.problems() == [Problem("firewall_failed", "mcastd", f"firewall: {host.nft.hidden}")]
        assert host.status().in_place
        await host.want(ELSEWHERE)
        assert not host.status().in_place
        await host.want(GUARDED)
        assert host.status().in_place
        host.nft.hidden = None
        assert await until(lambda: not host.problems(), "another try") < 1.1
        assert host.replacements() == 1


@simulated
async def test_a_table_that_is_gone_and_cannot_be_restored_is_not_in_place() -> None:
    async with running() as host:
        await host.want(GUARDED)
        host.nft.refuses = "nft: no answer within 10 s"
        host.nft.delete("mcastd")
        await until(lambda: not host.agent.in_place, "the failed repair")
        assert (host.agent.standing, host.status().problem) == ("", host.nft.refuses)
        host.nft.refuses = None
        assert await until(lambda: host.agent.in_place, "another try") < 1.1


@simulated
async def test_tunnels_whose_guard_is_there_are_known_when_another_table_is_refused() -> None:
    two = config(child(), child("d"), tunnels=(tunnel(), tunnel("gre2", remote=IPv4Address("10.44.7.2"), child="d")))
    async with running() as host:
        await host.want(GUARDED)
        host.nft.refuses = "nft: no answer within 10 s"
        await host.want(two, GUARDED)
        assert not host.agent.in_place
        assert unguarded(two, host.agent.standing) == {"gre2"}
        assert unguarded(OPEN, host.agent.standing) == set()
        host.nft.delete("mcastd")
        await until(lambda: unguarded(two, host.agent.standing) == {"gre1", "gre2"}, "the change")


@simulated
async def test_drops_of_the_guard_are_a_problem_while_the_sa_is_up() -> None:
    async with running() as host:
        await host.want(GUARDED)
        host.agent.configure(FirewallDesired(GUARDED, up=frozenset({"c"})))
        await asyncio.sleep(10.0)
        before = host.changes
        host.nft.pass_packets("mcastd", LEAK_OUT, 1)
        assert await until(lambda: bool(host.problems()), "the problem") <= 1.1
        assert [(problem.code, problem.subject) for problem in host.problems()] == [("guard_drops", "gre1")]
        assert host.changes == before + 1
        assert 29.0 < await until(lambda: not host.problems(), "the end") < 31.0
        assert host.changes == before + 2


@simulated
async def test_another_program_that_changes_the_table_again_and_again_is_one_warning() -> None:
    async with running() as host:
        await host.want(GUARDED)
        for _ in range(20):
            if host.handle() is not None:
                host.nft.delete("mcastd")
            await asyncio.sleep(1.0)
        assert host.status().repairs > 10
        assert host.log.events().count("repaired") == 3
        assert host.log.events().count("changed_by_another_program") == 1
        assert {problem.code for problem in host.history.problems()} == {"changed_by_another_program"}


@simulated
async def test_a_status_that_cannot_read_the_counters_shows_the_last_ones() -> None:
    async with running() as host:
        await host.want(GUARDED)
        host.nft.pass_packets("mcastd", LEAK_OUT, 1)
        await host.agent.refresh()
        host.nft.hidden = "netfilter: no answer"
        await host.agent.refresh()
        assert host.status().leaks_out == 1
        assert host.status().in_place


@simulated
async def test_a_change_that_is_refused_leaves_the_old_table_and_counts_as_none() -> None:
    async with running() as host:
        await host.want(GUARDED)
        before = host.handle()
        host.nft.refuses = "nft: Error: Could not process rule"
        await host.want(ELSEWHERE)
        assert not host.agent.in_place
        assert host.handle() == before
        host.nft.refuses = None
        await host.want(GUARDED)
        assert host.agent.in_place


@simulated
async def test_the_table_is_put_in_place_without_a_ledger_and_forwarding_is_left_as_it_is() -> None:
    host = Host()
    host.ledger.full = True
    async with running(host):
        await host.want(replace(GUARDED, firewall=FORWARDING.firewall))
        assert host.handle() is not None
        assert host.status().problem == "ledger.json: No space left on device"
        assert host.sysctls.read(IP_FORWARD) == "0"
        host.ledger.full = False
        await until(lambda: host.sysctls.read(IP_FORWARD) == "1", "another try")
        assert host.status().problem is None
        assert host.ledger.entries("sysctl") == {IP_FORWARD: "0"}


# Connections that are older than the table

SNAT = config(child(snat=IPv4Address("10.44.6.1")), tunnels=(tunnel(),))
OLDER = Flow(int(IPv4Address("192.0.2.1")), int(IPv4Address("10.44.7.1")), int(IPv4Address("192.0.2.1")), 17)


@simulated
async def test_connections_that_began_before_snat_are_forgotten_once() -> None:
    host = Host()
    host.conntrack.flows.append(OLDER)
    async with running(host):
        await host.want(SNAT)
        assert (host.conntrack.flows, host.conntrack.looks) == ([], 1)
        assert host.log.events() == ["firewall_in_place", "flows_forgotten"]
        await host.want(config(child(snat=IPv4Address("10.44.6.1"), mss=1200), tunnels=(tunnel(),)))
        assert host.conntrack.looks == 1
        host.conntrack.flows.append(OLDER)  # while the table is away
        host.nft.delete("mcastd")
        await until(lambda: host.status().repairs == 1, "a repair")
        assert (host.conntrack.flows, host.conntrack.looks) == ([], 2)
        await host.want(OPEN)
        await host.want(SNAT)
        assert host.conntrack.looks == 3
    host.next_process()
    async with running(host):
        await host.want(SNAT)
        assert host.conntrack.looks == 3


@simulated
async def test_connections_that_cannot_be_forgotten_are_a_problem_until_they_are() -> None:
    host = Host()
    host.conntrack.flows.append(OLDER)
    host.conntrack.refuses = "netfilter: Invalid argument"
    async with running(host):
        await host.want(SNAT)
        assert host.agent.in_place
        assert [(one.code, one.subject) for one in host.problems()] == [("reconcile_failed", "conntrack")]
        await asyncio.sleep(10.0)
        assert 10 <= host.conntrack.looks <= 12
        assert host.log.events() == ["firewall_in_place", "flows_not_forgotten"]
        host.conntrack.refuses = None
        assert await until(lambda: not host.problems(), "another try") < 1.1
        assert host.conntrack.flows == []
        assert host.log.events()[2:] == ["flows_forgotten"]
        assert (host.changes, host.replacements()) == (2, 1)


@simulated
async def test_connections_that_no_rule_translates_any_more_are_not_forgotten() -> None:
    host = Host()
    host.conntrack.flows.append(OLDER)
    host.conntrack.refuses = "netfilter: Invalid argument"
    async with running(host):
        await host.want(SNAT)
        await host.want(OPEN)
        host.conntrack.refuses = None
        await asyncio.sleep(100.0)
        assert (host.conntrack.flows, host.problems()) == ([OLDER], [])


# Forwarding


@simulated
async def test_forwarding_that_another_program_turned_off_is_turned_on_and_noted() -> None:
    async with running() as host:
        await host.want(FORWARDING)
        assert "repaired" not in host.log.events()
        host.sysctls.values[IP_FORWARD] = "0"
        assert await until(lambda: host.sysctls.values[IP_FORWARD] == "1", "the next look") < 31.0
        assert host.log.events()[-1] == "repaired"


@pytest.mark.parametrize("before", ["0", "1"])
@simulated
async def test_forwarding_is_set_and_restored_as_it_was(before: str) -> None:
    host = Host()
    host.sysctls.values[IP_FORWARD] = before
    async with running(host):
        await host.want(FORWARDING)
        assert host.sysctls.read(IP_FORWARD) == "1"
    host.next_process()
    async with running(host):
        await host.want(FORWARDING)
        await host.want(Config())
        assert host.sysctls.read(IP_FORWARD) == before
        await host.want(FORWARDING)
        assert host.sysctls.read(IP_FORWARD) == "1"
    await host.agent.close()
    assert host.sysctls.read(IP_FORWARD) == before
    assert host.ledger.copy() == {}


@simulated
async def test_forwarding_that_another_program_ends_is_on_again_at_once() -> None:
    async with running() as host:
        await host.want(FORWARDING)
        host.sysctls.change(IP_FORWARD, "0")
        assert await until(lambda: host.sysctls.read(IP_FORWARD) == "1", "on again") < 0.2


@simulated
async def test_forwarding_that_is_refused_is_reported_and_the_table_is_in_place_all_the_same() -> None:
    host = Host()
    host.sysctls.refused.add(IP_FORWARD)
    both = config(child(), tunnels=(tunnel(),))
    async with running(host):
        await host.want(Config(firewall=Firewall(ip_forward=True), peers=both.peers, tunnels=both.tunnels))
        assert host.agent.in_place
        assert host.status().problem == f"sysctl {IP_FORWARD} = 1: Read-only file system"
        host.sysctls.refused.clear()
        assert await until(lambda: host.status().problem is None, "another try") < 1.1


@simulated
async def test_forwarding_that_cannot_be_restored_does_not_keep_the_table() -> None:
    host = Host()
    both = config(child(), tunnels=(tunnel(),))
    async with running(host):
        await host.want(Config(firewall=Firewall(ip_forward=True), peers=both.peers, tunnels=both.tunnels))
    host.sysctls.refused.add(IP_FORWARD)
    with pytest.raises(Exception, match="Read-only file system"):
        await host.agent.close()
    assert host.handle() is None
    assert host.ledger.copy() == {"sysctl": {IP_FORWARD: "0"}}


@simulated
async def test_a_kernel_without_log_groups_gets_the_table_without_them() -> None:
    without_gre = config(child(), tunnels=(tunnel(pim=Pim(), encapsulation="none"),))
    host = Host()
    host.nft.lacks = "log group"
    async with running(host):
        await host.want(without_gre)
        assert host.agent.in_place
        assert host.agent.standing == table(without_gre, logs=False) != table(without_gre)
        runs = len(host.nft.runs)
        await host.want(GUARDED)
        await host.want(without_gre)
        assert (host.agent.in_place, len(host.nft.runs)) == (True, runs + 2)
        await asyncio.sleep(100.0)
        assert (host.agent.in_place, len(host.nft.runs), host.problems()) == (True, runs + 2, [])


@simulated
async def test_log_groups_that_were_refused_once_are_tried_again() -> None:
    without_gre = config(child(), tunnels=(tunnel(pim=Pim(), encapsulation="none"),))
    host = Host()
    host.nft.lacks = "log group"
    async with running(host):
        await host.want(without_gre)
        await asyncio.sleep(700.0)
        assert (host.agent.in_place, host.agent.standing) == (True, table(without_gre, logs=False))
        assert host.problems() == []
        host.nft.lacks = None
        await asyncio.sleep(700.0)
        assert (host.agent.in_place, host.agent.standing) == (True, table(without_gre))


@simulated
async def test_a_table_that_nft_refuses_for_another_reason_is_tried_again_as_a_whole() -> None:
    without_gre = config(child(), tunnels=(tunnel(pim=Pim(), encapsulation="none"),))
    host = Host()
    host.nft.refuses = "nft: no such program"
    async with running(host):
        await host.want(without_gre)
        assert not host.agent.in_place
        host.nft.refuses = None
        await until(lambda: host.agent.in_place, "in place")
        assert host.agent.standing == table(without_gre)
