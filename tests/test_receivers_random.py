"""Whatever receivers do while the daemon is reloaded and restarted and loses links: in the end each gets its groups."""

import asyncio
import contextlib
import itertools
from contextlib import closing
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mcastd.config.downstream import Forward
from mcastd.config.model import Config, Group
from mcastd.net.igmp import Record, RecordType, V3Report
from mcastd.system import capabilities
from tests.composed import ARTICLE, Host, Process
from tests.fakes.applications import Member
from tests.fakes.clock import run, until
from tests.fakes.streams import SOURCE
from tests.igmp.elections import queriers
from tests.simulator.world import joins

GROUPS = tuple(IPv4Address("239.1.7.0") + n for n in range(4))
MACHINE = IPv4Address("192.168.1.20")
GRE1 = replace(ARTICLE.tunnels[0], linger=1.0)
FORWARD = Forward(name="eth1", from_=("gre1",), query_interval=10.0, query_response_interval=2.0)
CONFIG = replace(ARTICLE, tunnels=(GRE1,), groups=(Group(group=GROUPS[0], tunnel="gre1"),), forward=(FORWARD,))
CONFIGURATIONS = {
    "all": CONFIG,
    "no forwarding": replace(CONFIG, forward=()),
    "no groups": replace(CONFIG, groups=()),
    "static": replace(CONFIG, forward=(replace(FORWARD, static=(GROUPS[3],)),)),
    "unasked": replace(CONFIG, tunnels=(replace(GRE1, pim=None),)),
    "igmp": replace(CONFIG, tunnels=(replace(GRE1, pim=None, upstream="igmp"),)),
    "no tunnels": replace(CONFIG, tunnels=(), groups=(), forward=()),
    "not followed": replace(CONFIG, tunnels=(replace(GRE1, follow=False),)),
}


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


class Scene:
    """A host with a machine behind it and applications on it, and what they want."""

    def __init__(self) -> None:
        self.host = Host()
        self.host.kernel.make_link("eth1", None, up=True)
        self.host.kernel.add_address("eth1", (IPv4Interface("192.168.1.1/24"), None))
        self.host.multicast.make("eth1", self.host.kernel.links["eth1"].index)
        self.host.applications.others = self.own_sockets
        self.process = Process(self.host, CONFIG)
        self.machine: set[IPv4Address] = set()  # what the machine wants
        self.members: dict[IPv4Address, Member] = {}  # what an application has joined

    async def surroundings(self) -> None:
        """The router's Hellos, and what the machine reports, as often as it may be asked; interfaces as they are."""
        for number in itertools.count():
            self.follow_link()
            if number % 100 == 0:
                self.report(RecordType.IS_EX, *self.machine)
                if self.host.pim.opened and not self.host.router.closed:
                    self.host.hello()
            await asyncio.sleep(0.01)

    def follow_link(self) -> None:
        """What the kernel's multicast routing and its memberships have of a link that was made or deleted."""
        link, multicast = self.host.kernel.links.get("gre1"), self.host.multicast
        if "gre1" in multicast.links and (link is None or link.index != multicast.links["gre1"]):
            self.host.applications.delete_interface(multicast.links["gre1"])
            self.members.clear()
            multicast.delete("gre1")
        if link is not None and "gre1" not in multicast.links:
            multicast.make("gre1", link.index)

    def own_sockets(self) -> list[Member]:
        """What mcastd has joined on a tunnel by itself."""
        return [
            Member(sock.ifindex, group, exclude, set(sources))
            for sock in self.host.memberships_of_sockets.open_sockets()
            for group, (exclude, sources) in sock.groups.items()
        ]

    def report(self, kind: RecordType, *groups: IPv4Address) -> None:
        opened = self.host.segments.opened
        if groups and opened and not opened[-1].closed:
            opened[-1].message(MACHINE, V3Report(tuple(Record(kind, group) for group in groups)))

    # What happens

    async def asks(self, number: int) -> None:
        """The machine joins a group, or leaves it."""
        group = GROUPS[number]
        self.machine ^= {group}
        self.report(RecordType.TO_EX if group in self.machine else RecordType.TO_IN, group)

    async def listens(self, number: int) -> None:
        """An application joins a group, or leaves it."""
        group = GROUPS[number]
        if group in self.members:
            self.host.applications.leave(self.members.pop(group))
        elif "gre1" in self.host.multicast.links:
            index = self.host.multicast.links["gre1"]
            self.members[group] = self.host.applications.join(str(group), ifindex=index)

    async def reload(self, name: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10.0):
                await self.process.apply(CONFIGURATIONS[name])

    async def restart(self, name: str) -> None:
        await self.process.end(leaves_standing=True)
        self.process = Process(self.host, CONFIGURATIONS[name])
        self.process.start()

    async def delete_link(self) -> None:
        """Another program does."""
        if "gre1" in self.host.kernel.links:
            self.host.kernel.delete_link("gre1")

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    # What has to be

    def wanted(self) -> dict[IPv4Address, set[str]]:
        table = self.process.agents.wanted.of("gre1")
        return {group: set(origins) for group, _, origins in table.entries()}

    def expected(self, config: Config) -> dict[IPv4Address, set[str]]:
        """Of each group, what wants it."""
        found: dict[IPv4Address, set[str]] = {group.group: {"file"} for group in config.groups}
        for forward in config.forward:
            for group in self.machine | set(forward.static):
                found.setdefault(group, set()).add("eth1")
        for group in self.members if config.tunnels and config.tunnels[0].follow else ():
            found.setdefault(group, set()).add("application")
        return found

    def received(self) -> set[IPv4Address]:
        """What a packet from the tunnel leaves for behind this host."""
        packet = self.host.multicast.packet
        if "gre1" not in self.host.multicast.links:
            return set()
        return {group for group in GROUPS if packet(SOURCE, str(group), "gre1") == ["eth1"]}


