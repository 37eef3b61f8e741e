"""The forward agent over a model of the kernel, in virtual time."""

import asyncio
from ipaddress import IPv4Address, IPv4Network

import pytest

from mcastd import membership
from mcastd.forward.desired import ForwardDesired, ForwardTunnel
from mcastd.forward.inherited import INHERITED
from mcastd.membership import DesiredGroup
from mcastd.net.mroute import ANY, Entry, Key
from mcastd.wanted import COMMAND, HOSTS, Rps
from tests.fakes.clock import simulated, until
from tests.forward.hosts import ANY_SOURCE, GROUP, NOTHING, OTHER, SOURCE, Host, Process, behind, only, running
from tests.loops import looping


@simulated
async def test_what_hosts_ask_for_is_forwarded_and_desired_from_the_tunnel_and_both_end_with_it() -> None:
    async with running() as process:
        await process.configure(behind())
        process.want()
        await process.planned()
        assert process.sent() == ["eth1"]
        assert process.upstream() == ANY_SOURCE
        assert process.wanted.of("gre1").origins(GROUP, None) == ("eth1",)
        process.want(NOTHING)
        await process.planned()
        assert process.sent() == []
        assert process.upstream() == NOTHING
        assert process.kernel.asked == 0
        assert process.codes() == set()


@simulated
async def test_a_join_is_forwarded_without_a_pause() -> None:
    async with running() as process:
        await process.configure(behind())
        process.want()
        assert await until(lambda: process.sent() == ["eth1"], "forwarded") <= 0.01


@simulated
async def test_each_interface_gets_its_sources_and_upstream_gets_those_of_each() -> None:
    async with running() as process:
        await process.configure(behind("eth1"), behind("eth2"))
        process.want(only(SOURCE), "eth1")
        process.want(DesiredGroup(any_source=True, excluded=frozenset({SOURCE})), "eth2")
        await process.planned()
        assert process.sent() == ["eth1"]
        assert process.sent(IPv4Address("10.0.0.7")) == ["eth2"]
        assert set(process.wanted.of("gre1").origins(GROUP, None)) == {"eth2"}
        assert set(process.wanted.of("gre1").origins(GROUP, SOURCE)) == {"eth1"}


@simulated
async def test_static_groups_are_forwarded_whether_a_host_asks_or_not() -> None:
    async with running() as process:
        await process.configure(behind(static=(GROUP,)))
        assert process.sent() == ["eth1"]
        await process.configure(behind(static=(OTHER,)))
        assert process.sent() == []
        assert process.sent(group=OTHER) == ["eth1"]
        await process.configure()
        assert process.upstream(group=OTHER) == NOTHING


@simulated
async def test_only_the_elected_querier_forwards_and_desires_anything() -> None:
    async with running() as process:
        await process.configure(behind(), others=frozenset({"eth1"}))
        process.want()
        await process.planned()
        assert process.sent() == []
        assert process.upstream() == NOTHING
        await process.configure(behind())
        assert process.sent() == ["eth1"]
        assert process.upstream() == ANY_SOURCE
        await process.configure(behind(), others=frozenset({"eth1"}))
        assert process.sent() == []
        assert process.upstream() == NOTHING


@simulated
async def test_groups_outside_the_ranges_and_those_that_never_leave_a_site_or_a_link_are_not_forwarded() -> None:
    async with running() as process:
        await process.configure(behind("eth1", groups=(IPv4Network("239.1.1.0/24"),)), behind("eth2"))
        for name in ("eth1", "eth2"):
            for group in ("239.1.1.1", "239.2.0.1", "239.255.0.1"):
                process.want(ANY_SOURCE, name, IPv4Address(group))
        await process.planned()
        assert process.sent() == ["eth1", "eth2"]
        assert process.sent(group=IPv4Address("239.2.0.1")) == ["eth2"]
        assert process.sent(group=IPv4Address("239.255.0.1")) == []


@simulated
async def test_a_source_specific_group_is_forwarded_from_its_sources_alone() -> None:
    group = IPv4Address("232.1.1.1")
    async with running() as process:
        await process.configure(behind("eth1"), behind("eth2"))
        process.want(ANY_SOURCE, "eth1", group)
        process.want(only(SOURCE), "eth2", group)
        await process.planned()
        assert process.sent(group=group) == ["eth2"]
        assert process.upstream(group=group) == only(SOURCE)


