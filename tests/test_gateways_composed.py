"""All agents with two gateways of one data centre: what moves, how quickly, and what charon has meanwhile."""

import asyncio
import time
from ipaddress import IPv4Address

import pytest
from msgspec.structs import replace

from mcastd.config.model import Config
from mcastd.system import capabilities
from tests.composed import ARTICLE, Host, Process, running
from tests.fakes.clock import simulated, until

(DC,) = ARTICLE.peers
DC2 = replace(
    DC, name="dc2", remote=IPv4Address("177.54.214.21"), remote_id="177.54.214.21", standby_for=DC.name, children=()
)
BOTH = replace(ARTICLE, peers=(DC, DC2))
REMOTES = {DC.name: DC.remote, "dc2": DC2.remote}


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


def states(process: Process) -> dict[str, str]:
    rows = process.agents.snapshots(time.monotonic()).ipsec.peers
    return {row.name: row.state for row in rows}


def carried_by(process: Process, name: str) -> bool:
    """Whether all CHILD_SAs are up with one gateway, the tunnel too, and charon has nothing of the other one."""
    charon, agents = process.host.charon, process.agents
    alone = {ike.name for ike in charon.sas} == {name} == set(charon.conns)
    return alone and all(view.up for view in agents.ipsec.children().values()) and agents.tunnels.links()["gre1"].up


async def moves(process: Process, name: str) -> float:
    return await until(lambda: carried_by(process, name), f"{name} carries everything")


@simulated
async def test_only_the_active_one_is_initiated_loaded_and_accepted() -> None:
    async with running(BOTH) as process:
        await process.up()
        await asyncio.sleep(300.0)
        assert carried_by(process, DC.name)
        assert {message["ike"] for message in process.host.charon.asked("initiate")} == {DC.name}
        assert states(process) == {DC.name: "up", "dc2": "standby"}
        process.host.hello()
        await until(lambda: not process.problems(), "no problems")
        assert process.agents.judgement().summary == "up: 1 peer(s), 1 tunnel(s), 1 join(s)"


@simulated
async def test_an_ike_sa_that_the_gateway_deletes_moves_within_a_tenth_of_a_second() -> None:
    async with running(BOTH) as process:
        await process.up()
        before = process.agents.ipsec.children()["dc-tun-gre"].up_count
        process.host.charon.delete()
        assert await moves(process, "dc2") < 0.1
        assert states(process) == {DC.name: "standby", "dc2": "up"}
        assert process.agents.ipsec.children()["dc-tun-gre"].up_count == before + 1
        (event,) = [record for record in process.host.log.records if record["event"] == "gateway_changed"]
        assert (event["before"], event["after"]) == (DC.name, "dc2")
        judgement = process.agents.judgement()
        assert (judgement.health, [one.code for one in judgement.problems]) == ("degraded", ["on_standby"])
        (carrier, *_) = process.agents.tunnels._desired.carriers.values()
        assert carrier.remote == DC2.remote


@simulated
async def test_one_that_answers_nothing_is_left_although_it_does_not_answer_the_delete() -> None:
    async with running(BOTH) as process:
        await process.up()
        process.host.charon.silent_peers.add(DC.name)
        for ike in process.host.charon.sas:  # charon's dead peer detection
            process.host.charon._remove_ike(ike)
        assert await moves(process, "dc2") < 0.2


@simulated
async def test_one_that_never_answers_is_left_after_standby_after() -> None:
    host = Host()
    host.charon.silent_peers.add(DC.name)
    async with running(BOTH, host) as process:
        assert 10.0 <= await moves(process, "dc2") < 10.3
    host.close()


@simulated
async def test_by_hand_it_moves_back_and_the_guard_drops_nothing_meanwhile() -> None:
    async with running(BOTH) as process:
        await process.up()
        assert process.agents.use("dc2") == "using dc2"
        assert not process.agents.ipsec.children()["dc-tun-gre"].up
        await moves(process, "dc2")
        assert await process.up() < 1.0
        process.agents.use(DC.name)
        await moves(process, DC.name)
        assert await process.up() < 1.0


@simulated
async def test_the_next_process_finds_the_standby_that_carries_everything_and_leaves_it_alone() -> None:
    host = Host()
    async with running(BOTH, host) as process:
        await process.up()
        process.agents.use("dc2")
        await moves(process, "dc2")
    spis = host.charon.spis()
    async with running(BOTH, host) as process:
        await asyncio.sleep(60.0)
        assert carried_by(process, "dc2")
        assert host.charon.spis() == spis
    host.close()


@simulated
async def test_a_crash_of_charon_is_not_the_gateway_s() -> None:
    async with running(BOTH) as process:
        await process.up()
        process.host.charon.end()
        await asyncio.sleep(120.0)
        process.host.charon.start()
        await moves(process, DC.name)
        assert states(process)[DC.name] == "up"


@simulated
async def test_neither_a_reauthentication_nor_a_reload_is_the_gateway_s_end() -> None:
    config: Config = replace(BOTH, peers=(replace(DC, reauthentication=True), DC2))
    async with running(config) as process:
        await process.up()
        await asyncio.sleep(3.0)
        await process.host.charon.reauthenticate()
        await asyncio.sleep(30.0)
        assert carried_by(process, DC.name)
        await process.apply(replace(BOTH, peers=(replace(DC, proposals=("aes128-sha256-modp2048",)), DC2)))
        await asyncio.sleep(30.0)
        assert carried_by(process, DC.name)
        await process.apply(ARTICLE)
        await moves(process, DC.name)
        assert states(process) == {DC.name: "up"}


@simulated
async def test_a_standby_that_is_removed_while_it_carries_everything_gives_it_back() -> None:
    async with running(BOTH) as process:
        await process.up()
        process.agents.use("dc2")
        await moves(process, "dc2")
        await process.apply(ARTICLE)
        await moves(process, DC.name)
