"""Two gateways of one side, and real charons: what is loaded and established when another one is used."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from msgspec.structs import replace

from mcastd.config.model import Peer
from mcastd.errors import ViciRefused
from mcastd.ipsec.messages import initiate
from tests.ipsec.agents import BOTH, Running, running
from tests.ipsec.charons import CLOUD, DC, Scene, article, command, ip, list_conns, list_sas, load, mirrored, until

pytestmark = pytest.mark.root

ADDRESS = "177.54.214.21"
FIRST = article(dpd_delay=1.0)
SECOND = replace(FIRST, name="dc2", remote=IPv4Address(ADDRESS), remote_id=ADDRESS)


def use(agent: Running, peer: Peer, idle: Peer) -> None:
    """What the agent is given when another gateway is to be used."""
    agent.want(peer, idle=(idle,))


async def names(scene: Scene) -> set[str]:
    return {sa.name for sa in await list_sas(scene.cloud)}


@asynccontextmanager
async def both_gateways(scene: Scene, ledger: Path) -> AsyncIterator[Running]:
    """Both are addresses of one charon of the data centre; the first one is used."""
    ip("-n", scene.dc.namespace, "addr", "replace", f"{ADDRESS}/32", "dev", "eth0")
    ip("-n", scene.cloud.namespace, "route", "replace", f"{ADDRESS}/32", "dev", "eth0")
    try:
        async with running(scene, ledger) as agent:
            await load(scene.dc, mirrored(FIRST))
            await load(scene.dc, replace(mirrored(SECOND), name="cloud2"))
            agent.start(FIRST, idle=(SECOND,))
            await until(lambda: agent.up(*BOTH), "both children up")
            yield agent
    finally:
        ip("-n", scene.dc.namespace, "addr", "replace", f"{DC}/32", "dev", "eth0")


def test_a_move_deletes_the_sas_and_the_gateway_that_is_not_used_is_refused(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with both_gateways(scene, ledger) as agent:
            assert await list_conns(scene.cloud) == {"dc"}
            with pytest.raises(ViciRefused):
                await command(scene.dc, "initiate", initiate("cloud2", BOTH[0], 5.0))
            use(agent, SECOND, FIRST)
            assert not agent.up(BOTH[0]), "at once"
            await until(lambda: agent.up(*BOTH), "both children up by the other gateway")
            assert agent.generation(BOTH[0]) == 2
            assert await list_conns(scene.cloud) == {"dc2"}
            assert await names(scene) == {"dc2"}
            assert {sa.name for sa in await list_sas(scene.dc)} == {"cloud2"}, "the DELETE was answered"

    asyncio.run(test())


def test_an_ike_sa_that_the_gateway_deletes_is_counted_and_one_that_we_delete_is_not(
    scene: Scene, ledger: Path
) -> None:
    async def test() -> None:
        async with both_gateways(scene, ledger) as agent:
            use(agent, SECOND, FIRST)
            await until(lambda: agent.up(*BOTH), "both children up by the other gateway")
            assert agent.agent.losses() == {"dc2": 0}
            agent.want(replace(SECOND, proposals=("aes128-sha256-modp2048",)), idle=(FIRST,))
            await load(scene.dc, replace(mirrored(SECOND), name="cloud2", proposals=("aes128-sha256-modp2048",)))
            await until(lambda: agent.up(*BOTH) and agent.generation(BOTH[0]) == 3, "both children by other proposals")
            assert agent.agent.losses() == {"dc2": 0}
            await command(scene.dc, "terminate", {"ike": "cloud2"})
            await until(lambda: agent.agent.losses() == {"dc2": 1}, "the loss")

    asyncio.run(test())


def test_a_gateway_that_answers_nothing_does_not_delay_the_move(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with both_gateways(scene, ledger) as agent:
            ip("-n", scene.dc.namespace, "addr", "del", f"{DC}/32", "dev", "eth0")
            ip("-n", scene.dc.namespace, "route", "replace", f"{CLOUD}/32", "dev", "eth0", "src", ADDRESS)
            use(agent, SECOND, FIRST)
            await until(lambda: agent.up(*BOTH), "both children up by the other gateway")
            assert await names(scene) == {"dc2"}

    asyncio.run(test())