@simulated
async def test_a_limit_of_groups_is_a_problem_and_the_next_is_forwarded_when_another_ends() -> None:
    async with running() as process:
        await process.configure(behind(max_groups=1, max_groups_per_host=1))
        process.want()
        process.want(group=OTHER)
        await process.planned()
        assert process.sent(group=OTHER) == []
        assert process.codes() == {"groups_limit"}
        assert process.agent.status(0.0)[0].refused == 1
        process.want(NOTHING)
        await process.planned()
        assert process.sent(group=OTHER) == ["eth1"]
        assert process.codes() == set()


@simulated
async def test_what_a_tunnel_has_no_room_for_is_a_problem_until_others_have_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(membership, "MAX_JOINS", 1)
    async with running() as process:
        await process.configure(behind())
        process.wanted.join("gre1", OTHER, None, COMMAND)
        process.want()
        await process.planned()
        assert (process.codes(), process.upstream()) == ({"forward_not_joined"}, NOTHING)
        process.wanted.leave("gre1", OTHER, None, COMMAND)
        await asyncio.sleep(31.0)
        assert (process.codes(), process.upstream()) == (set(), ANY_SOURCE)


@simulated
async def test_a_downstream_interface_may_come_late_go_and_come_back() -> None:
    async with running() as process:
        process.kernel.delete("eth1")
        await process.configure(behind("eth1"), behind("eth2"))
        process.want(name="eth1")
        process.want(name="eth2")
        await process.planned()
        assert process.codes() == {"downstream_missing"}
        assert process.sent() == ["eth2"]
        assert process.upstream() == ANY_SOURCE
        for _ in range(3):
            process.kernel.make("eth1")
            await process.until(None)
            await until(lambda: process.sent() == ["eth1", "eth2"], "forwarded")
            process.kernel.delete("eth1")
            await process.until("downstream_missing")
            assert process.sent() == ["eth2"]


@simulated
async def test_a_tunnel_that_is_made_again_is_forwarded_from_again() -> None:
    async with running() as process:
        await process.configure(behind())
        process.want()
        await process.planned()
        process.kernel.delete("gre1")
        await process.configure(behind())
        process.kernel.make("gre1")
        await process.configure(behind())
        assert process.sent() == ["eth1"]


@simulated
async def test_another_daemon_that_has_multicast_routing_is_named_until_it_ends() -> None:
    host = Host()
    host.kernel.taken = True
    async with running(host) as process:
        await process.configure(behind())
        process.want()
        assert process.codes() == {"multicast_routing_taken"}
        assert "pimd (17)" in next(iter(process.agent.problems())).text
        host.kernel.taken = False
        await process.until(None)
        await process.planned()
        assert process.sent() == ["eth1"]
    assert host.log.events().count("forward_failed") == 1
    host.close()


@simulated
async def test_what_the_kernel_refuses_is_a_problem_and_is_tried_again() -> None:
    async with running() as process:
        await process.configure(behind())
        process.kernel.refuses = 12
        process.want()
        await process.until("forward_failed")
        process.kernel.refuses = None
        await process.until(None)
        await process.planned()
        assert process.sent() == ["eth1"]


@simulated
async def test_what_another_program_changed_is_repaired_within_half_a_minute() -> None:
    async with running() as process:
        await process.configure(behind())
        process.want()
        await process.planned()
        kernel = process.kernel
        key = next(key for key in kernel.table if key.group == GROUP)
        del kernel.table[key]
        foreign = Entry(SOURCE, OTHER, 0, ((1, 1),))
        kernel.table[foreign.key] = foreign
        await until(lambda: process.sent() == ["eth1"] and foreign.key not in kernel.table, "repaired")
        assert [event.what for event in process.history.status()] == ["multicast routes"]
        kernel.vifs_by_number.clear()
        await until(lambda: process.sent() == ["eth1"], "repaired")
        assert process.codes() == set()


@simulated
async def test_nothing_is_repaired_where_nobody_has_changed_anything() -> None:
    async with running() as process:
        await process.configure(behind("eth1"), behind("eth2", ttl_threshold=16))
        process.want(only(SOURCE))
        process.want(name="eth2")
        await process.planned()
        process.kernel.changed.clear()
        await asyncio.sleep(100.0)
        assert process.kernel.changed == []
        assert process.history.status() == ()


