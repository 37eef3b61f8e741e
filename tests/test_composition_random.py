"""Whatever happens to all agents together: no GRE leaves without its guard, and in the end all is as configured."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Coroutine
from contextlib import closing
from ipaddress import IPv4Address

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mcastd.config.model import Config
from tests.composed import ARTICLE, Host, Process
from tests.fakes.clock import run, until

GRE1 = ARTICLE.tunnels[0]
CONFIGURATIONS = st.sampled_from(
    (
        ARTICLE,
        replace(ARTICLE, tunnels=(replace(GRE1, remote=IPv4Address("10.44.7.9")),)),
        replace(ARTICLE, tunnels=(), groups=()),
        replace(ARTICLE, tunnels=(), groups=(), peers=()),
    )
)
PACKET = bytes.fromhex("45000014000000004011") + bytes(10)


class Scene:
    """A host, the process on it, and what comes from outside."""

    def __init__(self) -> None:
        self.host = Host()
        self.host.kernel.unsupported = {"gre"}
        self.host.kernel.on_send = self._sent
        self.process = Process(self.host)
        self.clear: list[IPv4Address] = []  # far ends of GRE that was not guarded

    def _sent(self, remote: IPv4Address) -> None:
        if str(remote) not in self.host.guarded:
            self.clear.append(remote)

    async def traffic(self) -> None:
        """The application, every ten seconds a Hello of the router at the other end, and changes all the time."""
        for number in itertools.count():
            if number % 5000 == 0:
                self.hello()
            if number % 5 == 0:
                self.process.nudge()
            if "gre1" in self.host.kernel.links:
                with contextlib.suppress(OSError):
                    self.host.kernel.send_into("gre1", PACKET)
            await asyncio.sleep(0.002)

    async def reload(self, config: Config) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10.0):
                await self.process.apply(config)

    async def restart(self, config: Config) -> None:
        await self.process.end(leaves_standing=True)
        self.process = Process(self.host, config)
        self.process.start()

    def hello(self) -> None:
        if self.host.pim.opened and not self.host.router.closed:
            self.host.hello()

    def delete_link(self) -> None:
        if "gre1" in self.host.kernel.links:
            self.host.kernel.delete_link("gre1")


Step = Callable[[Scene], Coroutine[None, None, None] | None]


def simple(step: Callable[[Scene], None]) -> st.SearchStrategy[Step]:
    return st.just(step)


STEPS = st.one_of(
    CONFIGURATIONS.map(lambda config: lambda scene: scene.reload(config)),
    CONFIGURATIONS.map(lambda config: lambda scene: scene.restart(config)),
    simple(Scene.hello),
    simple(Scene.delete_link),
    simple(lambda scene: scene.host.charon.delete()),
    simple(lambda scene: scene.host.charon.delete("dc-tun-gre")),
    simple(lambda scene: scene.host.charon.end()),
    simple(lambda scene: scene.host.charon.start()),
    simple(lambda scene: setattr(scene.host.charon, "silent", True)),
    simple(lambda scene: setattr(scene.host.charon, "silent", False)),
    simple(lambda scene: setattr(scene.host.charon, "peer_silent", True)),
    simple(lambda scene: setattr(scene.host.charon, "peer_silent", False)),
    simple(lambda scene: setattr(scene.host.nft, "refuses", "nft: it will not")),
    simple(lambda scene: setattr(scene.host.nft, "refuses", None)),
    st.sampled_from((0.001, 0.02, 0.3, 3.0)).map(lambda seconds: lambda _: asyncio.sleep(seconds)),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(STEPS, max_size=10), CONFIGURATIONS)
def test_no_gre_leaves_without_its_guard_and_in_the_end_all_is_as_configured(steps: list[Step], last: Config) -> None:
    async def main() -> None:
        scene = Scene()
        with closing(scene.host):
            scene.process.start()
            sending = asyncio.create_task(scene.traffic())
            for step in steps:
                waiting = step(scene)
                if waiting is not None:
                    await waiting
            host = scene.host
            host.charon.start()
            host.charon.silent = host.charon.peer_silent = False
            host.nft.refuses = None
            await asyncio.sleep(3.0)
            await scene.reload(last)
            await until(scene.process.is_up, "all is up", 120.0)
            assert host.guarded == {str(tunnel.remote) for tunnel in last.tunnels}
            sending.cancel()
            await scene.process.end()
            assert host.is_empty()
            assert not scene.clear

    run(main())
