"""An application's joins through all agents of the daemon, in virtual time: from the kernel to the Join, and back."""

import time
from dataclasses import replace as replace_tunnel
from ipaddress import IPv4Address, IPv4Network

import pytest
from msgspec.structs import replace

from mcastd.config.model import Config
from mcastd.follow.settings import FollowedTunnel
from mcastd.pim.auto_rp_packet import RP_DISCOVERY
from mcastd.pim.packet import JoinPrune, MessageType, decode_join_prune, unseal
from mcastd.snapshot import Process as ProcessInfo
from mcastd.snapshot import build
from mcastd.status import Status
from mcastd.system import capabilities
from mcastd.wanted import Rps
from tests.composed import ARTICLE, ROUTER, Process, running
from tests.fakes.clock import simulated, until
from tests.pim.test_auto_rp_packet import MAPPING, udp

GROUP, SOURCE = "239.7.7.7", "100.15.30.5"


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


def with_follow(follow: bool | tuple[IPv4Network, ...]) -> Config:
    return replace(ARTICLE, tunnels=(replace(ARTICLE.tunnels[0], follow=follow),))


def sent(process: Process) -> dict[str, tuple[list[str], list[str]]]:
    """The sources of each group that Joins and Prunes have named since the last call; the RP stands for (*,G)."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for payload in process.host.router.take():
        kind, body = unseal(payload)
        if kind == MessageType.JOIN_PRUNE:
            message: JoinPrune = decode_join_prune(body)
            for group in message.groups:
                joins, prunes = found.setdefault(str(group.group), ([], []))
                joins += [str(one.address) for one in group.joined]
                prunes += [str(one.address) for one in group.pruned]
    return found


def status(process: Process) -> Status:
    agents = process.agents
    about = ProcessInfo(pid=1, uptime=1.0, config_file="mcastd.toml", config_digest="", notes=())
    return build(agents.snapshots(time.monotonic()), about, agents.judgement())


async def joined(process: Process) -> int:
    """All is up; returns the tunnel's index."""
    await process.up()
    process.host.hello()
    await until(process.joined, "joined")
    sent(process)
    return process.host.kernel.links["gre1"].index


@simulated
async def test_an_application_s_join_is_sent_within_milliseconds_and_pruned_after_linger() -> None:
    async with running() as process:
        index, kernel = await joined(process), process.host.applications
        began = time.monotonic()
        any_source = kernel.join(GROUP, ifindex=index)
        of_source = kernel.join("232.7.7.7", SOURCE, ifindex=index)
        took = await until(lambda: len(process.host.router.sent) >= 2, "sent", 1.0)
        assert took <= 0.05
        found = sent(process)
        assert found.keys() == {GROUP, "232.7.7.7"}
        assert found["232.7.7.7"] == ([SOURCE], [])
        rows = {row.group: row for row in await process.agents.rows(time.monotonic())}
        assert rows[GROUP].origins == ("application",)
        kernel.leave(any_source)
        kernel.leave(of_source)
        await until(lambda: any(prunes for _, prunes in sent(process).values()), "pruned")
        assert 5.0 <= time.monotonic() - began < 5.2


@simulated
async def test_a_join_that_is_not_followed_is_a_note_in_status_and_no_problem() -> None:
    """Case 17."""
    async with running(with_follow(follow=False)) as process:
        index = await joined(process)
        process.host.applications.join("239.1.1.9", ifindex=index)
        await until(lambda: bool(status(process).notes), "a note")
        (note,) = status(process).notes
        assert note == (
            "applications have joined 239.1.1.9 on gre1, which is not joined upstream: tunnels.gre1.follow is false"
        )
        assert status(process).health == "ok"
        await process.apply(with_follow(follow=True))
        assert status(process).notes == ()
        assert "239.1.1.9" in sent(process)


@simulated
async def test_a_reload_and_a_restart_prune_nothing_that_an_application_has() -> None:
    async with running() as process:
        index, kernel = await joined(process), process.host.applications
        kernel.join(GROUP, ifindex=index)
        await until(lambda: GROUP in sent(process), "joined")
        await process.apply(replace(ARTICLE, groups=()))
        await process.apply(ARTICLE)
        assert not [group for group, (_, prunes) in sent(process).items() if prunes and group == GROUP]
        await process.end(leaves_standing=True)
        second = Process(process.host)
        second.start()
        await second.up()
        process.host.hello()
        await until(lambda: GROUP in sent(second), "joined again", 2.0)
        await second.end()


@simulated
async def test_a_rendezvous_point_that_is_learned_later_lets_a_group_be_followed() -> None:
    (gre1,) = ARTICLE.tunnels
    assert gre1.pim is not None
    learning = replace(gre1, pim=replace(gre1.pim, rp=(), auto_rp=True))
    async with running(replace(ARTICLE, tunnels=(learning,), groups=())) as process:
        index = await joined(process)
        process.host.applications.join(GROUP, ifindex=index)
        await until(lambda: bool(status(process).notes), "a note")
        assert "have no rendezvous point there" in status(process).notes[0]
        assert GROUP not in sent(process)
        process.host.router.auto_rp(ROUTER, RP_DISCOVERY, udp(MAPPING))
        await until(lambda: GROUP in sent(process), "joined", 1.0)
        assert status(process).notes == ()


def test_the_desired_state_of_another_rendezvous_point_is_another_one() -> None:
    tunnel = FollowedTunnel(name="gre1", ifindex=1, address=IPv4Address("10.44.4.6"), rps=Rps(needed=True))
    assert replace_tunnel(tunnel, rps=Rps(needed=True, has=lambda _: True)) == tunnel
    assert replace_tunnel(tunnel, rps=Rps(needed=True, changes=1)) != tunnel
