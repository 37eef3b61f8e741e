"""Groups with two tunnels, with all agents on a host in memory: when their Joins and Prunes leave."""

import asyncio
import time
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from unittest.mock import AsyncMock

import pytest
from msgspec.structs import replace

from mcastd.commands import Commands
from mcastd.config.model import Config, Group, Paths
from mcastd.errors import McastdError
from mcastd.file_groups import AUTO
from mcastd.handover import Handover
from mcastd.pim.packet import Hello, JoinPrune, MessageType, decode_join_prune, encode_hello, unseal
from mcastd.system import capabilities
from mcastd.wanted import APPLICATION
from tests.composed import ARTICLE, Host, Process, running
from tests.fakes.clock import simulated, until
from tests.fakes.pim_transport import FakeTransport

GRE1 = ARTICLE.tunnels[0]
(PEER,) = ARTICLE.peers
GROUP = IPv4Address("239.1.1.1")
ROUTERS = {"gre1": IPv4Address("10.44.4.5"), "gre2": IPv4Address("10.44.5.5")}


def two(*groups: Group, **paths: object) -> Config:
    """The article's file with a second data centre."""
    child = replace(PEER.children[0], name="dc2-gre", remote_ts=IPv4Network("10.44.8.1/32"))
    peer = replace(PEER, name="dc2", remote=IPv4Address("177.54.214.21"), remote_id="177.54.214.21", children=(child,))
    assert GRE1.pim is not None
    gre2 = replace(
        GRE1, name="gre2", child="dc2-gre", remote=IPv4Address("10.44.8.1"), address=IPv4Interface("10.44.5.6/30"),
        peer_address=ROUTERS["gre2"], pim=replace(GRE1.pim, neighbor=ROUTERS["gre2"]),
    )  # fmt: skip
    settings = Paths(**paths)  # type: ignore[arg-type]
    return replace(ARTICLE, peers=(PEER, peer), tunnels=(GRE1, gre2), groups=groups or (group(),), paths=settings)


def group(number: int = 0, **keys: object) -> Group:
    return Group(group=GROUP + number, several=("gre1", "gre2"), **keys)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


class Routers:
    """The routers at the far ends: each says Hello twice a minute while it is there."""

    def __init__(self, process: Process) -> None:
        self.host = process.host
        self.there = set(ROUTERS)

    def of(self, name: str) -> FakeTransport:
        return next(one for one in reversed(self.host.pim.opened) if one.settings and one.settings.name == name)

    def hello(self, name: str, holdtime: int = 105) -> None:
        self.of(name).message(ROUTERS[name], encode_hello(Hello(holdtime=holdtime, generation_id=1)))

    async def run(self) -> None:
        while True:
            for name in self.there:
                self.hello(name)
            await asyncio.sleep(30.0)

    def heard(self, name: str) -> list[tuple[str, str]]:
        """What was joined and pruned since the last call."""
        found: dict[tuple[str, str], None] = {}
        for payload in self.of(name).take():
            kind, body = unseal(payload)
            if kind == MessageType.JOIN_PRUNE:
                message: JoinPrune = decode_join_prune(body)
                for one in message.groups:
                    found |= {("join", str(one.group)): None} if one.joined else {}
                    found |= {("prune", str(one.group)): None} if one.pruned else {}
        return list(found)


def on(process: Process, name: str) -> list[IPv4Address]:
    return process.agents.wanted.of(name).groups()


@simulated
async def test_groups_move_within_milliseconds_and_back_after_the_hold_time() -> None:
    groups = [group(number) for number in range(250)]
    async with running(two(*groups, hold=60.0, overlap=2.0)) as process:
        host = process.host
        await process.up()
        routers = Routers(process)
        async with asyncio.TaskGroup() as tasks:
            saying = tasks.create_task(routers.run())
            await asyncio.sleep(10.0)
            assert (len(on(process, "gre1")), on(process, "gre2")) == (250, [])
            routers.heard("gre1"), routers.heard("gre2")

            host.charon.delete("dc-tun-gre")
            took = await until(lambda: len(on(process, "gre2")) == 250, "the move")
            assert took <= 0.02
            await asyncio.sleep(0.1)
            assert len(routers.heard("gre2")) == 250
            assert on(process, "gre1") == []
            (line,) = (one for one in host.log.records if one["event"] == "path_changed")
            assert (line["before"], line["tunnel"]) == ("gre1", "gre2")
            assert line["why"] == "gre1 is dead: CHILD_SA dc-tun-gre is down"

            await until(lambda: len(on(process, "gre1")) == 250, "the move back")
            assert len(on(process, "gre2")) == 250, "Join before Prune"
            began = time.monotonic()
            await until(lambda: not on(process, "gre2"), "the end of the overlap")
            assert 1.9 <= time.monotonic() - began <= 2.1
            assert ("prune", str(GROUP)) in routers.heard("gre2")
            saying.cancel()


