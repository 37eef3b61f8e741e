"""Applications and machines behind the host, through all agents: whoever wants a group gets it, and is shown."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest
from msgspec.structs import replace

from mcastd.config.downstream import Forward
from mcastd.config.model import Config, Group
from mcastd.group_status import GroupReport
from mcastd.net.igmp import Record, RecordType, V3Report
from mcastd.pim.packet import JoinPrune, MessageType, decode_join_prune, unseal
from mcastd.snapshot import Process as ProcessInfo
from mcastd.snapshot import build
from mcastd.status import Status
from mcastd.system import capabilities
from tests.composed import ARTICLE, Host, Process, running
from tests.fakes.clock import simulated, until
from tests.fakes.streams import SOURCE
from tests.igmp.elections import queriers

GROUP, OTHER, SSM_GROUP = IPv4Address("239.1.7.1"), IPv4Address("239.1.7.2"), IPv4Address("232.1.7.1")
OURS, MACHINE, ROUTER = IPv4Address("192.168.1.1"), IPv4Address("192.168.1.20"), IPv4Address("192.168.1.9")
FORWARD = Forward(name="eth1", from_=("gre1",), query_interval=10.0, query_response_interval=2.0)
CONFIG = replace(ARTICLE, forward=(FORWARD,))


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


class Scene:
    """A process with a segment behind its host."""

    def __init__(self, host: Host, process: Process) -> None:
        self.host = host
        self.process = process
        self.agents = process.agents

    def joins(self, kind: RecordType, group: IPv4Address, *sources: IPv4Address) -> None:
        """The machine behind the host says what it wants."""
        self.host.segments.opened[-1].message(MACHINE, V3Report((Record(kind, group, sources),)))

    def sent(self) -> list[JoinPrune]:
        payloads = (payload for _, payload in self.host.router.sent)
        return [decode_join_prune(unseal(one)[1]) for one in payloads if one[0] & 15 == MessageType.JOIN_PRUNE]

    def joined(self, group: IPv4Address) -> bool:
        """Whether the last that the router was sent of a group is a Join."""
        found = [one for message in self.sent() for one in message.groups if one.group == group]
        return bool(found) and bool(found[-1].joined)

    def forwarded(self, group: IPv4Address) -> list[str]:
        """The interfaces by which a packet of the feed leaves."""
        return self.host.multicast.packet(SOURCE, str(group), "gre1")

    async def report(self, group: IPv4Address) -> GroupReport:
        await self.agents.refresh()
        return await self.agents.group(group, time.monotonic())

    async def status(self) -> Status:
        await self.agents.refresh()
        info = ProcessInfo(1, 2.0, "mcastd.toml", "", ())
        now = time.monotonic()
        return build(self.agents.snapshots(now, await self.agents.rows(now)), info, self.agents.judgement())


@asynccontextmanager
async def scene(config: Config = CONFIG, host: Host | None = None) -> AsyncIterator[Scene]:
    """All is up, the router has been heard, and this host is the querier on eth1."""
    own = host or Host()
    if "eth1" not in own.kernel.links:
        own.kernel.make_link("eth1", None, up=True)
        own.kernel.add_address("eth1", (IPv4Interface((OURS, 24)), None))
    own.multicast.links["eth1"] = own.kernel.links["eth1"].index
    async with running(config, own) as process:
        await until(lambda: bool(process.agents.tunnels.links()), "the tunnel")
        own.multicast.links["gre1"] = own.kernel.links["gre1"].index
        if config.tunnels[0].pim is not None:
            await until(lambda: bool(own.pim.opened), "PIM")
            own.hello()
        await until(lambda: queriers(process.agents.igmp) == {"eth1": True}, "the election")
        await asyncio.sleep(1.0)
        yield Scene(own, process)
    if host is None:
        own.close()


@simulated
async def test_a_machine_behind_the_host_gets_what_it_asks_for_until_it_leaves() -> None:
    async with scene() as one:
        one.joins(RecordType.TO_EX, GROUP)
        took = await until(lambda: one.joined(GROUP) and one.forwarded(GROUP) == ["eth1"], "the feed", 1.0)
        assert took <= 0.02
        one.host.streams.arrives(str(GROUP))
        await asyncio.sleep(5.0)
        assert one.process.problems() == []
        report = await one.report(GROUP)
        assert [(origin.origin, origin.tunnel) for origin in report.origins] == [("eth1", "gre1")]
        (receiver,) = report.receivers
        assert (receiver.kind, receiver.interface, receiver.address) == ("host", "eth1", str(MACHINE))
        (join,) = report.joins
        assert (join.state, join.origins, join.arrival, join.forwarded_to) == (
            "joined", ("eth1",), "arriving", ("eth1",),
        )  # fmt: skip
        assert [(stream.source, stream.state) for stream in report.streams] == [(SOURCE, "arriving")]
        status = await one.status()
        (forward,) = status.forward
        assert (forward.state, forward.groups, forward.tunnels) == ("forwarding", 1, ("gre1",))
        assert forward.igmp is not None
        assert (forward.igmp.is_ours, forward.igmp.groups, forward.igmp.hosts) == (True, 1, 1)
        one.joins(RecordType.TO_IN, GROUP)
        assert 1.5 < await until(lambda: not one.joined(GROUP), "the Prune", 5.0) < 3.0
        assert one.forwarded(GROUP) == []
        assert await one.report(GROUP) == replace(
            report, origins=(), receivers=(), joins=(), streams=report.streams
        ) or ((await one.report(GROUP)).origins == ())


def test_what_a_members_file_names_is_forwarded_past_a_gateway_that_queries(tmp_path: Path) -> None:
    file = tmp_path / "members.json"

    @simulated
    async def main() -> None:
        forward = replace(FORWARD, igmp_version=2, querier=False, members_file=file)
        file.write_text('{"schema": 1, "groups": []}')
        async with scene(replace(CONFIG, forward=(forward,))) as one:
            file.write_text(f'{{"schema": 1, "groups": [{{"group": "{GROUP}"}}]}}')
            took = await until(lambda: one.joined(GROUP) and one.forwarded(GROUP) == ["eth1"], "the feed", 1.0)
            assert took <= 0.02
            report = await one.report(GROUP)
            assert [(found.kind, found.interface) for found in report.receivers] == [("members", "eth1")]
            assert one.host.segments.opened[-1].sent == []
            one.host.streams.arrives(str(GROUP))
            file.write_text("{")
            await until(lambda: any("no JSON" in text for text in one.process.problems()), "the problem", 1.0)
            assert one.forwarded(GROUP) == ["eth1"]
            file.write_text('{"schema": 1, "groups": []}')
            await until(lambda: not one.joined(GROUP) and one.forwarded(GROUP) == [], "the end", 1.0)

    main()


@simulated
async def test_applications_machines_commands_and_the_file_are_counted_by_origin() -> None:
    groups = (*CONFIG.groups, Group(group=GROUP, tunnel="gre1"))
    async with scene(replace(CONFIG, groups=groups)) as one:
        index = one.host.kernel.links["gre1"].index
        member = one.host.applications.join(str(GROUP), ifindex=index)
        one.joins(RecordType.TO_EX, GROUP)
        one.agents.wanted.join("gre1", GROUP, None, "command")
        await until(lambda: len(one.agents.wanted.of("gre1").origins(GROUP, None)) == 4, "all origins", 2.0)
        assert set((await one.report(GROUP)).joins[0].origins) == {"file", "application", "eth1", "command"}
        await one.process.apply(CONFIG)
        one.agents.wanted.leave("gre1", GROUP, None, "command")
        one.joins(RecordType.TO_IN, GROUP)
        await asyncio.sleep(10.0)
        assert one.agents.wanted.of("gre1").origins(GROUP, None) == ("application",)
        assert one.joined(GROUP)
        one.host.applications.leave(member)
        took = await until(lambda: not one.joined(GROUP), "the Prune", 10.0)
        assert took == pytest.approx(5.0, abs=0.1)


@simulated
async def test_an_application_s_sources_are_joined_and_nothing_else() -> None:
    async with scene() as one:
        index = one.host.kernel.links["gre1"].index
        one.host.applications.join(str(SSM_GROUP), SOURCE, ifindex=index)
        await until(lambda: one.joined(SSM_GROUP), "the Join", 1.0)
        found = [entry for message in one.sent() for entry in message.groups if entry.group == SSM_GROUP]
        assert {source.address for entry in found for source in entry.joined} == {IPv4Address(SOURCE)}


@simulated
async def test_static_groups_are_forwarded_and_go_with_the_configuration() -> None:
    config = replace(CONFIG, forward=(replace(FORWARD, static=(GROUP,)),))
    async with scene(config) as one:
        await until(lambda: one.joined(GROUP) and one.forwarded(GROUP) == ["eth1"], "the feed", 5.0)
        report = await one.report(GROUP)
        assert [(receiver.kind, receiver.interface) for receiver in report.receivers] == [("static", "eth1")]
        await one.process.apply(replace(CONFIG, forward=()))
        await until(lambda: not one.joined(GROUP), "the Prune", 5.0)
        assert (await one.status()).forward == ()
        assert one.agents.wanted.of("gre1").groups() == [group.group for group in CONFIG.groups]
        assert one.agents.downstream.of("eth1").groups() == []


@simulated
async def test_a_far_end_that_sends_unasked_is_forwarded_to_who_asks() -> None:
    config = replace(CONFIG, tunnels=(replace(CONFIG.tunnels[0], pim=None),))
    async with scene(config) as one:
        one.joins(RecordType.TO_EX, GROUP)
        await until(lambda: one.forwarded(GROUP) == ["eth1"], "the feed", 1.0)
        (join,) = (await one.report(GROUP)).joins
        assert (join.state, join.origins, join.forwarded_to) == ("expected", ("eth1",), ("eth1",))
        assert one.host.pim.opened == []


@simulated
async def test_a_restart_forwards_what_was_forwarded_and_joins_what_was_joined() -> None:
    host = Host()
    async with scene(host=host) as one:
        one.joins(RecordType.TO_EX, GROUP)
        await until(lambda: one.forwarded(GROUP) == ["eth1"], "the feed", 1.0)
    assert host.multicast.packet(SOURCE, str(GROUP), "gre1") == ["eth1"]
    async with running(CONFIG, host) as process:
        for _ in range(300):
            assert host.multicast.packet(SOURCE, str(GROUP), "gre1") == ["eth1"]
            await asyncio.sleep(0.01)
        assert process.agents.wanted.is_wanted("gre1", None, GROUP)
    host.close()
