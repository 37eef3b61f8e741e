"""All agents together: the order of start, reload and stop, what fails meanwhile, and what they show."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from random import Random

import pytest
from msgspec.structs import replace

from mcastd.composition import _CLOSE_TIMEOUT, Composition
from mcastd.config.model import Config, Group
from mcastd.errors import HostError
from mcastd.group_status import GroupReport
from mcastd.pim.packet import MessageType
from mcastd.snapshot import Process as ProcessInfo
from mcastd.snapshot import build
from mcastd.status import Status
from mcastd.system import capabilities
from mcastd.system.fdstore import FdStore
from mcastd.system.log import Logger
from mcastd.wanted import COMMAND, STATIC
from tests.composed import ARTICLE, Host, Process, running
from tests.fakes.charon import WRONG_PSK
from tests.fakes.clock import simulated, until
from tests.resumptions import AGENTS

GRE1 = ARTICLE.tunnels[0]
GROUP = IPv4Address("239.1.1.1")
OTHER_FAR_END = IPv4Address("10.44.7.9")
(PEER,) = ARTICLE.peers


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


def with_far_end(remote: IPv4Address) -> Config:
    return replace(ARTICLE, tunnels=(replace(GRE1, remote=remote),))


WITHOUT_TUNNELS = replace(ARTICLE, tunnels=(), groups=())


async def shown(process: Process, info: ProcessInfo) -> Status:
    now = time.monotonic()
    return build(process.agents.snapshots(now, await process.agents.rows(now)), info, process.agents.judgement())


# Start


@simulated
async def test_everything_comes_up_from_the_article_s_file() -> None:
    async with running() as process:
        host = process.host
        assert await process.up() < 1.0
        assert (host.guarded, host.charon.asked("initiate") != []) == ({"10.44.7.1"}, True)
        assert host.kernel.links["gre1"].up
        assert host.kernel.loopback() == {"10.44.6.1/32", "10.45.8.17/32"}
        host.hello()
        await until(process.joined, "joined")
        assert MessageType.JOIN_PRUNE in [payload[0] & 15 for _, payload in host.router.sent]
        assert process.agents.summary(()) == "up: 1 peer(s), 1 tunnel(s), 1 join(s)"
        assert list(process.agents.turned()) == list(AGENTS)


@simulated
async def test_the_guard_is_in_place_before_any_other_agent_begins() -> None:
    async with running() as process:
        host = process.host
        while "mcastd" not in host.nft.tables:
            assert (host.charon.connections, host.netlink.changed, host.keepalives, host.pim.tries) == ([], [], [], 0)
            await asyncio.sleep(0.001)
        await process.up()


@simulated
async def test_without_the_guard_nothing_is_sent_and_the_rest_comes_up() -> None:
    host = Host()
    host.nft.refuses = "nft: no such program; install the package nftables"
    async with running(host=host) as process:
        await until(lambda: all(view.up for view in process.agents.ipsec.children().values()), "the CHILD_SAs")
        await asyncio.sleep(60.0)
        assert process.problems() == [
            f"firewall: {host.nft.refuses}", "tunnel gre1 is waiting", "1 of 1 joins not joined on gre1",
        ]  # fmt: skip
        assert (host.kernel.links["gre1"].up, host.pim.opened) == (False, [])
        assert all(not sock.sent for sock in host.keepalives)
        host.nft.refuses = None
        assert await process.up() < 2.0
        assert len(host.pim.opened) == 1
    host.close()


@simulated
async def test_one_change_of_an_agent_configures_all_that_depend_on_it() -> None:
    async with running() as process:
        host = process.host
        await process.up()
        host.hello()
        await until(process.joined, "joined")
        host.charon.peer_silent = True
        host.charon.delete()
        await until(lambda: "tunnel gre1 is waiting" in process.problems(), "the tunnel waits")
        assert host.kernel.links["gre1"].up
        sent = len(host.router.sent)
        host.charon.peer_silent = False
        assert await process.up() < 40.0
        assert len(host.pim.opened) == 1
        assert await until(lambda: len(host.router.sent) > sent, "PIM says that it is back") < 1.0


# Failures


@simulated
async def test_an_agent_that_fails_is_shown_and_the_others_go_on() -> None:
    async with running() as process:
        host = process.host
        await process.up()
        host.netlink.meanwhile["link"] = raising
        process.agents.tunnels.wake.set()
        await until(lambda: any(problem.startswith("the agent tunnels failed") for problem in process.problems()))
        host.hello()
        await until(process.joined, "joined")
        assert host.log.events().count("agent_failed") == 1
        assert await process.up() < 60.0


def raising() -> None:
    raise RuntimeError("can't start new thread")


# Reload


@simulated
async def test_a_tunnel_that_changes_is_guarded_with_both_far_ends_while_its_link_does() -> None:
    async with running() as process:
        host = process.host
        await process.up()
        before = host.kernel.links["gre1"].index
        guarded: list[set[str]] = []
        host.netlink.meanwhile["change_link"] = lambda: guarded.append(host.guarded)
        host.hello()  # a change of PIM, upon which every agent is configured
        await process.apply(with_far_end(OTHER_FAR_END))
        assert guarded == [{"10.44.7.1", "10.44.7.9"}]
        assert host.kernel.links["gre1"].index == before
        assert host.guarded == {"10.44.7.9"}
        assert process.agents.config.tunnels[0].remote == OTHER_FAR_END
        await process.up()


@simulated
async def test_a_tunnel_that_goes_is_guarded_and_says_goodbye_before_its_link_is_gone() -> None:
    async with running() as process:
        host = process.host
        await process.up()
        host.hello()
        await until(process.joined, "joined")
        transport = host.router
        seen: list[object] = []
        host.netlink.meanwhile["delete_link"] = lambda: seen.append(
            (transport.closed, all(sock.closed for sock in host.keepalives), host.guarded)
        )
        host.hello()
        host.charon.rekey("dc-tun-gre")  # changes of other agents meanwhile
        await process.apply(WITHOUT_TUNNELS)
        assert seen == [(True, True, {"10.44.7.1"})]
        assert goodbye(transport.sent[-1][1])
        assert host.kernel.names() == {"lo", "eth0"}
        assert host.guarded == set()
        assert len(host.charon.sas) == 1
        await process.apply(ARTICLE)
        assert host.guarded == {"10.44.7.1"}
        await process.up()


@simulated
async def test_the_same_file_again_changes_nothing() -> None:
    async with running() as process:
        host = process.host
        await process.up()
        await asyncio.sleep(1.0)
        before = host.netlink.changed.copy(), host.nft.tables["mcastd"].handle, len(host.charon.asked("load-conn"))
        await process.apply(ARTICLE)
        after = host.netlink.changed, host.nft.tables["mcastd"].handle, len(host.charon.asked("load-conn"))
        assert after == before
        assert len(host.pim.opened) == 1


@simulated
async def test_a_reload_that_does_not_settle_in_time_is_applied_all_the_same() -> None:
    async with running() as process:
        host = process.host
        await process.up()
        host.charon.silent = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await process.apply(with_far_end(OTHER_FAR_END))
        assert process.agents.config.tunnels[0].remote == OTHER_FAR_END
        host.charon.silent = False
        await until(lambda: host.guarded == {"10.44.7.9"}, "the guard of the old tunnel has gone")
        await process.up()


# Stop


@simulated
async def test_everything_is_put_back_in_reverse_order() -> None:
    async with running() as process:
        host = process.host
        await process.up()
        host.hello()
        await until(process.joined, "joined")
        transport = host.router
        order: list[object] = []
        host.netlink.meanwhile["delete_link"] = lambda: order.append(
            (transport.closed, all(sock.closed for sock in host.keepalives), len(host.charon.sas), host.guarded)
        )
        await process.end()
        assert order == [(True, True, 1, {"10.44.7.1"})]
        assert goodbye(transport.sent[-1][1])
        assert host.is_empty()
        assert not [event for event in host.log.events() if event.startswith("teardown")]


@simulated
async def test_what_fails_or_hangs_at_the_end_does_not_stop_the_rest() -> None:
    async with running() as process:
        host = process.host
        await process.up()

        async def fail() -> None:
            raise HostError("it will not")

        async def hang() -> None:
            await asyncio.sleep(3600.0)

        close = {part.agent.name: part.agent.close for part in process.agents.parts}
        for part in process.agents.parts:
            if part.agent.name in ("pim", "tunnels"):
                part.agent.close = fail if part.agent.name == "pim" else hang  # type: ignore[method-assign]
        began = time.monotonic()
        await process.end()
        assert _CLOSE_TIMEOUT <= time.monotonic() - began < _CLOSE_TIMEOUT + 1.0
        records = [record for record in host.log.records if record["event"].startswith("teardown")]
        assert [(record["event"], record["part"]) for record in records] == [
            ("teardown_failed", "pim"), ("teardown_timeout", "tunnels"),
        ]  # fmt: skip
        assert (host.charon.conns, host.nft.tables) == ({}, {})
        assert "gre1" in host.kernel.names()
        await close["tunnels"]()
        assert host.is_empty()


@simulated
async def test_without_charon_the_end_is_not_delayed_beyond_its_bound() -> None:
    async with running() as process:
        host = process.host
        await process.up()
        host.charon.silent = True
        began = time.monotonic()
        await process.end()
        assert time.monotonic() - began < _CLOSE_TIMEOUT + 1.0
        assert host.kernel.names() == {"lo", "eth0"}
        assert host.nft.tables == {}


@pytest.mark.parametrize("in_kernel", [True, False], ids=["GRE of the kernel", "GRE in user space"])
@simulated
async def test_the_next_process_adopts_what_was_left_standing(in_kernel: bool) -> None:
    host = Host()
    host.kernel.unsupported = set() if in_kernel else {"gre"}
    async with running(host=host) as process:
        await process.up()
    before = host.kernel.links["gre1"].index, host.nft.tables["mcastd"].rules, len(host.charon.asked("initiate"))
    async with running(host=host) as process:
        await process.up()
        await asyncio.sleep(5.0)
        after = host.kernel.links["gre1"].index, host.nft.tables["mcastd"].rules, len(host.charon.asked("initiate"))
        assert after == before
        await process.end()
        assert host.is_empty()
    host.close()


def test_inherited_descriptors_are_taken_once_for_all_agents() -> None:
    """The service manager passes them once: a second store would be empty, and what the first has would be lost."""
    host, made = Host(), list[object]()
    system = host.system()

    def store(log: Logger) -> FdStore:
        made.append(log)
        return system.store(log)

    Composition(ARTICLE, lambda: None, host.log.logger, Random(1), replace(system, store=store))
    host.close()
    assert len(made) == 1


# What is shown


@simulated
async def test_status_has_what_every_agent_shows() -> None:
    async with running() as process:
        host = process.host
        await process.up()
        host.nft.pass_packets("mcastd", "leak-out-10.44.7.1", 3)
        await process.agents.refresh()
        info = ProcessInfo(1, 2.0, "mcastd.toml", "abc", ("a note",))
        status = await shown(process, info)
        assert (status.health, status.healthy, status.summary) == ("ok", True, "up: 1 peer(s), 1 tunnel(s), 1 join(s)")
        assert status.firewall is not None
        assert status.firewall.leaks_out == 3
        assert [(peer.name, peer.state) for peer in status.peers] == [("dc-tun", "up")]
        (tunnel,) = status.tunnels
        assert (tunnel.state, tunnel.datapath, tunnel.mtu) == ("up", "kernel", 1414)
        assert tunnel.keepalive is not None
        assert tunnel.pim is not None
        assert [group.group for group in status.groups] == ["239.1.1.1"]


@simulated
async def test_one_group_is_shown_as_a_whole() -> None:
    host = Host()
    host.memberships = {"gre1": frozenset({GROUP})}
    async with running(host=host) as process:
        await process.up()
        host.hello()
        await until(process.joined, "joined")
        process.agents.wanted.join("gre1", GROUP, None, COMMAND)
        process.agents.downstream.join("eth1", GROUP, None, STATIC)
        await process.agents.streams.refresh()
        report = await process.agents.group(GROUP, time.monotonic())
        assert [(one.origin, one.tunnel) for one in report.origins] == [("file", "gre1"), ("command", "gre1")]
        assert [(one.kind, one.interface) for one in report.receivers] == [("application", "gre1"), ("static", "eth1")]
        assert [(one.state, one.origins) for one in report.joins] == [("joined", ("file", "command"))]
        assert [(one.tunnel, one.state) for one in report.streams] == [("gre1", "arriving")]
        assert await process.agents.group(GROUP + 1, time.monotonic()) == GroupReport(group=str(GROUP + 1))
    host.close()


@simulated
async def test_groups_of_a_far_end_that_sends_unasked_are_expected_and_watched() -> None:
    groups = (Group(group=GROUP, tunnel="gre1", max_silence=5.0), Group(group=GROUP + 1, tunnel="gre1"))
    config = replace(ARTICLE, tunnels=(replace(GRE1, pim=None),), groups=groups)
    async with running(config) as process:
        host = process.host
        await process.up()
        await asyncio.sleep(7.0)  # a stream is known to be busy 5 s after the first reading, which is within a second
        info = ProcessInfo(1, 2.0, "mcastd.toml", "abc", ())
        await process.agents.refresh()
        status = await shown(process, info)
        assert [(one.group, one.state, one.origins, one.arrival) for one in status.groups] == [
            (str(GROUP), "expected", ("file",), "arriving"), (str(GROUP + 1), "expected", ("file",), "never_arrived"),
        ]  # fmt: skip
        assert (status.health, status.tunnels[0].upstream, status.tunnels[0].pim) == ("ok", "none", None)
        assert status.summary == "up: 1 peer(s), 1 tunnel(s), 2 join(s)"
        assert host.pim.opened == []
        host.streams.arrives(str(GROUP), rate=0)
        codes = {"group_silent", "all_silent"}
        await until(lambda: codes <= {problem.code for problem in process.agents.problems()}, "the silence")
        await process.apply(replace(config, groups=groups[:1]))
        assert process.agents.wanted.of("gre1").groups() == [GROUP]


@simulated
async def test_other_work_has_its_turn_while_a_reload_joins_a_thousand_groups() -> None:
    async with running() as process:
        await process.up()
        turns, steps = list[None](), list[tuple[int, int]]()

        def hear(_name: str, groups: Sequence[IPv4Address]) -> None:
            steps.append((len(groups), len(turns)))
            asyncio.get_running_loop().call_soon(turns.append, None)

        process.agents.wanted.listen(hear)
        groups = tuple(Group(group=GROUP + number, tunnel="gre1") for number in range(1000))
        await process.apply(replace(ARTICLE, groups=groups))
        assert max(size for size, _ in steps) == 100
        assert len({turn for _, turn in steps}) == len(steps) == 10
        assert len(process.agents.wanted.of("gre1").groups()) == 1000


@simulated
async def test_of_a_far_end_that_never_sends_nothing_ever_arrived() -> None:
    host = Host()
    groups = (Group(group=GROUP + 9, tunnel="gre1"),)
    config = replace(ARTICLE, tunnels=(replace(GRE1, pim=None, upstream="none"),), groups=groups)
    host.streams.stop()
    async with running(config, host) as process:
        await until(
            lambda: "nothing_ever_arrived" in {problem.code for problem in process.agents.problems()}, "the problem"
        )
    host.close()


@simulated
async def test_problems_are_those_of_the_agents_and_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    host.charon.outcomes = dict.fromkeys(("dc-tun-gre", "dc-tun-tcp"), WRONG_PSK)
    async with running(host=host) as process:
        await asyncio.sleep(5.0)
        found = [(problem.code, problem.subject) for problem in process.agents.problems()]
        assert found == [("peer_down", "dc-tun"), ("tunnel_down", "gre1"), ("nothing_joined", "gre1")]
        await asyncio.sleep(3600.0)
        judgement = process.agents.judgement()
        # The wall clock did not go on.
        ages = [datetime.now(UTC) - datetime.fromisoformat(problem.since) for problem in judgement.problems]
        assert judgement.health == "down"
        assert all(timedelta(seconds=3590) < age < timedelta(seconds=3610) for age in ages)
        monkeypatch.setattr(capabilities, "missing", lambda: (("CAP_NET_RAW", "use PIM"),))
        assert process.problems()[0] == "no CAP_NET_RAW: mcastd cannot use PIM"
    host.close()


def goodbye(payload: bytes) -> bool:
    """A Hello whose holdtime is 0 (RFC 7761, section 4.3.1)."""
    return payload[0] & 15 == MessageType.HELLO and payload[4:10] == b"\0\1\0\2\0\0"


@simulated
async def test_on_a_tunnel_without_pim_groups_are_joined_by_igmp() -> None:
    by_igmp = replace(ARTICLE.tunnels[0], pim=None, upstream="igmp")
    config = replace(ARTICLE, tunnels=(by_igmp,))
    async with running(config) as process:
        await process.up()
        index = process.agents.tunnels.links()["gre1"].index
        sockets, wanted = process.host.memberships_of_sockets, {group.group for group in ARTICLE.groups}
        await until(lambda: sockets.groups(index) == wanted, "the groups of the file")
        by_command = IPv4Address("239.1.1.99")
        process.agents.wanted.join("gre1", by_command, None, "command")
        await process.agents.igmp_host.settled()
        assert sockets.groups(index) == wanted | {by_command}
        now = time.monotonic()
        assert {group.state for group in await process.agents.rows(now)} == {"joined"}
        assert [join.state for join in (await process.agents.group(by_command, now)).joins] == ["joined"]
        assert process.host.pim.opened == []
        await process.end()
        assert sockets.open_sockets() == []