@simulated
async def test_the_first_groups_are_joined_before_the_other_agents_have_their_turn() -> None:
    groups = [group(number) for number in range(250)]
    async with running(two(*groups)) as process:
        await process.up()
        agents = process.agents
        up = agents._up()
        children = {name: view for name, view in up.children.items() if name == "dc2-gre"}
        agents.file_groups.configure(agents.config, replace(up, children=children))
        assert len(on(process, "gre2")) == 100
        assert len(on(process, "gre1")) == 250


@simulated
async def test_routes_follow_in_the_same_round(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(two()) as process:
        await process.up()
        agents = process.agents
        up = agents._up()
        children = {name: view for name, view in up.children.items() if name == "dc2-gre"}
        monkeypatch.setattr(agents, "_up", lambda: replace(up, children=children))
        agents.configure()
        assert list(agents.tunnels._desired.carrying.values()) == ["gre2"]


@simulated
async def test_a_neighbor_s_goodbye_moves_groups_at_once() -> None:
    async with running(two()) as process:
        await process.up()
        routers = Routers(process)
        for name in ROUTERS:
            routers.hello(name)
        await asyncio.sleep(10.0)
        routers.heard("gre2")
        routers.hello("gre1", holdtime=0)
        assert await until(lambda: routers.heard("gre2") == [("join", str(GROUP))], "the Join") <= 0.02
        assert on(process, "gre1") == []


@simulated
async def test_all_and_single_tunnels_beside_one_that_moves() -> None:
    """Tables of one group: what one of them desires stays when another one moves."""
    source = IPv4Address("100.15.30.1")
    groups = (
        group(1, use="all"), group(2), Group(group=GROUP + 2, tunnel="gre1", sources=(source,)),
        Group(group=GROUP + 3, tunnel="gre1"),
    )  # fmt: skip
    async with running(two(*groups)) as process:
        await process.up()
        await asyncio.sleep(0.5)
        gre1, gre2 = (process.agents.wanted.of(name) for name in ROUTERS)
        assert (gre1.groups(), gre2.groups()) == ([GROUP + 1, GROUP + 2, GROUP + 3], [GROUP + 1])
        process.host.charon.peer_silent = True
        process.host.charon.delete("dc-tun-gre")
        await until(lambda: GROUP + 2 in gre2.groups(), "the move")
        await asyncio.sleep(0.1)
        assert [entry[:2] for entry in gre1.entries()] == [
            (GROUP + 1, None), (GROUP + 2, source), (GROUP + 3, None),
        ]  # fmt: skip
        assert [entry[:2] for entry in gre2.entries()] == [(GROUP + 1, None), (GROUP + 2, None)]


@simulated
async def test_a_reload_while_groups_are_away_leaves_them_there() -> None:
    config = two(group(), hold=60.0)
    async with running(config) as process:
        await process.up()
        process.host.charon.peer_silent = True
        process.host.charon.delete("dc-tun-gre")
        await until(lambda: on(process, "gre2") == [GROUP], "the move")
        await process.apply(replace(config, groups=(group(), group(1))))
        assert (on(process, "gre1"), on(process, "gre2")) == ([], [GROUP, GROUP + 1])


@simulated
async def test_a_reload_joins_on_another_tunnel_before_it_leaves_one() -> None:
    one = two(*(Group(group=GROUP + number, tunnel="gre1") for number in range(250)))
    several = two(*(Group(group=GROUP + number, several=("gre2", "gre1")) for number in range(250)))
    other = two(*(Group(group=GROUP + number, tunnel="gre2") for number in reversed(range(250))))
    async with running(one) as process:
        await process.up()
        routers = Routers(process)
        for name in ROUTERS:
            routers.hello(name)
        await asyncio.sleep(10.0)
        nowhere: list[IPv4Address] = []
        wanted = process.agents.wanted
        wanted.listen(lambda _, groups: nowhere.extend(group for group in groups if not wanted.where(group, None)))
        for config, old, new in ((several, "gre1", "gre2"), (one, "gre2", "gre1"), (other, "gre1", "gre2")):
            routers.heard("gre1"), routers.heard("gre2")
            applying = asyncio.create_task(process.apply(config))
            joined, pruned = set[str](), set[str]()
            while not applying.done() or len(pruned) < 250:
                await asyncio.sleep(0.0001)
                joined |= {group for what, group in routers.heard(new) if what == "join"}
                pruned |= {group for what, group in routers.heard(old) if what == "prune"}
                assert not pruned or len(joined) == 250, "Join before Prune"
            assert (len(on(process, new)), on(process, old)) == (250, [])
        assert nowhere == []


@simulated
async def test_a_decision_by_which_no_group_moves_is_not_logged() -> None:
    async with running(two(group(use="all"))) as process:
        await process.up()
        process.host.charon.peer_silent = True
        process.host.charon.delete("dc-tun-gre")
        paths = process.agents.file_groups.paths
        await until(lambda: [*paths.carrying().values()] == ["gre2"], "the decision, for routes")
        assert [one["event"] for one in process.host.log.records if one["event"] == "path_changed"] == []


def held(process: Process, name: str, address: IPv4Address = GROUP) -> bool:
    """Whether a socket of ours has joined a group on a tunnel, so that the kernel takes its packets there."""
    index = process.host.kernel.links[name].index
    return process.host.memberships_of_sockets.received(index, address).any_source


@simulated
async def test_every_tunnel_takes_what_comes_for_applications_and_routes_follow_the_move() -> None:
    source = IPv4Address("100.15.30.1")
    config = two(group(), group(1, sources=(source,)), Group(group=GROUP + 2, tunnel="gre1"))
    config = replace(config, tunnels=tuple(replace(one, routes=("groups", "sources")) for one in config.tunnels))
    async with running(config) as process:
        await process.up()
        await asyncio.sleep(0.5)
        kernel = process.host.kernel
        assert [held(process, name) for name in ROUTERS] == [True, True]
        assert [held(process, name, GROUP + 2) for name in ROUTERS] == [False, False]
        own, shared = {"239.0.0.0/8"}, {"239.1.1.1/32", "239.1.1.2/32", "100.15.30.1/32"}
        assert (kernel.through("gre1"), kernel.through("gre2")) == (own | shared, set())
        process.host.charon.peer_silent = True
        process.host.charon.delete("dc-tun-gre")
        while kernel.through("gre2") == set():
            assert shared <= kernel.through("gre1"), "no route is nowhere"
            await asyncio.sleep(0.0001)
        await asyncio.sleep(0.1)
        assert (kernel.through("gre1"), kernel.through("gre2")) == (own, shared)
        assert [held(process, name) for name in ROUTERS] == [True, True]
        (gre1, gre2) = process.agents.follow._desired.tunnels
        assert gre1.carried == gre2.carried == {GROUP, GROUP + 1}
        assert process.agents.history.status() == () or "routes" not in str(process.agents.history.status())
        await process.apply(two(Group(group=GROUP, tunnel="gre1")))
        assert [held(process, name) for name in ROUTERS] == [False, False]


@simulated
async def test_the_prune_is_sent_again_when_the_path_is_back() -> None:
    """The first one was lost with the SA: the far end would go on sending beside the other one."""
    async with running(two()) as process:
        await process.up()
        routers = Routers(process)
        for name in ROUTERS:
            routers.hello(name)
        await asyncio.sleep(10.0)
        process.host.charon.delete("dc-tun-gre")
        await until(lambda: on(process, "gre2") == [GROUP], "the move")
        await asyncio.sleep(0.005)
        routers.heard("gre1")
        await until(lambda: process.agents.tunnels.links()["gre1"].up, "the tunnel")
        assert await until(lambda: ("prune", str(GROUP)) in routers.heard("gre1"), "the Prune") < 0.1


@simulated
async def test_a_command_moves_groups_and_the_next_process_leaves_them_there(tmp_path: Path) -> None:
    host = Host()
    config = two(group(), group(1), hold=60.0, overlap=2.0, dead=("sa",))

    def process_of(number: int) -> tuple[Process, Handover]:
        found = Process(host, config)
        agents = found.agents
        handover = Handover(tmp_path, agents.pim, agents.wanted, host.log.logger, agents.file_groups.paths)
        handover.inherit(list(ROUTERS))
        found.start()
        return found, handover

    process, handover = process_of(0)
    await process.up()
    await asyncio.sleep(0.5)
    moves = process.agents.file_groups
    with pytest.raises(McastdError, match="gre3 is not one of several tunnels of groups"):
        moves.use("gre3", None, None)
    with pytest.raises(McastdError, match="no tunnel of groups is preferred"):
        moves.use(AUTO, None, None)
    assert moves.use("gre2", 3600.0, None) == "gre2 is in use"
    assert moves.use("gre1", None, GROUP + 1) == "gre1 is in use"
    await asyncio.sleep(5.0)
    assert (on(process, "gre1"), on(process, "gre2")) == ([GROUP + 1], [GROUP])
    shown, alone = moves.status(time.monotonic())
    assert (shown.tunnel, shown.by_hand, shown.groups, shown.moves, shown.dead) == ("gre2", "gre2", 2, 1, {})
    assert (alone.group, alone.tunnel, alone.by_hand) == (str(GROUP + 1), "gre1", "gre1")
    assert moves.status(time.monotonic(), GROUP + 1) == (replace(alone, age=moves.status(time.monotonic())[1].age),)
    handover.remember()
    await process.end(leaves_standing=True)

    process, handover = process_of(1)
    assert (on(process, "gre1"), on(process, "gre2")) == ([], [])
    await process.up()
    assert (on(process, "gre1"), on(process, "gre2")) == ([GROUP + 1], [GROUP])
    await asyncio.sleep(100.0)
    assert (on(process, "gre1"), on(process, "gre2")) == ([GROUP + 1], [GROUP])
    process.host.charon.peer_silent = True
    process.host.charon.delete("dc-tun-gre")
    await until(lambda: len(on(process, "gre2")) == 2, "the move")
    with pytest.raises(McastdError, match="gre1 cannot be used: CHILD_SA dc-tun-gre is down"):
        process.agents.file_groups.use("gre1", None, None)
    assert process.agents.file_groups.use(AUTO, None, None) == "the order of the file holds again"
    await process.end(leaves_standing=True)
    host.close()


@simulated
async def test_a_tunnel_whose_peer_has_its_name_is_used_by_command(tmp_path: Path) -> None:
    config = two(group())
    peers = tuple(replace(peer, name=name) for peer, name in zip(config.peers, ROUTERS, strict=True))
    async with running(replace(config, peers=peers)) as process:
        await process.up()
        agents = process.agents
        handover = Handover(tmp_path, agents.pim, agents.wanted, process.host.log.logger, agents.file_groups.paths)
        use = Commands(agents, handover, AsyncMock(), AsyncMock()).handlers()["use"]
        assert await use({"name": "gre2"}) == "gre2 is in use"
        await until(lambda: on(process, "gre2") == [GROUP], "the move")
        with pytest.raises(McastdError, match="dc9 is not one of several tunnels"):
            await use({"name": "dc9"})


@simulated
async def test_silence_moves_groups_to_the_other_tunnel() -> None:
    for part_of_a_second in (0.1, 0.35, 0.95):
        async with running(two(max_silence=5.0, dead=("sa",))) as process:
            await process.up()
            await asyncio.sleep(11.0 - time.monotonic() % 1.0 + part_of_a_second)
            assert on(process, "gre1") == [GROUP]
            process.host.streams.arrives(str(GROUP), rate=0)
            # Not only when all is read again, each second.
            assert 4.99 <= await until(lambda: on(process, "gre2") == [GROUP], "the move") <= 5.02
            assert on(process, "gre1") == []


@simulated
async def test_a_reload_while_groups_are_moving_loses_none() -> None:
    """Half of them are on the other tunnel when a file comes that has one of them on the first tunnel alone."""
    groups = [group(number) for number in range(350)]
    config = two(*groups, dead=("sa",))
    async with running(config) as process:
        await process.up()
        await asyncio.sleep(0.5)
        process.host.charon.peer_silent = True
        process.host.charon.delete("dc-tun-gre")
        has_begun = asyncio.Event()
        process.agents.wanted.listen(lambda name, _: has_begun.set() if name == "gre2" else None)
        await has_begun.wait()
        assert 0 < len(on(process, "gre2")) < 350
        alone = Group(group=GROUP + 300, tunnel="gre1")
        await process.apply(replace(config, groups=(*groups[:300], alone, *groups[301:])))
        await asyncio.sleep(0.5)
        assert on(process, "gre1") == [GROUP + 300]
        assert sorted(on(process, "gre2")) == [GROUP + number for number in range(350) if number != 300]


@simulated
async def test_a_move_is_not_limited_by_what_applications_have_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcastd.membership.MAX_JOINS", 2)
    async with running(two(group(1), group(2), dead=("sa",))) as process:
        await process.up()
        for number in (7, 8):
            process.agents.wanted.join("gre2", GROUP + number, None, APPLICATION)
        process.host.charon.peer_silent = True
        process.host.charon.delete("dc-tun-gre")
        await until(lambda: {GROUP + 1, GROUP + 2} <= {*on(process, "gre2")}, "the move")