NAMES = st.sampled_from(sorted(CONFIGURATIONS))
NUMBERS = st.integers(0, len(GROUPS) - 1)
STEPS = st.one_of(
    st.tuples(st.sampled_from(("asks", "listens")), NUMBERS),
    st.tuples(st.sampled_from(("reload", "restart")), NAMES),
    st.tuples(st.just("wait"), st.sampled_from((0.01, 0.5, 3.0, 30.0))),
    st.tuples(st.just("delete_link")),
)


@settings(max_examples=20, deadline=None)
@given(st.lists(STEPS, max_size=12), NAMES)
@example([("reload", "igmp"), ("restart", "all")], "all")
@example([("reload", "igmp"), ("restart", "all"), ("restart", "all")], "all")
@example([("asks", 1), ("listens", 2), ("wait", 3.0), ("reload", "no tunnels"), ("wait", 3.0)], "all")
@example([("reload", "igmp"), ("delete_link",), ("restart", "igmp"), ("delete_link",), ("wait", 0.01)], "all")
@example([("asks", 2), ("wait", 3.0), ("restart", "all"), ("reload", "no forwarding"), ("wait", 3.0)], "no forwarding")
def test_in_the_end_whoever_wants_a_group_gets_it_and_nothing_else_is_joined(
    steps: list[tuple[Any, ...]], name: str
) -> None:
    last = CONFIGURATIONS[name]

    async def main() -> None:
        scene = Scene()
        with closing(scene.host):
            scene.process.start()
            around = asyncio.create_task(scene.surroundings())
            for verb, *how in steps:
                await getattr(scene, verb)(*how)
            await scene.wait(1.0)
            await scene.reload(name)
            await until(lambda: scene.wanted() == scene.expected(last), "what is wanted", 120.0)
            assert not last.forward or queriers(scene.process.agents.igmp) == {"eth1": True}
            behind = set(scene.machine) | {group for one in last.forward for group in one.static}
            await until(lambda: scene.received() == (behind if last.forward else set()), "forwarding", 120.0)
            if last.tunnels and last.tunnels[0].pim is not None:
                await until(scene.process.joined, "joined", 120.0)
                groups = joins(scene.process.agents.pim, scene.process.agents.wanted)
                assert {IPv4Address(group.group) for group in groups} == set(scene.expected(last))
            if last.tunnels and last.tunnels[0].upstream == "igmp":
                joined = {group for group, origins in scene.expected(last).items() if origins != {"application"}}
                index = scene.host.kernel.links["gre1"].index
                sockets = scene.host.memberships_of_sockets
                await until(lambda: sockets.groups(index) == joined, "memberships", 120.0)
            around.cancel()
            await scene.process.end()
            assert scene.host.multicast.table == {}
            assert scene.host.memberships_of_sockets.open_sockets() == []

    run(main())
