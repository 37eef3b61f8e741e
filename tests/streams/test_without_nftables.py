"""The streams agent among all others, in virtual time, where nftables is missing: the interfaces alone are counted."""

import asyncio

import pytest
from msgspec.structs import replace

from mcastd.config.model import Firewall
from mcastd.streams.desired import ChildArrival, TunnelArrival
from mcastd.system import capabilities
from tests.composed import ARTICLE, Host, running
from tests.fakes.clock import simulated, until
from tests.streams.test_agent_simulated import CHILD, GROUP, agent, codes, with_hellos


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


@simulated
async def test_a_table_that_cannot_be_made_is_not_tried_again_at_every_change() -> None:
    host = Host()
    host.nft.refuses = "nft: no such program; install the package nftables"
    async with running(replace(ARTICLE, firewall=Firewall(guard=False)), host) as process:
        await asyncio.sleep(20.0)
        looks = host.nft.looks
        for _ in range(100):
            process.nudge()
            await asyncio.sleep(0.01)
        assert host.nft.looks - looks <= 2
        assert not agent(process).is_counting
    host.close()


@simulated
async def test_without_nftables_a_status_that_is_asked_for_is_no_silence() -> None:
    host = Host()
    host.nft.refuses = "nft: no such program; install the package nftables"
    host.streams.arrives(GROUP, rate=10.0)
    async with running(replace(ARTICLE, firewall=Firewall(guard=False)), host) as process:
        await asyncio.sleep(20.0)
        for _ in range(100):
            await process.agents.refresh()
            await asyncio.sleep(0.15)
            assert not {"all_silent", "nothing_ever_arrived"} & codes(process)
        assert agent(process).arrivals()["gre1"] == TunnelArrival(receiving=True)
    host.close()


@simulated
async def test_without_nftables_a_charon_that_is_silent_takes_nothing_down_that_arrives() -> None:
    host = Host()
    host.nft.refuses = "nft: no such program; install the package nftables"
    async with running(replace(ARTICLE, firewall=Firewall(guard=False)), host) as process:
        await asyncio.sleep(20.0)
        assert process.agents.tunnels.links()["gre1"].up
        host.charon.silent = True
        await asyncio.sleep(600.0)
        assert process.agents.tunnels.links()["gre1"].up
        host.streams.stop()
        await until(lambda: not process.agents.tunnels.links()["gre1"].up, "down", 75.0)
    host.close()


@simulated
async def test_without_nftables_the_interfaces_show_that_all_streams_are_silent() -> None:
    host = Host()
    host.nft.refuses = "nft: no such program; install the package nftables"
    async with running(replace(ARTICLE, firewall=Firewall(guard=False)), host) as process:
        await until(process.joined, "joined") if host.pim.opened else None
        await asyncio.sleep(20.0)
        assert agent(process).status(0.0).problem == host.nft.refuses
        assert agent(process).decrypted()[CHILD] == ChildArrival()
        host.streams.arrives(GROUP, rate=1.0)
        assert 3.0 <= await until(lambda: "all_silent" in codes(process), "all_silent") < 5.1
        host.streams.arrives(GROUP)
        await until(lambda: "all_silent" not in codes(process), "arriving", 2.0)
        host.nft.refuses = None
        await until(lambda: agent(process).decrypted()[CHILD].seen, "counted by nftables")
        await with_hellos(process, 30.0)
        assert "all_silent" not in codes(process)
    host.close()