@simulated
async def test_a_restart_loses_no_packet_and_what_hosts_ask_for_again_goes_on() -> None:
    host = Host()
    async with running(host) as process:
        await process.configure(behind("eth1"), behind("eth2"))
        process.want()
        process.want(only(SOURCE), "eth2")
        process.want(only(SOURCE), "eth2", OTHER)
        await process.planned()
        assert process.sent() == ["eth1", "eth2"]
    host.kernel.changed.clear()
    async with running(host) as successor:
        assert successor.sent() == ["eth1", "eth2"]
        await successor.configure(behind("eth1"), behind("eth2"))
        assert all("delete" not in change for change in host.kernel.changed)
        assert host.kernel.changed.count(f"add {ANY} {GROUP}") == 0
        assert successor.sent() == ["eth1", "eth2"]
        assert successor.upstream() == DesiredGroup(any_source=True, sources=frozenset({SOURCE}))
        assert successor.upstream(group=OTHER) == only(SOURCE)
        successor.want()
        await asyncio.sleep(30.0)
        assert successor.sent() == ["eth1", "eth2"]
        await asyncio.sleep(60.0)
        assert successor.sent() == ["eth1"]
        assert successor.upstream() == ANY_SOURCE
        assert successor.upstream(group=OTHER) == NOTHING
    host.close()


@simulated
async def test_what_is_inherited_is_forwarded_before_the_election_is_known_unless_another_router_is_the_querier() -> (
    None
):
    host = Host()
    async with running(host) as process:
        await process.configure(behind())
        process.want()
        await process.planned()
    async with running(host) as successor:
        await successor.configure(behind(), others=frozenset({"eth1"}))
        assert successor.sent() == []
    host.close()


@simulated
async def test_a_group_that_the_hosts_leave_after_a_restart_ends_at_once() -> None:
    host = Host()
    async with running(host) as process:
        await process.configure(behind())
        process.want()
        process.want(group=OTHER)
        await process.planned()
    async with running(host) as successor:
        await successor.configure(behind())
        successor.want()
        await successor.planned()
        successor.want(NOTHING)
        await successor.planned()
        assert successor.sent() == []
        assert successor.sent(group=OTHER) == ["eth1"]
        assert successor.downstream.of("eth1").origins(OTHER, None) == (INHERITED,)
    host.close()


@simulated
async def test_a_source_is_followed_to_another_tunnel_when_it_no_longer_comes_by_the_first() -> None:
    async with running() as process:
        await process.configure(behind("eth1", "gre1", "gre2"))
        process.want(only(SOURCE))
        await process.planned()
        for _ in range(5):
            assert process.sent() == ["eth1"]
            assert process.sent(by="gre2") == []
            await process.planned()
            await asyncio.sleep(1.0)
        for _ in range(3):
            process.sent(by="gre2")
            await asyncio.sleep(1.0)
        assert process.sent(by="gre2") == ["eth1"]
        assert process.sent() == []
        assert process.agent.upcalls["wrongvif"] >= 2


@simulated
async def test_a_source_behind_this_host_that_is_the_same_as_one_of_the_tunnel_changes_nothing() -> None:
    async with running() as process:
        await process.configure(behind())
        process.want(only(SOURCE))
        await process.planned()
        for _ in range(5):
            assert process.sent(by="eth1") == []
            await asyncio.sleep(1.0)
        assert process.sent() == ["eth1"]
        assert process.agent.status(0.0)[0].sent_back == 5


@simulated
async def test_without_interfaces_to_forward_to_multicast_routing_is_given_back() -> None:
    async with running() as process:
        await process.configure(behind())
        process.want()
        await process.planned()
        await process.configure()
        assert process.kernel.table == {}
        assert process.kernel.vifs_by_number == {}
        assert process.host.manager.kept == {}
        assert process.upstream() == NOTHING
        await process.configure(behind())
        assert process.sent() == ["eth1"]
        await process.agent.close()
        assert process.kernel.table == {}


@simulated
async def test_counters_are_read_for_status() -> None:
    async with running() as process:
        await process.configure(behind(), behind("eth2"))
        process.want()
        await process.planned()
        for _ in range(7):
            process.sent()
        await process.agent.refresh()
        shown = process.agent.status(0.0)
        assert [(one.name, one.packets, one.groups) for one in shown] == [("eth1", 7, 1), ("eth2", 0, 0)]
        assert {one.state for one in shown} == {"forwarding"}
        assert process.agent.forwarded((GROUP,)) == {("gre1", None, str(GROUP)): (("eth1",), (7, 700, 0, 1.0))}


@simulated
async def test_an_agent_whose_loop_is_started_again_goes_on() -> None:
    host = Host()
    process = Process(host)
    async with looping(process.agent.run()):
        await process.configure(behind())
        process.want()
        await process.planned()
    async with looping(process.agent.run()):
        process.agent.wake.set()
        await process.planned()
        process.want(group=OTHER)
        await process.planned()
        assert process.sent() == process.sent(group=OTHER) == ["eth1"]
    host.kernel.crash()
    host.close()


