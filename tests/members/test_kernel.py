"""A members file by a real kernel: as soon as it is written, what it names is forwarded."""

import json
import socket
import time
from pathlib import Path

import pytest

from mcastd.config.downstream import Forward
from mcastd.forward.desired import ForwardDesired, ForwardTunnel
from mcastd.members.agent import MembersAgent
from mcastd.system import file_changes
from mcastd.system.log import get_logger
from tests.fakes.service_manager import FakeServiceManager
from tests.forward.hosts import GROUP
from tests.forward.test_kernel import Running, Scene, scene  # noqa: F401  # a fixture
from tests.loops import looping
from tests.namespaces import until

pytestmark = pytest.mark.root


def test_what_is_written_into_the_file_is_forwarded_to_the_gateway_at_once(scene: Scene, tmp_path: Path) -> None:  # noqa: F811
    """The receiver on ``eth1`` is in the gateway's place; that nothing is said to it, tests/igmp/test_agent.py has."""
    file = tmp_path / "members.json"
    config = Forward(name="eth1", from_=("gre1",), igmp_version=2, querier=False, members_file=file)

    def write(*groups: str) -> None:
        new = file.with_suffix(".new")
        new.write_text(json.dumps({"schema": 1, "groups": [{"group": group} for group in groups]}))
        new.replace(file)

    async def main() -> list[float]:
        running = Running(scene, FakeServiceManager())
        log, downstream = get_logger(), running.downstream
        members = MembersAgent(files=file_changes, downstream=downstream, log=log, on_change=lambda: None)
        took = []
        async with looping(running.agent.run()), looping(members.run()):
            tunnels = {"gre1": ForwardTunnel(socket.if_nametoindex("gre1"))}
            running.agent.configure(ForwardDesired((config,), tunnels, frozenset({"eth1"})))
            write()
            members.configure((config,))
            await members.settled()
            assert scene.gets() == []
            for _ in range(5):
                began = time.monotonic()
                write(str(GROUP))
                await until(
                    lambda: any(one.to == ("eth1",) for one in running.agent.forwarded((GROUP,)).values()), "forwarded"
                )
                took.append(time.monotonic() - began)
                assert scene.gets() == ["eth1"]
                write()
                await until(lambda: not running.agent.forwarded((GROUP,)), "the end")
                assert scene.gets() == []
            await running.agent.close()
        return took

    took = scene.router.run(main)
    assert min(took) < 0.1
