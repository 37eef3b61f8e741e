"""Renewals that fail while the old SA stands, as strongSwan reports them."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.ipsec.agents import BOTH, Running, running
from tests.ipsec.charons import PSK, Scene, article, command, load, mirrored, until

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def _scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A scene whose cloud reauthenticates as our drop-in has it, so that the old IKE_SA stands meanwhile."""
    scene = Scene(tmp_path_factory.mktemp("charons"), f"{os.getpid()}-mbb", make_before_break=True)
    try:
        scene.build()
        yield scene
    finally:
        scene.remove()


def problems(agent: Running) -> list[tuple[str, str]]:
    return [(problem.code, problem.text) for problem in agent.agent.problems()]


def test_a_psk_that_only_they_have_rotated_is_named_by_the_reauthentication_that_fails(
    scene: Scene, ledger: Path
) -> None:
    async def test() -> None:
        peer = article(reauthentication=True)
        async with running(scene, ledger) as agent:
            await load(scene.dc, mirrored(peer))
            agent.start(peer)
            await until(lambda: agent.up(*BOTH), "both children up")
            await load(scene.dc, mirrored(peer), psk=b"agreed on yesterday")
            await command(scene.cloud, "rekey", {"ike": "dc", "reauth": "yes"})
            await until(lambda: problems(agent) != [], "the failure")
            ((code, text),) = problems(agent)
            assert code == "reauth_failed"
            assert "AUTHENTICATION_FAILED: the PSK or an identity differs" in text
            await load(scene.dc, mirrored(peer), psk=PSK)
            await command(scene.cloud, "rekey", {"ike": "dc", "reauth": "yes"})
            await until(lambda: problems(agent) == [], "a reauthentication that succeeds")
            assert (agent.generation(BOTH[0]), agent.generation(BOTH[1])) == (1, 1)

    asyncio.run(test())


def test_a_pfs_group_that_differs_is_named_by_the_first_rekeying(scene: Scene, ledger: Path) -> None:
    """It does not show before: a CHILD_SA that is established with its IKE_SA has no group of its own."""

    async def test() -> None:
        far = mirrored(article())
        first, second = far.children
        far = replace(far, children=(replace(first, proposals=("aes256-sha256-modp3072",)), second))
        async with running(scene, ledger) as agent:
            await load(scene.dc, far)
            agent.start(article())
            await until(lambda: agent.up(*BOTH), "both children up")
            assert problems(agent) == []
            await command(scene.cloud, "rekey", {"ike": "dc", "child": "dc-tun-gre"})
            await until(lambda: problems(agent) != [], "the failure")
            ((code, text),) = problems(agent)
            assert code == "rekey_failed"
            assert "does not accept our ESP proposal of dc-tun-gre: aes256-sha256-modp2048" in text

    asyncio.run(test())