@simulated
async def test_a_storm_of_joins_is_planned_in_slices() -> None:
    async with running() as process:
        await process.configure(behind())
        groups = [IPv4Address("239.3.0.0") + number for number in range(2000)]
        for group in groups:
            process.downstream.set_group("eth1", group, HOSTS, ANY_SOURCE)
        await process.planned()
        assert len(process.kernel.table) == 2002
        assert Key(ANY, groups[-1], 0) in process.kernel.table or Key(ANY, groups[-1], 1) in process.kernel.table
        process.kernel.changed.clear()
        process.want(NOTHING, "eth1", groups[0])
        await process.planned()
        assert len(process.kernel.changed) == 1


@simulated
async def test_what_is_inherited_stays_until_hosts_have_had_the_time_to_say_what_they_want() -> None:
    host = Host()
    async with running(host) as process:
        await process.configure(behind())
        process.want()
        await process.planned()
    async with running(host) as successor:
        await successor.configure(behind(), asking=frozenset({"eth1"}))
        await asyncio.sleep(300.0)
        assert (successor.sent(), successor.upstream()) == (["eth1"], ANY_SOURCE)
        await successor.configure(behind())
        await until(lambda: successor.upstream() == NOTHING, "released", 1.0)
    host.close()


@simulated
async def test_what_is_inherited_stays_joined_while_another_router_forwards_and_this_one_may_take_over() -> None:
    host = Host()
    async with running(host) as process:
        await process.configure(behind())
        process.want()
        await process.planned()
    async with running(host) as successor:
        await successor.configure(behind(), others=frozenset({"eth1"}))
        assert successor.upstream() == ANY_SOURCE
        await successor.configure(behind())
        assert successor.sent() == ["eth1"]
        await successor.configure(behind(), others=frozenset({"eth1"}))
        await asyncio.sleep(100.0)
        assert successor.upstream() == NOTHING
    host.close()


@simulated
async def test_what_is_inherited_for_an_interface_that_a_reload_removes_is_no_longer_desired() -> None:
    host = Host()
    async with running(host) as process:
        await process.configure(behind("eth1"), behind("eth2"))
        process.want(name="eth2")
        await process.planned()
    async with running(host) as successor:
        await successor.configure(behind("eth1"), behind("eth2"))
        assert len(successor.downstream.of("eth2")) == 1
        await successor.configure(behind("eth1"))
        await until(lambda: len(successor.downstream.of("eth2")) == 0, "released", 1.0)
        assert (successor.sent(), successor.upstream()) == ([], NOTHING)
    host.close()


@simulated
async def test_a_tunnel_without_a_rendezvous_point_is_not_asked_for_any_source() -> None:
    async with running() as process:
        known: set[IPv4Address] = set()
        first, second = (process.kernel.links[name] for name in ("gre1", "gre2"))

        async def configure(changes: int) -> None:
            learning = ForwardTunnel(second, rps=Rps(needed=True, changes=changes, has=known.__contains__))
            tunnels = {"gre1": ForwardTunnel(first), "gre2": learning}
            interfaces = (behind("eth1", "gre1", "gre2"),)
            process.agent.configure(ForwardDesired(interfaces, tunnels, frozenset({"eth1"})))
            await process.planned()

        await configure(0)
        process.want()
        process.want(only(SOURCE), group=OTHER)
        await process.planned()
        assert (process.upstream("gre1"), process.upstream("gre2")) == (ANY_SOURCE, NOTHING)
        assert process.upstream("gre2", OTHER) == only(SOURCE)
        assert (process.sent(by="gre1"), process.sent(by="gre2")) == (["eth1"], ["eth1"])
        known.add(GROUP)
        await configure(1)
        assert process.upstream("gre2") == ANY_SOURCE
        known.clear()
        await configure(2)
        assert (process.upstream("gre1"), process.upstream("gre2")) == (ANY_SOURCE, NOTHING)


@simulated
async def test_static_groups_are_forwarded_where_no_election_is_held_and_the_interface_exists() -> None:
    async with running() as process:
        process.kernel.delete("eth1")
        one, tunnels = behind(static=(GROUP,)), {"gre1": ForwardTunnel(process.kernel.links["gre1"])}
        process.agent.configure(ForwardDesired((one,), tunnels))
        await process.planned()
        assert process.upstream() == NOTHING
        process.kernel.make("eth1")
        process.want(group=OTHER)  # as is left of an election
        await until(lambda: process.sent() == ["eth1"], "forwarded")
        await process.planned()
        assert (process.upstream(), process.upstream(group=OTHER)) == (ANY_SOURCE, NOTHING)
        await process.configure(one, others=frozenset({"eth1"}))
        assert (process.sent(), process.upstream()) == ([], NOTHING)
