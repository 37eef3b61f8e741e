"""A peer that falls silent, and the charons' own view of what is done about it."""

import asyncio
import signal
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.ipsec.agents import BOTH, Running, running
from tests.ipsec.charons import Scene, article, gre, list_sas, load, mirrored, until

pytestmark = pytest.mark.root

QUICK = {"initiate_timeout": 3.0, "retry_min": 0.2, "retry_max": 1.0}


async def ike_sas(scene: Scene) -> list[tuple[str, int]]:
    """The state of each IKE_SA of the cloud, and how many CHILD_SAs it has."""
    return [(sa.state, len(sa.children)) for sa in await list_sas(scene.cloud)]


async def established(scene: Scene, count: int) -> None:
    async with asyncio.timeout(20.0):
        while [state for state, _ in await ike_sas(scene)].count("ESTABLISHED") != count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def test_a_probe_is_a_rekeying_and_a_peer_that_forgot_the_sas_is_reached_again(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await load(scene.dc, mirrored(article()))
            agent.start(article())
            await until(lambda: agent.up(*BOTH), "both children up")
            first = spi(agent)
            agent.probe("dc-tun-gre", 1)
            await until(lambda: spi(agent) != first, "the rekeying")
            assert agent.generation("dc-tun-gre") == 1
            scene.dc.stop(signal.SIGKILL)
            agent.probe("dc-tun-gre", 2)
            await until(lambda: not agent.up("dc-tun-gre"), "the answer that does not come")
            agent.probe("dc-tun-gre", 0)
            scene.dc.start()
            await asyncio.to_thread(scene.dc.wait_ready)
            await load(scene.dc, mirrored(article()))
            await until(lambda: agent.up(*BOTH), "both children up again", 10.0)
            assert await ike_sas(scene) == [("ESTABLISHED", 2)]

    asyncio.run(test())


def spi(agent: Running) -> str | None:
    return next(child.spi_in for child in agent.status().children if child.name == "dc-tun-gre")


def test_an_ike_sa_that_refused_the_selectors_and_fell_silent_is_terminated_and_charon_lives_on(
    scene: Scene, ledger: Path
) -> None:
    """strongSwan 5.9.8 crashes where it gives up such an IKE_SA itself, and the peer answers again."""

    async def test() -> None:
        peer = article(children=(gre(),), **QUICK)
        other = mirrored(article(children=(gre(local_ts=IPv4Network("10.44.9.1/32")),)))
        charon = scene.cloud.pid
        async with running(scene, ledger) as agent:
            await load(scene.dc, other)
            agent.start(peer)
            await until(lambda: agent.problem().startswith("TS_UNACCEPTABLE"), "the refusal")
            assert await ike_sas(scene) == [("ESTABLISHED", 0)]
            scene.dc.send(signal.SIGSTOP)
            try:
                await established(scene, 0)
                await until(lambda: agent.problem().startswith("no answer"), "the silence")
            finally:
                scene.dc.send(signal.SIGCONT)
            await load(scene.dc, mirrored(replace(peer, children=(gre(),))))
            await until(lambda: agent.up("dc-tun-gre"), "the child up", 10.0)
            assert charon is not None
            assert scene.cloud.pid == charon

    asyncio.run(test())
