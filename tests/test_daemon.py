"""The daemon over the fakes: what ends it, and what it leaves standing for its successor."""

import asyncio
import contextlib
import gc
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from mcastd import daemon as module
from mcastd import reload
from mcastd.composition import Composition
from mcastd.config.load import Loaded
from mcastd.config.model import Config
from mcastd.daemon import HAND_OVER, Daemon
from mcastd.system import capabilities
from tests.composed import ARTICLE, Host, peers
from tests.fakes.clock import simulated, until
from tests.resumptions import AGENTS
from tests.simulator.world import joins


class Scene:
    """A daemon on a host in memory, with its files in ``folder``."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.host = Host()
        self.folder = folder
        config = replace(ARTICLE, daemon=replace(ARTICLE.daemon, runtime_dir=folder))
        monkeypatch.setattr(capabilities, "missing", lambda: ())
        monkeypatch.setattr(module, "Composition", self._composed)
        for caller in (module, reload):
            monkeypatch.setattr(caller, "with_keys", peers)
        self.agents: Composition
        self.daemon = Daemon(Path("mcastd.toml"), Loaded(config=config), self.host.log.logger, time.monotonic(), None)

    def _composed(self, config: Config, *rest: object) -> Composition:
        self.agents = Composition(config, rest[0], self.host.log.logger, Random(1), self.host.system())  # type: ignore[arg-type]
        return self.agents

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """The daemon once it is ready and all is joined; the garbage collector is off before, as in ``mcastd run``."""
        gc.disable()
        task = asyncio.create_task(self.daemon.run())
        await until(lambda: "ready" in self.host.log.events() and bool(self.host.pim.opened), "ready, with PIM")
        self.host.hello()
        await until(lambda: joins(self.agents.pim, self.agents.wanted)[0].state == "joined", "joined")
        assert (await self.daemon.status()).groups[0].state == "joined"
        assert gc.isenabled()
        yield task
        for pump in self.agents.tunnels.pumps.values():
            pump.close()

    def stands(self) -> bool:
        """Whether all that carries the feed is there, and what the successor needs to know."""
        host = self.host
        return (
            host.kernel.links["gre1"].up
            and host.guarded == {"10.44.7.1"}
            and len(host.charon.sas) == 1
            and (self.folder / "handover.json").exists()
            and not (self.folder / "control.sock").exists()
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@simulated
async def test_a_stop_takes_everything_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    scene = Scene(tmp_path, monkeypatch)
    async with scene.running() as task:
        assert (tmp_path / "control.sock").exists()
        os.kill(os.getpid(), number)
        await task
    assert scene.host.is_empty()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    scene.host.close()


@simulated
async def test_a_handover_leaves_everything_standing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(tmp_path, monkeypatch)
    async with scene.running() as task:
        os.kill(os.getpid(), HAND_OVER)
        await task
    assert scene.stands()
    scene.host.close()


@simulated
async def test_metrics_are_made_of_what_status_and_streams_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, monkeypatch)
    async with scene.running() as task:
        assert scene.agents.metrics.read is not None
        scrape = await scene.agents.metrics.read()
        assert [tunnel.state for tunnel in scrape.status.tunnels] == ["up"]
        assert [one.group for part in scrape.streams for one in part] == ["239.1.1.1"]
        os.kill(os.getpid(), signal.SIGTERM)
        await task
    scene.host.close()


@pytest.mark.parametrize("name", AGENTS)
@simulated
async def test_an_agent_that_fails_again_and_again_ends_the_daemon_and_all_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    scene = Scene(tmp_path, monkeypatch)
    async with scene.running() as task:
        (part,) = (part for part in scene.agents.parts if part.agent.name == name)
        monkeypatch.setattr(part.agent.wake, "wait", raising)
        part.agent.wake.set()
        with pytest.raises(ExceptionGroup):
            await task
        assert scene.host.log.events().count("agent_failed") == 5
    assert scene.stands()
    scene.host.close()


@simulated
async def test_an_error_outside_the_agents_ends_the_daemon_and_all_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, monkeypatch)
    async with scene.running() as task:
        monkeypatch.setattr(scene.agents, "configure", raising_now)
        with pytest.raises(ExceptionGroup):
            await task
    assert scene.stands()
    scene.host.close()


@simulated
async def test_an_agent_that_raises_while_it_is_ended_for_a_handover_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, monkeypatch)

    async def wait(_timeout: float | None = None) -> bool:
        try:
            await asyncio.Event().wait()
        finally:
            raising_now()
        return False

    async with scene.running() as task:
        monkeypatch.setattr(scene.agents.pim.wake, "wait", wait)
        scene.agents.pim.wake.set()
        await asyncio.sleep(1.0)
        os.kill(os.getpid(), HAND_OVER)
        await task
        assert scene.host.log.events().count("agent_failed") == 1
    assert scene.stands()
    scene.host.close()


async def raising(_timeout: float | None = None) -> bool:
    raise RuntimeError("can't start new thread")


def raising_now() -> None:
    raise MemoryError


@simulated
async def test_what_happens_between_two_questions_is_in_the_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a service manager too, which is given a line at each change."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    scene = Scene(tmp_path, monkeypatch)
    async with scene.running() as task:
        scene.host.charon.delete()
        await asyncio.sleep(60.0)
        found = {(entry.event, entry.what) for entry in scene.agents.history.status()}
        assert {("began", "tunnel_down"), ("ended", "tunnel_down")} <= found
        os.kill(os.getpid(), HAND_OVER)
        await task
    scene.host.close()
