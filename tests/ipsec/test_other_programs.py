"""Another program that loads into the same charon: swanctl, as administrators and certbot's hooks run it."""

import asyncio
import os
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mcastd.ipsec.loader import LOOK
from tests.ipsec.agents import BOTH, both_up, running, spis
from tests.ipsec.certificates import Authority, read
from tests.ipsec.charons import (
    CLOUD,
    DC,
    DEADLINE,
    Charon,
    Scene,
    article,
    command,
    list_authorities,
    list_conns,
    list_keys,
    list_sas,
    list_shared,
    load,
    mirrored,
    until,
)

pytestmark = pytest.mark.root

SLACK = 1.5  # seconds, for a busy machine
SAME_NAME = f"""
connections {{
  dc {{
    local_addrs = {CLOUD}
    remote_addrs = {DC}
    local {{
      id = {CLOUD}
      auth = psk
    }}
    remote {{
      id = {DC}
      auth = psk
    }}
    children {{
      other {{
        local_ts = 10.44.6.1/32
        remote_ts = 10.44.7.1/32
      }}
    }}
  }}
}}
secrets {{
  ike-1 {{
    id-1 = {CLOUD}
    id-2 = {DC}
    secret = "not that of the other side"
  }}
}}
"""


async def swanctl(charon: Charon, folder: Path, *arguments: str, conf: str = "") -> None:
    """Run swanctl with a swanctl.conf of its own, an empty one if nothing is given."""
    (folder / "swanctl.conf").write_text(conf)
    argv = ("swanctl", *arguments, "--noprompt", "--uri", f"unix://{charon.socket}")
    environment = {**os.environ, "SWANCTL_DIR": str(folder)}
    done = await asyncio.to_thread(
        subprocess.run, argv, env=environment, capture_output=True, text=True, timeout=DEADLINE
    )
    assert done.returncode == 0, done.stderr


async def within_a_look(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    end = time.monotonic() + LOOK + SLACK
    while not await condition():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.05)


def test_what_swanctl_removes_or_replaces_is_loaded_again_and_the_peer_comes_back(
    scene: Scene, ledger: Path, tmp_path: Path
) -> None:
    async def test() -> None:
        async def is_loaded() -> bool:
            return b"mcastd-dc" in await list_shared(scene.cloud) and await list_conns(scene.cloud) == {"dc"}

        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
            before = await spis(scene)
            for arguments, conf in (
                (("--load-creds",), ""),
                (("--load-creds", "--clear"), ""),
                (("--load-all",), ""),
                (("--load-all",), SAME_NAME),
            ):
                await swanctl(scene.cloud, tmp_path, *arguments, conf=conf)
                await within_a_look(is_loaded, f"loaded again after {arguments}")
            await until(lambda: not list(agent.agent.problems()), "loaded again although it happens again and again")
            assert await spis(scene) == before
            assert agent.generation("dc-tun-gre") == 1
            for sa in await list_sas(scene.dc):
                await command(scene.dc, "terminate", {"ike-id": sa.uniqueid, "timeout": "1000"})
            await until(lambda: agent.up(*BOTH) and agent.generation("dc-tun-gre") == 2, "up again, with our key")

    asyncio.run(test())


def test_private_keys_and_certificates_are_loaded_again(scene: Scene, ledger: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    ours, theirs = authority.issue("cloud", CLOUD), authority.issue("dc", DC)
    peer = article(psk_file=None, local_cert=ours[0], local_key=ours[1], ca_certs=(authority.certificate,))

    async def test() -> None:
        async def is_loaded() -> bool:
            return bool(await list_keys(scene.cloud)) and await list_authorities(scene.cloud) == [b"mcastd-dc-1"]

        await load(scene.dc, mirrored(peer), certificates=read(theirs, authority.certificate))
        async with running(scene, ledger) as agent:
            agent.start(peer, certificates=read(ours, authority.certificate))
            await until(lambda: agent.up(*BOTH), "both up")
            for arguments in (("--load-creds", "--clear"), ("--load-all",)):
                await swanctl(scene.cloud, tmp_path, *arguments)
                await within_a_look(is_loaded, f"loaded again after {arguments}")
            assert agent.generation("dc-tun-gre") == 1
            for sa in await list_sas(scene.dc):
                await command(scene.dc, "terminate", {"ike-id": sa.uniqueid, "timeout": "1000"})
            await until(lambda: agent.up(*BOTH) and agent.generation("dc-tun-gre") == 2, "up again, with our key")

    asyncio.run(test())
